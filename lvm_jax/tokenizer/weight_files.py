"""Reads arrays out of safetensors, torch pickles and flax msgpack, without torch.

A torch file is a pickle, and a pickle can name any function to be called on loading. The reader
here calls none: tensors are rebuilt by our own code, and every other class that a checkpoint
mentions (a trainer's callbacks, its arguments) becomes an inert placeholder.
"""

import collections
import json
import math
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import flax.serialization
import ml_dtypes
import msgpack
import numpy as np
import safetensors
import safetensors.numpy

from lvm_jax import trees

CONFIG_FILE = "config.json"
# What a folder of diffusers or transformers calls its weights, the preferred first.
WEIGHTS_FILES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
# Where checkpoints keep the weights beside a trainer's state, the preferred first.
WRAPPERS = ("ema", "model", "state_dict", "params")

_LEGACY_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
# Its pickle: protocol 2, a long of ten bytes.
_LEGACY_TORCH_HEAD = b"\x80\x02\x8a\x0a" + _LEGACY_TORCH_MAGIC.to_bytes(10, "little")
_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    msgpack.UnpackException,
    safetensors.SafetensorError,
)
_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def read(path: str | pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Reads a weights file, or a folder with config.json and weights.

    Args:
        path: safetensors, a torch pickle (zip or older) or flax msgpack, told apart by content.

    Returns:
        {flat name: array} as stored, without wrappers, and the folder's configuration if it is a
        folder that has one.

    Raises:
        ValueError: the path is missing, or the file is damaged or of another kind; names it.
    """
    path = pathlib.Path(path)
    config = None
    if path.is_dir():
        config = _read_config(path / CONFIG_FILE)
        found = [path / name for name in WEIGHTS_FILES if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} holds no weights; expected one of {', '.join(WEIGHTS_FILES)}")
        path = found[0]
    if not path.is_file():
        raise ValueError(f"no file {path}")
    kind, reader = _reader(path)
    try:
        tree = _unwrap(reader(path))
        arrays = {
            n: leaf for n, leaf in trees.flatten(tree).items() if isinstance(leaf, np.ndarray)
        }
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"cannot read {path} as {kind} ({reason}): it is cut short, altered or of another kind"
        ) from error
    if not arrays:
        raise ValueError(f"{path} ({kind}) holds no arrays; is it a checkpoint of weights?")
    return arrays, config


def _read_config(path: pathlib.Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a JSON object")
    if "fingerprint" in config and "tokenizer" in config:
        raise ValueError(f"{path.parent} is an lvm_jax tokenizer already")
    return config


def _reader(path: pathlib.Path):
    with path.open("rb") as file:
        head = file.read(16)
    if head[:4] == b"PK\x03\x04":
        return "a torch checkpoint", _read_torch_zip
    if head[8:9] == b"{":
        return "safetensors", lambda path: safetensors.numpy.load_file(str(path))
    if head.startswith(_LEGACY_TORCH_HEAD):
        return "an old torch checkpoint", _read_torch_legacy
    return "flax msgpack", lambda path: flax.serialization.msgpack_restore(path.read_bytes())


def _unwrap(tree: Any) -> Mapping[str, Any]:
    if not isinstance(tree, Mapping):
        raise ValueError(f"it holds a {type(tree).__name__}, not named arrays")
    for name in WRAPPERS:
        if isinstance(tree.get(name), Mapping):
            return _unwrap(tree[name])
    return {str(key): value for key, value in tree.items()}


class _Inert:
    """Stands for an object whose class is not loaded; takes whatever a pickle does to it."""

    def __new__(cls, *_: Any, **__: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    extend = add = append


class _Storage:
    """The numbers behind tensors; an old checkpoint gives them after the tensors."""

    def __init__(self, dtype: Any):
        self.dtype = np.dtype(dtype)
        self.values: np.ndarray | None = None

    def fill(self, content: bytes) -> None:
        self.values = np.frombuffer(content, self.dtype)


class _Tensor:
    def __init__(self, storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any):
        self.storage, self.offset = storage, int(offset)
        self.shape, self.strides = tuple(map(int, shape)), tuple(map(int, strides))

    def array(self) -> np.ndarray:
        """Raises ValueError when the tensor reaches outside its storage."""
        values = self.storage.values
        if math.prod(self.shape) == 0:
            return np.empty(self.shape, self.storage.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if values is None or min(self.offset, *self.strides, 0) < 0 or last >= len(values):
            raise ValueError("a tensor reaches outside its storage")
        strides = [stride * values.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides)
        return np.ascontiguousarray(view).reshape(self.shape)


class _Unpickler(pickle.Unpickler):
    """Builds plain containers and tensors; never imports or calls what the pickle names."""

    def __init__(self, file: BinaryIO, load_storage: Any):
        super().__init__(file)
        self._load_storage = load_storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        return known.get((module, name)) or type(name, (_Inert,), {})

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage":
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        # A storage of a type that we do not know is left empty: only a tensor of ours needs one.
        known = isinstance(dtype, type) and not issubclass(dtype, _Inert)
        return self._load_storage(dtype if known else np.uint8, str(key), int(count))


def _arrays(value: Any) -> Any:
    """Tensors as arrays, through nested dicts; everything else stays."""
    if isinstance(value, Mapping):
        return {key: _arrays(item) for key, item in value.items()}
    return value.array() if isinstance(value, _Tensor) else value


def _read_torch_zip(path: pathlib.Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError("no data.pkl inside")
        root = names[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") == b"big":
            raise ValueError("its numbers are big-endian")
        storages: dict[str, _Storage] = {}

        def load(dtype: Any, key: str, count: int) -> _Storage:
            if key not in storages:
                storages[key] = _Storage(dtype)
                storages[key].fill(archive.read(f"{root}data/{key}"))
            return storages[key]

        with archive.open(names[0]) as file:
            return _arrays(_unwrap(_Unpickler(file, load).load()))


def _read_torch_legacy(path: pathlib.Path) -> Any:
    """The format before torch 1.6: pickles one after another, then the numbers of each storage."""
    storages: dict[str, _Storage] = {}

    def load(dtype: Any, key: str, count: int) -> _Storage:
        return storages.setdefault(key, _Storage(dtype))

    with path.open("rb") as file:
        magic, _, _, tree, keys = (_Unpickler(file, load).load() for _ in range(5))
        if magic != _LEGACY_TORCH_MAGIC:
            raise ValueError("not written by torch")
        for key in keys:
            (count,) = struct.unpack("<q", file.read(8))
            num_bytes = count * storages[key].dtype.itemsize
            content = file.read(num_bytes)
            if count < 0 or len(content) != num_bytes:
                raise EOFError("its numbers end early")
            storages[key].fill(content)
        return _arrays(_unwrap(tree))
