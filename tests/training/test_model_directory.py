"""Model directories: what is written is read, whole or not at all, by whoever and wherever."""

import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lvm_jax import mesh as mesh_lib
from lvm_jax import trees
from lvm_jax.training import model_directory, stored_params
from lvm_jax.vocabulary import Framing

NAMES = ("head/kernel", "layers/mlp/gate/kernel", "layers/norm/scale")


@pytest.fixture(params=["float32", "bfloat16"])
def arrays(request):
    rng = np.random.default_rng(0)
    shapes = dict(zip(NAMES, [(24, 8), (3, 8, 16), (3, 8)]))
    made = {
        name: rng.standard_normal(shape).astype(jax.numpy.dtype(request.param))
        for name, shape in shapes.items()
    }
    # What equals no data at all is data, too.
    made["layers/norm/scale"][1] = 0
    return made


def shapes_of(arrays):
    return {name: jax.ShapeDtypeStruct(each.shape, each.dtype) for name, each in arrays.items()}


def write(directory, arrays, leave_out=()):
    """Layer by layer, the last first, in turns: any order will do."""
    with model_directory.Writer(directory, {"model": {}}, shapes_of(arrays)) as writer:
        for layer in (2, 0, 1):
            for name in NAMES[1:]:
                if (name, layer) not in leave_out:
                    writer.write(name, arrays[name][layer], layer=layer)
        writer.write(NAMES[0], jax.numpy.asarray(arrays[NAMES[0]]))


def assert_equal(tree, arrays):
    assert trees.first_differences(trees.unflatten(arrays), tree) == []
    for name, leaf in trees.flatten(tree).items():
        np.testing.assert_array_equal(np.asarray(leaf), arrays[name])


def test_what_was_written_is_read_by_us_and_by_orbax(arrays, tmp_path):
    write(tmp_path / "new" / "model", arrays)
    found = stored_params.find(tmp_path / "new" / "model")
    assert found.step is None and found.config == {"model": {}}
    assert_equal(found.read(), arrays)
    with ocp.StandardCheckpointer() as checkpointer:
        assert_equal(checkpointer.restore(tmp_path / "new" / "model" / "params"), arrays)
    write(tmp_path / "again", arrays)
    assert stored_params.find(tmp_path / "again").fingerprint() == found.fingerprint()
    arrays[NAMES[0]][0, 0] += 1
    write(tmp_path / "other", arrays)
    assert stored_params.find(tmp_path / "other").fingerprint() != found.fingerprint()


def test_each_device_reads_its_share(arrays, tmp_path, monkeypatch):
    # Pieces of a few rows, so that a share is of several and begins inside one.
    monkeypatch.setattr(model_directory, "_PIECE_BYTES", 100)
    write(tmp_path, arrays)
    mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(fsdp=4, tensor=2))
    specs = dict(zip(NAMES, [("fsdp", "tensor"), (None, "fsdp", "tensor"), (None, "fsdp")]))
    like = {
        name: jax.ShapeDtypeStruct(
            leaf.shape, "float32", sharding=NamedSharding(mesh, PartitionSpec(*specs[name]))
        )
        for name, leaf in shapes_of(arrays).items()
    }
    read = trees.flatten(stored_params.find(tmp_path).read(trees.unflatten(like)))
    for name, leaf in read.items():
        assert leaf.sharding == like[name].sharding and leaf.dtype == "float32"
        np.testing.assert_array_equal(leaf, arrays[name].astype(np.float32))


@pytest.mark.parametrize("shape", [(8320, 4096), (32, 4096, 11008), (3, 1009, 9001), (7,), (4, 5)])
def test_pieces_are_of_bounded_size_and_cover_everything(shape):
    piece = model_directory.piece_shape(shape, 4)
    lead = 1 if len(shape) > 2 else 0
    rows, of = piece[lead], shape[lead]
    assert piece == [*[1] * lead, rows, *shape[lead + 1 :]]
    assert np.prod(piece) * 4 <= model_directory._PIECE_BYTES
    # Files hold whole pieces: less than one more than there are is filled up.
    assert -(-of // rows) * rows - of < -(-of // rows)


def test_a_model_that_lacks_something_is_none(arrays, tmp_path):
    with pytest.raises(ValueError, match=r"lack parameters \(layers/norm/scale, 8 of 24 numbers\)"):
        write(tmp_path / "model", arrays, leave_out=[("layers/norm/scale", 1)])
    assert not (tmp_path / "model").exists()
    with pytest.raises(KeyError), model_directory.Writer(tmp_path, {}, shapes_of(arrays)) as writer:
        writer.write(NAMES[0], arrays[NAMES[0]])
        raise KeyError
    assert list(tmp_path.iterdir()) == [], "a directory that was there stays"
    nothing = model_directory.Writer(tmp_path, {}, shapes_of(arrays))
    with pytest.raises(ValueError, match=r"\(head/kernel; layers/mlp/gate/kernel; lay"), nothing:
        pass


def test_what_is_no_parameter_is_refused(arrays, tmp_path):
    with model_directory.Writer(tmp_path, {}, shapes_of(arrays)) as writer:
        for name, array, layer, message in (
            ("tail/kernel", arrays[NAMES[0]], None, "has no parameter tail/kernel"),
            (
                NAMES[0],
                arrays[NAMES[0]][:1],
                None,
                r"kernel must be .*\(24, 8\).* it is .*\(1, 8\)",
            ),
            (NAMES[0], arrays[NAMES[0]].astype(np.float16), None, r"it is float16 \(24, 8\)"),
            (NAMES[2], arrays[NAMES[2]][0], 3, r"scale of layer 3 must .* layers in 0\.\.2"),
        ):
            with pytest.raises(ValueError, match=message):
                writer.write(name, array, layer=layer)
        for name in NAMES[:2]:
            writer.write(name, arrays[name])
        for layer in range(3):
            writer.write(NAMES[2], arrays[NAMES[2]][layer], layer=layer)
        with pytest.raises(ValueError, match=r"scale was written before at \(1, 0\)"):
            writer.write(NAMES[2], arrays[NAMES[2]][1], layer=1)
    assert_equal(stored_params.find(tmp_path).read(), arrays)


def test_a_place_that_holds_something_is_refused(arrays, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is not empty: it holds notes\.txt; choose"):
        write(tmp_path, arrays)
    with pytest.raises(ValueError, match="is a file"):
        write(tmp_path / "notes.txt", arrays)
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]


KILLED = """
import os, sys
import jax, numpy as np
from lvm_jax.training import model_directory
shapes = {"w": jax.ShapeDtypeStruct((2, 4), "float32")}
with model_directory.Writer(sys.argv[1], {"model": {}}, shapes) as writer:
    writer.write("w", np.zeros(4, np.float32), layer=0)
    os.kill(os.getpid(), 9)
"""


def test_a_killed_writer_leaves_no_model_and_does_not_stand_in_the_way(arrays, tmp_path):
    directory = tmp_path / "model"
    done = subprocess.run([sys.executable, "-c", KILLED, str(directory)], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert [each.name for each in directory.iterdir()] == ["params.partial"]
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        stored_params.find(directory)
    write(directory, arrays)
    assert_equal(stored_params.find(directory).read(), arrays)
    assert not (directory / "params.partial").exists()


@pytest.mark.parametrize("harm", ["cut", "flip", "lose"])
def test_damage_is_noticed_and_named(arrays, tmp_path, harm):
    write(tmp_path, arrays)
    path = tmp_path / "params" / "layers.mlp.gate.kernel" / "1.0.0"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    {
        "cut": lambda: path.write_bytes(data[:-4]),
        "flip": lambda: path.write_bytes(data),
        "lose": path.unlink,
    }[harm]()
    with pytest.raises(
        ValueError, match=r"1\.0\.0 (is|has) .*; it is damaged; copy it anew"
    ) as error:
        stored_params.find(tmp_path)
    assert "\n" not in str(error.value)


def test_config_says_what_the_model_is():
    config = model_directory.describe(Framing(bos=False), framing=Framing(bos=False, eos=False))
    assert json.loads(json.dumps(config)) == config
    assert config["kind"] == "model" and config["images"] is None and config["source"] == {}
    assert model_directory.framing_of(config, "here") == Framing(bos=False, eos=False)
    assert model_directory.framing_of({"model": {}}, "here") == Framing()
    with pytest.raises(ValueError, match=r"here: framing\.bos='no'"):
        model_directory.framing_of({"framing": {"bos": "no"}}, "here")
