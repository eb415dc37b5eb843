"""The balanced order: a permutation, the same work everywhere, small collectives."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax import partition
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.model.attention import context_order


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_every_part_looks_at_equally_many_keys(parts):
    length = 4 * parts
    order = context_order.natural_positions(length, parts)
    assert sorted(order) == list(range(length))
    # Position p looks at p + 1 keys.
    keys = (order.reshape(parts, -1) + 1).sum(axis=1)
    assert set(keys) == {length * (length + 1) // (2 * parts)}


def test_there_and_back_is_as_before():
    mesh = make_mesh(MeshConfig(data=2, fsdp=1, context=4))
    x_BL = jnp.arange(2 * 16).reshape(2, 16)
    balanced = context_order.balance(x_BL, mesh, None)
    np.testing.assert_array_equal(balanced[1] - 16, context_order.natural_positions(16, 4))
    np.testing.assert_array_equal(context_order.restore(balanced, mesh, None), x_BL)
    wide_BLD = jnp.stack([balanced, balanced], axis=-1)
    assert (context_order.restore(wide_BLD, mesh, None)[..., 1] == x_BL).all()


def test_without_shared_rows_nothing_moves():
    x_BL = jnp.ones((2, 5), jnp.int32)
    assert context_order.balance(x_BL, None, None) is x_BL
    assert context_order.restore(x_BL, make_mesh(MeshConfig()), None) is x_BL


def test_ids_are_gathered_over_their_row_alone():
    mesh = make_mesh(MeshConfig(data=2, fsdp=1, context=4))
    ids = jax.ShapeDtypeStruct((4, 64), jnp.int32, sharding=partition.batch_sharding(mesh))
    balance = functools.partial(context_order.balance, mesh=mesh, rules=None)
    text = jax.jit(balance).lower(ids).compile().as_text()
    moved = re.findall(
        r"= s32\[([\d,]+)\]\S* (all-gather|all-reduce|collective-\w+|all-to-all)\(", text
    )
    assert [kind for _, kind in moved] == ["all-gather"]
    # The two rows of a device, whole: 4 bytes a position.
    assert np.prod([int(size) for size in moved[0][0].split(",")]) == 2 * 64
