"""Definitions: names, shapes and logical axes of parameters, and initial values that stay."""

import hashlib
import json

import jax
import numpy as np
import pytest
from flax import nnx

from lvm_jax import trees
from lvm_jax.model import transformer, transformer_config
from lvm_jax.modules import Definition
from lvm_jax.tokenizer import vqgan, vqgan_config
from lvm_jax.training.vqgan import discriminator
from lvm_jax.training.vqgan.discriminator import DiscriminatorConfig


class Scaled(nnx.Module):
    """A module that draws its parameters itself."""

    def __init__(self, rngs: nnx.Rngs):
        self.b = nnx.Param(jax.random.normal(rngs.params(), (2, 3)), axes=("embed", "mlp"))
        self.a = nnx.Param(jax.random.normal(rngs.params(), (3,)), axes=("norm",))

    def __call__(self, x):
        return x @ self.b[...] * self.a[...][None]


def test_a_definition_is_a_module_without_arrays():
    definition = Definition(Scaled)
    params = definition.init(jax.random.key(1))
    assert not trees.first_differences(definition.abstract, params)
    assert definition.logical_axes("layers") == {
        "a": ("layers", "norm"),
        "b": ("layers", "embed", "mlp"),
    }
    x = np.ones((4, 2), np.float32)
    np.testing.assert_array_equal(definition.bind(params)(x), x @ params["b"] * params["a"][None])
    again = definition.init(jax.random.key(1))
    assert trees.fingerprint(params) == trees.fingerprint(again)


def seen(params, axes=None):
    """What must not change: a digest of names, shapes and axes, and the values' mean size."""
    tree = {name: list(leaf.shape) for name, leaf in trees.flatten(params).items()}
    described = [tree, trees.flatten(axes or {})]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in trees.flatten(params).values()]
    values = np.concatenate(leaves)
    # Signed and weighted by place, so that no two values can change places.
    return digest, float(values @ np.cos(np.arange(len(values)) % 1009))


def transformer_seen():
    config = transformer_config.PRESETS["debug"]
    return seen(transformer.init_params(config, 7), transformer.logical_axes(config))


def vqgan_seen():
    return seen(vqgan.init_params(vqgan_config.PRESETS["debug"], 7))


def discriminator_seen():
    return seen(discriminator.init_params(DiscriminatorConfig(base_dim=8, norm_groups=4), 7))


@pytest.mark.parametrize(
    "observed, digest, weighted_sum",
    [
        (transformer_seen, "2567a8f36980", -1.2431232880),
        (vqgan_seen, "1ad6664f5e38", 10.7683017838),
        (discriminator_seen, "3e1f084c0a2c", 2.3610272159),
    ],
)
def test_trees_and_initial_values_stay(observed, digest, weighted_sum):
    """Checkpoints name these parameters, and a seed means these values."""
    own_digest, own_sum = observed()
    assert own_digest == digest
    # The values of a distribution may differ by a unit in the last place between machines.
    assert own_sum == pytest.approx(weighted_sum, rel=1e-4)
