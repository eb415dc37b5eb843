"""An nnx module as a definition only: a plain nested dict of parameters beside a graph.

Split once; everything after is plain JAX on the dict.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from lvm_jax import trees

Params = dict[str, Any]
M = TypeVar("M", bound=nnx.Module)

# Standard deviation of a normal truncated at two of its own.
_TRUNCATED_NORMAL_STD = 0.87962566103423978


class Definition(Generic[M]):
    """What a module is without its arrays: names and shapes of its parameters, and what it does.

    Args:
        make: constructs the module; here it is traced with shapes only.
    """

    def __init__(self, make: Callable[[nnx.Rngs], M]):
        self._make = make
        self._graph, self._state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
        self.abstract: Params = nnx.to_pure_dict(self._state)
        # `bind` matches leaves by order, which holds because both trees sort their string keys.
        names = [tuple(key.key for key in path) for path, _ in _leaves_with_path(self.abstract)]
        assert names == sorted(names), names
        assert jax.tree.leaves(self._state) == jax.tree.leaves(self.abstract)

    def init(self, key: jax.Array) -> Params:
        """The parameters as the constructor draws them, a pure function of a random key."""
        return nnx.to_pure_dict(nnx.split(self._make(nnx.Rngs(params=key)))[1])

    def logical_axes(self, *leading: str) -> Params:
        """What every parameter declares as its `axes`, after those of leading dims."""
        named = lambda variable: (*leading, *variable.axes)
        is_variable = lambda node: isinstance(node, nnx.Variable)
        return nnx.to_pure_dict(jax.tree.map(named, self._state, is_leaf=is_variable))

    def bind(self, params: Params) -> M:
        """The module with these parameters; make it where it is used, under `jax.jit`."""
        structure = jax.tree.structure(self._state)
        return nnx.merge(self._graph, jax.tree.unflatten(structure, jax.tree.leaves(params)))


class Conv(nnx.Conv):
    """A convolution that computes in the dtype of its kernel: see `cast_convolutions`."""

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        return super().__call__(inputs.astype(self.kernel.dtype), out_sharding)


def cast_convolutions(params: Params, dtype: DTypeLike, keep: Sequence[str] = ()) -> Params:
    """Parameters for mixed precision: convolutions in `dtype`, norms and all else as they are.

    Args:
        params: of a module whose convolutions are `Conv`s.
        dtype: of kernels and their biases, and so of what these layers compute.
        keep: names of layers that stay as they are.
    """
    if "kernel" in params:
        return {name: leaf.astype(dtype) for name, leaf in params.items()}
    return {
        name: cast_convolutions(value, dtype, keep)
        if isinstance(value, Mapping) and name not in keep
        else value
        for name, value in params.items()
    }


def _leaves_with_path(tree: Params) -> list[tuple[tuple[Any, ...], Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def draw_params(abstract: Params, seed: jax.Array | int) -> Params:
    """Initial parameters of a network of convolutions, a pure function of its arguments.

    Kernels are truncated normals of variance 1 / fan-in, scales 1, everything else 0.

    Args:
        abstract: see `Definition`.
        seed: of the one random draw.
    """
    shapes = {name: leaf.shape for name, leaf in trees.flatten(abstract).items()}
    kernels = [name for name in shapes if name.endswith("kernel")]
    sizes = [math.prod(shapes[name]) for name in kernels]
    # One draw, cut up: a draw for each kernel takes XLA's CPU compiler about a second each.
    noise = jax.random.truncated_normal(jax.random.key(seed), -2.0, 2.0, (sum(sizes),))
    pieces = dict(
        zip(kernels, jnp.split(noise / _TRUNCATED_NORMAL_STD, np.cumsum(sizes)[:-1].tolist()))
    )

    def leaf(name: str, shape: tuple[int, ...]) -> jax.Array:
        if name in pieces:
            return pieces[name].reshape(shape) * math.prod(shape[:-1]) ** -0.5
        return jnp.ones(shape) if name.endswith("scale") else jnp.zeros(shape)

    return trees.unflatten({name: leaf(name, shape) for name, shape in shapes.items()})
