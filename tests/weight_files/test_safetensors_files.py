"""Shards of safetensors: written in any order and by parts, read by the library and by us."""

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from lvm_jax.weight_files import reader, stretches
from lvm_jax.weight_files.safetensors_files import ShardedWriter

ARRAYS = {
    "c.weight": np.arange(12, dtype=np.float16).reshape(3, 4),
    "a.weight": np.arange(3, dtype=ml_dtypes.bfloat16),
    "b.weight": np.linspace(0, 1, 500, dtype=np.float32).reshape(50, 10),
    "scalar": np.float32(2.5).reshape(()),
    "empty": np.zeros((0, 4), np.float32),
}


def write(folder, most_bytes):
    folder.mkdir()
    about = {name: (array.shape, array.dtype) for name, array in ARRAYS.items()}
    with ShardedWriter(folder, about, most_bytes) as writer:
        for name, array in reversed(ARRAYS.items()):
            writer.write(name, [array[:1], array[1:]] if array.ndim else [array])
    return folder


@pytest.mark.parametrize(("most_bytes", "shards"), [(10**9, 1), (60, 3), (10, 4)])
def test_what_is_written_is_read(tmp_path, monkeypatch, most_bytes, shards):
    folder = write(tmp_path / "out", most_bytes)
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == shards
    index = folder / "model.safetensors.index.json"
    assert index.exists() == (shards > 1)
    if shards > 1:
        content = json.loads(index.read_text())
        assert content["metadata"]["total_size"] == sum(a.nbytes for a in ARRAYS.values())
        assert {f.name for f in files} == set(content["weight_map"].values())
    theirs = {}
    for file in files:
        theirs |= safetensors.numpy.load_file(str(file))
        with safetensors.safe_open(str(file), "np") as opened:
            assert opened.metadata() == {"format": "pt"}
    monkeypatch.setattr(stretches, "PART_BYTES", 64)
    stored, _ = reader.read(folder)
    assert stored.keys() == theirs.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        rows = np.concatenate(list(stored[name].rows())) if array.size > 1 else stored[name].load()
        for given in (theirs[name], stored[name].load(), rows):
            assert (given.shape, given.dtype) == (array.shape, array.dtype)
            assert given.tobytes() == array.tobytes()


def test_an_index_is_held_to_its_files(tmp_path):
    folder = write(tmp_path / "out", 60)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["d.weight"] = content["weight_map"]["a.weight"]
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"says that model-.*safetensors holds d.weight"):
        reader.read(folder)
    content["weight_map"]["d.weight"] = "../elsewhere.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"d.weight is in '../elsewhere.safetensors', which is no"):
        reader.read(folder)
    index.write_text("{}")
    with pytest.raises(ValueError, match=r"no index of weights: it has no weight_map"):
        reader.read(folder)


def test_a_file_cut_short_after_it_was_looked_at(tmp_path):
    folder = write(tmp_path / "out", 10**9)
    stored, _ = reader.read(folder)
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    for read in (stored["a.weight"].load, lambda: list(stored["a.weight"].rows())):
        with pytest.raises(ValueError, match=r"model.safetensors is damaged: .* bytes are missing"):
            read()
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        reader.read(folder)
