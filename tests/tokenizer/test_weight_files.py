"""Containers: torch pickles without torch, safetensors, msgpack, folders; damage is refused.

goldens/make_torch_files.py made the torch files, with 0, 1, 2, ... in every tensor.
"""

import json
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile

import flax.serialization
import numpy as np
import pytest
import safetensors.numpy

from lvm_jax.tokenizer import weight_files

GOLDENS = pathlib.Path(__file__).parent / "goldens"


def count(*shape):
    return np.arange(int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("name", ["torch_zip.pt", "torch_legacy.pt"])
def test_torch_checkpoints_are_read_without_torch(name):
    arrays, config = weight_files.read(GOLDENS / name)
    assert config is None
    expected = {
        "plain": count(2, 3),
        "half": count(5),
        "brain": count(5),
        "integers": count(3),
        "scalar": np.array(7.0),
        "transposed": count(4, 6).T,
        "part": count(4, 6)[1:3, 2:5],
        "empty": count(0, 3),
        "parameter": count(2, 2),
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


def test_average_weights_are_preferred():
    np.testing.assert_array_equal(weight_files.read(GOLDENS / "torch_ema.pt")[0]["a"], [0, 1])


def test_a_pickle_cannot_run_anything(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"state_dict": {"a": Evil()}}, protocol=2))
    with pytest.raises(ValueError, match="holds no arrays"):
        weight_files.read(path)
    assert not (tmp_path / "owned").exists()
    # The same pickle in the ordinary reader does run: the test would notice.
    with zipfile.ZipFile(path) as archive:
        pickle.loads(archive.read("evil/data.pkl"))
    assert (tmp_path / "owned").exists()


def test_a_tensor_cannot_reach_outside_its_storage():
    storage = weight_files._Storage(np.float32)
    storage.fill(np.arange(6, dtype=np.float32).tobytes())
    np.testing.assert_array_equal(
        weight_files._Tensor(storage, 2, (2, 2), (2, 1)).array(), [[2, 3], [4, 5]]
    )
    for offset, shape, strides in (
        (3, (2, 2), (2, 1)),
        (-1, (2,), (1,)),
        (5, (2,), (-1,)),
        (0, (2,), ()),
    ):
        with pytest.raises(ValueError):
            weight_files._Tensor(storage, offset, shape, strides).array()


def containers(tmp_path):
    arrays = {"a": count(300).astype(np.float32)}
    safetensors.numpy.save_file(arrays, str(tmp_path / "whole.safetensors"))
    packed = flax.serialization.msgpack_serialize({"params": {"a": arrays["a"]}})
    (tmp_path / "whole.msgpack").write_bytes(packed)
    for name in ("zip", "legacy"):
        (tmp_path / f"whole.{name}").write_bytes((GOLDENS / f"torch_{name}.pt").read_bytes())
    return sorted(tmp_path.glob("whole.*"))


def test_cut_files_are_refused_at_every_length(tmp_path):
    for whole in containers(tmp_path):
        content = whole.read_bytes()
        weight_files.read(whole)
        cut = tmp_path / "cut"
        for length in [*range(0, len(content), 97), len(content) - 1]:
            cut.write_bytes(content[:length])
            with pytest.raises(
                ValueError, match=r"cannot read .*cut as .*cut short, altered"
            ) as error:
                weight_files.read(cut)
            assert "\n" not in str(error.value)


def test_an_altered_zip_is_refused(tmp_path):
    content = bytearray((GOLDENS / "torch_zip.pt").read_bytes())
    place = content.index(np.arange(24, dtype=np.float32).tobytes())
    content[place + 40] ^= 1
    (tmp_path / "altered.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*altered\.pt as a torch checkpoint .*CRC"):
        weight_files.read(tmp_path / "altered.pt")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "cannot read"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "cannot read .* of another kind"),
        (json.dumps({"a": 1}).encode(), "cannot read"),
        (flax.serialization.msgpack_serialize({"a": 1}), "holds no arrays"),
        (flax.serialization.msgpack_serialize({}), "holds no arrays"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        weight_files.read(tmp_path / "file")


def test_folders(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*nowhere"):
        weight_files.read(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match="holds no weights; expected one of diffusion_pytorch_model"
    ):
        weight_files.read(tmp_path)
    safetensors.numpy.save_file({"a": np.ones(2, np.float32)}, str(tmp_path / "model.safetensors"))
    arrays, config = weight_files.read(tmp_path)
    assert list(arrays) == ["a"] and config is None
    (tmp_path / "config.json").write_text('{"ch": 3}')
    assert weight_files.read(tmp_path)[1] == {"ch": 3}
    (tmp_path / "config.json").write_text('{"ch": ')
    with pytest.raises(ValueError, match=r"cannot read .*config\.json"):
        weight_files.read(tmp_path)
    (tmp_path / "config.json").write_text('{"fingerprint": "0", "tokenizer": {}}')
    with pytest.raises(ValueError, match="is an lvm_jax tokenizer already"):
        weight_files.read(tmp_path)


def test_importing_the_readers_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import lvm_jax.tokenizer.weights"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
