"""Containers: torch pickles without torch, safetensors, msgpack, npz, folders; damage is refused.

goldens/make_torch_files.py made the torch files, with 0, 1, 2, ... in every tensor.
"""

import io
import json
import math
import os
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import flax.serialization
import numpy as np
import pytest
import safetensors.numpy

from lvm_jax.weight_files import reader
from tests.weight_files.goldens import fake_torch

GOLDENS = pathlib.Path(__file__).parent / "goldens"


def numbered(*shape):
    """Numbers 0, 1, 2, ... in a shape."""
    return np.arange(int(np.prod(shape))).reshape(shape)


def load(path):
    """All arrays of a file."""
    return {name: stored.load() for name, stored in reader.read(path)[0].items()}


@pytest.mark.parametrize("name", ["torch_zip.pt", "torch_legacy.pt"])
def test_torch_checkpoints_are_read_without_torch(name):
    stored, config = reader.read(GOLDENS / name)
    assert config is None
    beside = {"optimizer_states/0/state/0/exp_avg"}
    assert beside <= stored.keys()
    arrays = {
        name.removeprefix("state_dict/"): array.load()
        for name, array in stored.items()
        if name.startswith("state_dict/")
    }
    assert all(s.shape == a.shape for s, a in zip(stored.values(), load(GOLDENS / name).values()))
    assert {s.dtype for s in stored.values()} == {"float32", "float16", "bfloat16", "int64"}
    expected = {
        "plain": numbered(2, 3),
        "half": numbered(5),
        "brain": numbered(5),
        "integers": numbered(3),
        "scalar": np.array(7.0),
        "transposed": numbered(4, 6).T,
        "part": numbered(4, 6)[1:3, 2:5],
        "empty": numbered(0, 3),
        "parameter": numbered(2, 2),
    }
    assert arrays.keys() == expected.keys()
    for key, value in expected.items():
        assert arrays[key].shape == value.shape, key
        np.testing.assert_array_equal(arrays[key].astype(np.float64), value, err_msg=key)
    assert [str(arrays[n].dtype) for n in ("plain", "half", "brain", "integers")] == [
        "float32",
        "float16",
        "bfloat16",
        "int64",
    ]
    # What trainers keep beside the weights never becomes code.
    assert "torch" not in sys.modules


def test_a_pickle_cannot_run_anything(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"state_dict": {"a": Evil()}}, protocol=2))
    with pytest.raises(ValueError, match="holds no arrays"):
        reader.read(path)
    assert not (tmp_path / "owned").exists()
    # The same pickle in the ordinary reader does run: the test would notice.
    with zipfile.ZipFile(path) as archive:
        pickle.loads(archive.read("evil/data.pkl"))
    assert (tmp_path / "owned").exists()


CONTAINERS = ("zip", "legacy", "safetensors", "msgpack", "npz")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The content of a whole file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    arrays = {"a": numbered(300).astype(np.float32), "b": numbered(2, 3).astype(np.float16)}
    np.savez(folder / "npz.npz", **arrays)
    return {
        "zip": (GOLDENS / "torch_zip.pt").read_bytes(),
        "legacy": (GOLDENS / "torch_legacy.pt").read_bytes(),
        "safetensors": safetensors.numpy.save(arrays),
        "msgpack": flax.serialization.msgpack_serialize({"params": arrays}),
        "npz": (folder / "npz.npz").read_bytes(),
    }


@pytest.mark.parametrize("kind", CONTAINERS)
def test_cut_files_are_refused_at_every_length(kind, whole, tmp_path):
    (tmp_path / "whole").write_bytes(whole[kind])
    load(tmp_path / "whole")
    cut = tmp_path / "cut"
    for length in [*range(16), *range(16, len(whole[kind]), 37), len(whole[kind]) - 1]:
        cut.write_bytes(whole[kind][:length])
        with pytest.raises(ValueError, match=r"cut is (damaged|empty|of no kind)") as error:
            load(cut)
        assert "\n" not in str(error.value)
        assert "is damaged" in str(error.value) or length < 16


@pytest.mark.parametrize("kind", CONTAINERS)
def test_altered_files_are_read_or_refused_by_name(kind, whole, tmp_path):
    """Whatever a library makes of altered bytes, it comes out as a line that names the file."""
    draw = random.Random(kind)
    path = tmp_path / "altered"
    for _ in range(300):
        content = bytearray(whole[kind])
        for _ in range(draw.choice((1, 1, 3))):
            # Headers are at the beginning of most kinds, and at the end of a zip archive.
            place = draw.choice(
                (draw.randrange(200), draw.randrange(len(content)), -draw.randrange(1, 99))
            )
            content[place] = draw.choice((0, 255, draw.randrange(256)))
        path.write_bytes(content)
        try:
            for stored in reader.read(path)[0].values():
                if math.prod(stored.shape) < 1e6:
                    stored.load()
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def huge_safetensors(_):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    return struct.pack("<Q", len(header)) + header.encode() + bytes(64)


def huge_npz(_):
    file, archive = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
    )
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("a.npy", file.getvalue())
    return archive.getvalue()


def huge_storage(whole):
    content = whole["legacy"]
    place = content.index(struct.pack("<q", 24) + numbered(24).astype(np.float32).tobytes())
    return content[:place] + struct.pack("<q", 2**50) + content[place + 8 :]


def legacy_with(pickle):
    """A legacy file of torch with this pickle in it."""
    return lambda whole: whole["legacy"][:15] + b"\x80\x02M\xe9\x03.\x80\x02}." + pickle


def zip_bomb(_):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("a/data.pkl", b"\x80\x02" + bytes(2**25))
    return archive.getvalue()


CLAIMS = {
    "pickle": zip_bomb,
    "safetensors": huge_safetensors,
    "npz": huge_npz,
    "storage": huge_storage,
    "bytes": legacy_with(b"\x80\x04\x8e" + struct.pack("<Q", 2**42)),
    "bytearray": legacy_with(b"\x80\x05\x96" + struct.pack("<Q", 2**42)),
    "text": legacy_with(b"\x80\x02X" + struct.pack("<I", 2**32 - 1)),
    "memo": legacy_with(b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b"."),
    "frame": legacy_with(b"\x80\x04\x95" + struct.pack("<Q", 2**42) + b"}."),
    "msgpack": lambda _: b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "member": lambda whole: whole["zip"].replace(
        struct.pack("<II", 96, 96), struct.pack("<II", 2**31, 2**31)
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_of_terabytes_takes_no_memory(name, whole, tmp_path):
    path = tmp_path / "claim"
    content = CLAIMS[name](whole)
    assert content != whole["zip"]
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"claim is damaged"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_one_part_repeated_without_end_is_read_once(tmp_path):
    loop = {"a": np.ones(2, np.float32)}
    loop["again"] = loop
    assert list(load(fake_torch.save(tmp_path / "loop", loop))) == ["a"]
    tree = {"a": np.ones(2, np.float32)}
    for _ in range(60):
        tree = {"left": tree, "right": tree}
    assert len(load(fake_torch.save(tmp_path / "bomb", tree))) == 1


def test_an_altered_zip_is_refused(tmp_path):
    content = bytearray((GOLDENS / "torch_zip.pt").read_bytes())
    place = content.index(np.arange(24, dtype=np.float32).tobytes())
    content[place + 40] ^= 1
    (tmp_path / "altered.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"altered\.pt is damaged: .*CRC.*torch, cut short or"):
        load(tmp_path / "altered.pt")


def zip_of(names):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for name in names:
            writer.writestr(name, b"")
    return archive.getvalue()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "file is empty; weights are read from safetensors"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "file is a picture; weights are read from"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "file is HDF5; convert it"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "pointer of Git LFS; fetch"),
        (b"<!DOCTYPE html><html>", "file is a web page"),
        (json.dumps({"a": 1}).encode(), "file is JSON text"),
        (bytes(257) + b"ustar", "file is a tar archive; unpack it"),
        (b"what is it?", "file is of no kind that is known"),
        (flax.serialization.msgpack_serialize({"a": 1}), "holds no arrays"),
        (zip_of(["a/b.txt", "c"]), r"is no weights to read: a zip archive of a/b.txt, c$"),
        (pickle.dumps({"a": [1, 2]}), "looks like a pickle.*torch.save did not write"),
        (pickle.dumps(np.arange(3)), "looks like a pickle.*torch.save did not write"),
    ],
)
def test_other_files_are_told_for_what_they_are(content, message, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        reader.read(tmp_path / "file")
    assert "damaged" not in str(error.value)


def test_folders(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*nowhere"):
        reader.read(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match="holds no weights; expected one of diffusion_pytorch_model"
    ):
        reader.read(tmp_path)
    safetensors.numpy.save_file({"a": np.ones(2, np.float32)}, str(tmp_path / "model.safetensors"))
    arrays, config = reader.read(tmp_path)
    assert list(arrays) == ["a"] and config is None
    (tmp_path / "model.safetensors").rename(tmp_path / "any.safetensors")
    assert list(reader.read(tmp_path)[0]) == ["a"]
    (tmp_path / "more.ckpt").touch()
    with pytest.raises(ValueError, match=r"holds any.safetensors and 1 more; name the file"):
        reader.read(tmp_path)
    (tmp_path / "any.safetensors").rename(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"ch": 3}')
    assert reader.read(tmp_path)[1] == {"ch": 3}
    (tmp_path / "config.json").write_text('{"ch": ')
    with pytest.raises(ValueError, match=r"cannot read .*config\.json"):
        reader.read(tmp_path)
    (tmp_path / "config.json").write_text('{"fingerprint": "0", "tokenizer": {}}')
    with pytest.raises(ValueError, match="is an lvm_jax tokenizer already"):
        reader.read(tmp_path)


def test_importing_the_readers_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import lvm_jax.tokenizer.weights"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
