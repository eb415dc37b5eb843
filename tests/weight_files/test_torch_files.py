"""Torch's tensors: what they may reach, objects beside them, and files that we write."""

import argparse
import collections
import dataclasses
import pathlib

import ml_dtypes
import numpy as np
import pytest

from lvm_jax.weight_files import pickles, reader, torch_files
from tests.weight_files.goldens import fake_torch

GOLDENS = pathlib.Path(__file__).parent / "goldens"


def test_a_tensor_cannot_reach_outside_its_storage():
    content = np.arange(6, dtype=np.float32).tobytes()
    read = lambda start, num_bytes: content[start : start + num_bytes]
    storage = torch_files._Storage("FloatStorage", 6, read)

    def load(*arguments):
        return torch_files._rebuild(storage, *arguments).stored().load()

    np.testing.assert_array_equal(load(2, (2, 2), (2, 1)), [[2, 3], [4, 5]])
    np.testing.assert_array_equal(load(1, (2, 3), (0, 1)), [[1, 2, 3], [1, 2, 3]])
    for arguments in (
        (3, (2, 2), (2, 1)),
        (-1, (2,), (1,)),
        (5, (2,), (-1,)),
        (0, (2,), ()),
        (0, (-2, -3), (1, 1)),
    ):
        with pytest.raises(ValueError):
            load(*arguments)


@pytest.mark.parametrize("name", ["torch_zip.pt", "torch_legacy.pt"])
def test_nor_into_the_storage_that_follows(name):
    read = torch_files.read_zip if name == "torch_zip.pt" else torch_files.read_legacy
    tensor = read(GOLDENS / name)["state_dict/plain"].load.__self__
    for offset, shape in ((1, (6,)), (6, (1,)), (10**6, (1,))):
        with pytest.raises(ValueError, match="outside its storage"):
            dataclasses.replace(tensor, offset=offset, shape=shape, strides=(1,))._load()
    inside = dataclasses.replace(tensor, offset=4, shape=(2,), strides=(1,))
    np.testing.assert_array_equal(inside._load(), [4, 5])


def test_objects_beside_the_weights_stay_dead(tmp_path):
    tree = {
        "config": argparse.Namespace(path=pathlib.PurePosixPath("/a"), odd=fake_torch.Odd(x=1)),
        "history": collections.defaultdict(list, {"loss": [1.0, 2.0]}),
        "names": {"a", "b"},
        "big": 10**40,
        "w": np.arange(3, dtype=np.float32),
        "inside": fake_torch.Odd(weights={"v": np.ones(2, np.float32)}),
    }
    stored, _ = reader.read(fake_torch.save(tmp_path / "a.pt", tree))
    assert sorted(stored) == ["inside/weights/v", "w"]
    np.testing.assert_array_equal(stored["w"].load(), [0, 1, 2])


def test_what_a_pickle_names_is_kept_as_a_name():
    with (GOLDENS / "torch_legacy.pt").open("rb") as file:
        values = [pickles.load(file, {}, lambda reference: reference[1]) for _ in range(4)]
    assert isinstance(values[3]["callbacks"], dict)
    (kind,) = values[3]["callbacks"]
    assert kind == pickles.Name("__main__", "Callback")


ARRAYS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "größe": np.arange(6, dtype=np.float16).reshape(2, 3).T,
    "brain": np.arange(3).astype(ml_dtypes.bfloat16),
    "scalar": np.float32(7).reshape(()),
    "empty": np.empty((0, 3), np.float32),
    "count": np.arange(3),
}


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    for name in ("a.bin", "b.bin"):
        torch_files.write_zip(tmp_path / name, ARRAYS)
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    stored, _ = reader.read(tmp_path / "a.bin")
    assert list(stored) == list(ARRAYS)
    for name, array in ARRAYS.items():
        loaded = stored[name].load()
        assert (loaded.shape, loaded.dtype) == (array.shape, array.dtype), name
        assert loaded.tobytes() == array.tobytes(), name


def test_torch_loads_what_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    torch_files.write_zip(tmp_path / "a.bin", ARRAYS)
    tensors = torch.load(tmp_path / "a.bin", weights_only=True)
    assert list(tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        tensor = tensors[name]
        assert tensor.is_contiguous() and tuple(tensor.shape) == array.shape
        np.testing.assert_array_equal(tensor.double().numpy(), array.astype(np.float64))
