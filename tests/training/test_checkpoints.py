import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lvm_jax import mesh as mesh_lib
from lvm_jax import trees
from lvm_jax.training import checkpoints, stored_params
from lvm_jax.training import workdir as workdir_lib
from lvm_jax.training.workdir import RunIdentity

CONFIG = {"model": {"num_layers": 2}}


def prepare(workdir):
    workdir_lib.prepare_workdir(workdir, RunIdentity(resolved=CONFIG, fixed=("model",)))


def place(num_devices, spec, context=1):
    devices = jax.devices()[:num_devices]
    tensor = 2 if num_devices > context else 1
    config = mesh_lib.MeshConfig(data=1, fsdp=-1, context=context, tensor=tensor)
    return NamedSharding(mesh_lib.make_mesh(config, devices), PartitionSpec(*spec))


def make_state(sharding):
    w = jax.device_put(jnp.arange(64, dtype=jnp.float32).reshape(8, 8), sharding)
    params = {"dense": {"kernel": w}}
    whole = NamedSharding(sharding.mesh, PartitionSpec())
    state = {"params": params, "opt_state": optax.adam(0.1).init(params), "step": jnp.int32(3)}
    return jax.tree.map(lambda x: x if x.ndim else jax.device_put(x, whole), state)


def abstract(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


@pytest.fixture
def saved(tmp_path):
    """A run with one checkpoint, written on eight devices."""
    prepare(tmp_path)
    store = checkpoints.Checkpoints(tmp_path, CONFIG)
    state = make_state(place(8, ("fsdp", "tensor")))
    store.save(3, state)
    store.wait(3, state)
    yield tmp_path, store, state
    store.close()


def test_restores_on_other_topologies(saved):
    _, store, state = saved
    for num_devices, spec, context in (
        (8, ("tensor", "fsdp"), 1),
        (8, (("fsdp", "context"), "tensor"), 2),
        (4, (None, "context"), 4),
        (2, (None, "tensor"), 1),
        (1, (), 1),
    ):
        sharding = place(num_devices, spec, context)
        restored = store.restore(abstract(make_state(sharding)))
        assert jax.tree.structure(restored) == jax.tree.structure(state)
        for new, old in zip(jax.tree.leaves(restored), jax.tree.leaves(state)):
            np.testing.assert_array_equal(new, old)
        assert restored["params"]["dense"]["kernel"].sharding == sharding


def test_params_alone_on_one_device(saved, caplog):
    workdir, _, state = saved
    params, config = stored_params.load_params(workdir)
    assert not caplog.records, "what orbax finds odd about reading alone looks like an error"
    assert config == CONFIG
    assert [*trees.flatten(params)] == ["dense/kernel"]
    assert isinstance(params["dense"]["kernel"], np.ndarray)
    np.testing.assert_array_equal(params["dense"]["kernel"], state["params"]["dense"]["kernel"])
    with pytest.raises(ValueError, match=r"no checkpoint of step 9; it has \[3\]"):
        stored_params.load_params(workdir, step=9)


def test_the_state_may_be_donated_at_once(tmp_path):
    prepare(tmp_path)
    store = checkpoints.Checkpoints(tmp_path, CONFIG)
    state = make_state(place(8, ("fsdp", "tensor")))
    expected = np.array(state["params"]["dense"]["kernel"])
    later = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
    store.save(0, state)
    state = later(later(state))
    store.wait(0, state)
    restored = store.restore(abstract(state))
    np.testing.assert_array_equal(restored["params"]["dense"]["kernel"], expected)
    store.close()


def test_only_the_newest_stay_and_unfinished_ones_do_not_count(tmp_path):
    prepare(tmp_path)
    state = make_state(place(1, ()))
    store = checkpoints.Checkpoints(tmp_path, CONFIG, keep=2)
    for step in (1, 2, 3):
        store.save(step, state)
    store.wait(3, state)
    store.close()
    unfinished = tmp_path / workdir_lib.FOLDER / "4.orbax-checkpoint-tmp"
    unfinished.mkdir()
    assert workdir_lib.latest_step(tmp_path) == 3
    store = checkpoints.Checkpoints(tmp_path, CONFIG, keep=2)
    assert store.latest_step() == 3
    assert not unfinished.exists()
    store.close()
    assert sorted(p.name for p in (tmp_path / workdir_lib.FOLDER).iterdir()) == ["2", "3"]


def test_other_arrays_are_refused_in_one_line(saved):
    _, store, state = saved
    wide = {**state, "params": {"dense": {"kernel": jnp.zeros((8, 16))}}}
    with pytest.raises(ValueError, match=r"cannot restore .*/3: .*remove that step"):
        store.restore(abstract(wide))


def test_a_damaged_checkpoint_is_named(saved):
    workdir, *_ = saved
    (workdir / workdir_lib.FOLDER / "3" / "state" / "manifest.ocdbt").write_bytes(b"gone")
    with pytest.raises(ValueError, match=r"is whole: step 3 \(state/manifest\.ocdbt has 4 "):
        stored_params.load_params(workdir)


def test_a_run_without_a_checkpoint_has_no_parameters(tmp_path):
    prepare(tmp_path)
    with pytest.raises(ValueError, match="no checkpoint yet"):
        stored_params.load_params(tmp_path)


def test_no_training_directory(tmp_path):
    with pytest.raises(ValueError, match=r"no training directory: .*config\.json is missing"):
        stored_params.load_params(tmp_path)


def test_a_failed_write_leaves_the_last_checkpoint(saved):
    workdir, store, state = saved
    folder = workdir / workdir_lib.FOLDER
    # Whoever runs the tests may write everywhere, but nobody into /proc.
    folder.rename(workdir / "aside")
    folder.symlink_to("/proc")
    with pytest.raises(OSError, match=r"cannot write .*at step 4; .*GB free.*make room"):
        store.save(4, state)
        store.wait(4, state)
    folder.unlink()
    (workdir / "aside").rename(folder)
    assert workdir_lib.latest_step(workdir) == 3
    stored_params.load_params(workdir)


def test_plain_trees_come_back_into_their_containers():
    tree = {"a": (jnp.zeros(1), [jnp.ones(2)]), "opt": optax.adam(1.0).init({"w": jnp.ones(3)})}
    plain = checkpoints.to_plain(tree)
    assert all(isinstance(node, dict) for node in (plain, plain["a"], plain["opt"]))
    assert set(trees.flatten(plain)) >= {"a/0", "a/1/0", "opt/0/mu/w", "opt/0/count"}
    back = checkpoints.from_plain(plain, tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
