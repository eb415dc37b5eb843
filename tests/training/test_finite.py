import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lvm_jax import mesh as mesh_lib
from lvm_jax.training import finite


def make_tree(dtype=jnp.float32):
    mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(data=8, fsdp=1))
    split = NamedSharding(mesh, PartitionSpec("data"))
    large = np.linspace(-1.0, 1.0, 8 * 1000).reshape(8, 1000)
    large[3, 7] = jnp.finfo(dtype).max  # great, but finite
    return {
        "params": {
            "w": jax.device_put(jnp.asarray(large, dtype), split),
            "none": jnp.zeros((0, 3)),
        },
        "opt_state": (jnp.int32(2**31 - 1), jnp.asarray(-jnp.finfo(dtype).max, dtype)),
    }


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_one_bad_number_is_found_wherever_it_is(dtype, bad):
    tree = make_tree(dtype)
    assert finite.first_not_finite(tree) is None
    for place in ((0, 0), (3, 7), (7, 999)):
        w = tree["params"]["w"].at[place].set(bad)
        changed = {**tree, "params": {**tree["params"], "w": w}}
        assert finite.first_not_finite(changed) == "params/w"
    changed = {**tree, "opt_state": (tree["opt_state"][0], jnp.asarray(bad, dtype))}
    assert finite.first_not_finite(changed) == "opt_state/1"
