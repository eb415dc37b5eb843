"""Files of weights of other projects: safetensors, torch, flax, numpy; told by content.

What a file holds is known before its numbers are read: a small network can be taken out of a large
checkpoint, and a header that claims terabytes costs nothing.
"""

import contextlib
import functools
import json
import lzma
import math
import pathlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import flax.serialization
import msgpack
import numpy as np
import safetensors

from lvm_jax.weight_files import (
    flax_streams,
    indexes,
    safetensors_files,
    stored_arrays,
    torch_files,
)
from lvm_jax.weight_files.stored_arrays import OtherKindError, Stored

CONFIG_FILE = "config.json"
# What a folder of diffusers or transformers calls its weights, the preferred first.
WEIGHTS_FILES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack")

# What damaged bytes make the libraries here raise.
_DAMAGE = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    pickle.UnpicklingError,
    msgpack.UnpackException,
    safetensors.SafetensorError,
)
# How files begin that are mistaken for weights, and what they are.
_OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself with git lfs pull",
    b"\x89HDF": "HDF5; convert it with what wrote it",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
    b"GGUF": "GGUF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x93NUMPY": "a single array of numpy",
    b"<": "a web page or XML; was a download refused?",
    b"{": "JSON text",
}
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_MSGPACK_MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)


def read(path: str | pathlib.Path) -> tuple[dict[str, Stored], dict[str, Any] | None]:
    """Looks into a weights file, or a folder with config.json and weights.

    Args:
        path: safetensors, torch (a zip archive or older), flax msgpack, a stream of it, .npz, or
            the index of a folder of shards.

    Returns:
        {name: array}, of the arrays wherever they are in the file: "state_dict/a.b" is the "a.b" of
        its entry "state_dict". And the folder's configuration, if it is a folder that has one.

    Raises:
        ValueError: the path is missing, or the file is damaged or of another kind; names it. The
            arrays raise it too, when they are loaded.
    """
    path = pathlib.Path(path)
    config = read_config(path / CONFIG_FILE) if path.is_dir() else None
    arrays: dict[str, Stored] = {}
    files, index = _files_of(path)
    for file in files:
        arrays |= _read_file(file)
    if lost := [name for name in index if name not in arrays]:
        raise ValueError(
            f"the index of {path} says that {index[lost[0]].name} holds {lost[0]}, and it does "
            f"not ({len(lost)} in all); copy the files and their index again"
        )
    return arrays, config


def _files_of(path: pathlib.Path) -> tuple[list[pathlib.Path], dict[str, pathlib.Path]]:
    """The files of weights; and by the name of each array, where an index says so."""
    if path.is_dir():
        if not any((path / name).is_file() for name in WEIGHTS_FILES) and (
            shards := indexes.numbered(path)
        ):
            return shards, {}
        path = _weights_of(path)
    if not path.name.endswith(indexes.SUFFIX):
        return [path], {}
    index = indexes.read(path)
    return list(dict.fromkeys(index.values())), index


def _read_file(path: pathlib.Path) -> dict[str, Stored]:
    if not path.is_file():
        raise ValueError(f"no file {path}")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    kind, look = _kind(path, head)
    with _named(path, kind):
        arrays = look(path)
    if not arrays:
        raise ValueError(f"{path} ({kind}) holds no arrays; is it a checkpoint of weights?")
    return {name: _naming(path, kind, stored) for name, stored in arrays.items()}


def _naming(path: pathlib.Path, kind: str, stored: Stored) -> Stored:
    """The array, whose errors say which file it was."""

    def load() -> np.ndarray:
        with _named(path, kind):
            return stored.load()

    def rows() -> Iterator[np.ndarray]:
        parts = stored.rows()
        while True:
            with _named(path, kind):
                part = next(parts, None)
            if part is None:
                return
            yield part

    return Stored(stored.shape, stored.dtype, load, rows)


def _weights_of(folder: pathlib.Path) -> pathlib.Path:
    for name in WEIGHTS_FILES:
        if (folder / name).is_file():
            return folder / name
    others = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES)
    if len(others) == 1:
        return others[0]
    text = f"{folder} holds no weights; expected one of {', '.join(WEIGHTS_FILES)}"
    if others:
        text = f"{folder} holds {others[0].name} and {len(others) - 1} more; name the file to read"
    raise ValueError(text)


def read_config(path: pathlib.Path) -> dict[str, Any] | None:
    """The JSON object of a folder's config.json; None if there is no such file.

    Raises:
        ValueError: it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a JSON object")
    if "fingerprint" in config and "tokenizer" in config:
        raise ValueError(f"{path.parent} is an lvm_jax tokenizer already")
    return config


@contextlib.contextmanager
def _named(path: pathlib.Path, kind: str) -> Iterator[None]:
    """Says which file it was, and whether it is damaged or only something else."""
    try:
        yield
    except OtherKindError as error:
        raise ValueError(f"{path} looks like {kind}, but is no weights to read: {error}") from error
    except MemoryError as error:
        raise ValueError(f"{path} ({kind}) takes more memory than there is") from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path} is damaged: {reason} ({kind}, cut short or altered); copy it again"
        ) from error


def _kind(path: pathlib.Path, head: bytes) -> tuple[str, Callable[[pathlib.Path], dict]]:
    """What a file is by its first bytes, and what reads it."""
    if head.startswith(b"PK\x03\x04"):
        first_name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        is_numpy = first_name.endswith(b".npy")
        return ("a .npz of numpy", _look_npz) if is_numpy else ("torch", torch_files.read_zip)
    if head[8:9] == b"{":
        return "safetensors", safetensors_files.look
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle", torch_files.read_legacy
    if flax_streams.begins_stream(head):
        return "a stream of flax", flax_streams.look
    # The names of flax are text.
    if head[:1] and head[0] in _MSGPACK_MAPS and any(0xA0 <= b <= 0xDB for b in head[1:6]):
        return "flax msgpack", _look_msgpack
    if head == b"":
        what = "empty"
    elif head[257:262] == b"ustar":
        what = "a tar archive; unpack it"
    else:
        known = (text for start, text in _OTHERS.items() if head.startswith(start))
        what = next(known, f"of no kind that is known (it begins with {head[:8]!r})")
    raise ValueError(
        f"{path} is {what}; weights are read from safetensors, torch, flax msgpack and .npz files"
    )


def _look_msgpack(path: pathlib.Path) -> dict[str, Stored]:
    tree = flax.serialization.msgpack_restore(path.read_bytes())
    leaves = stored_arrays.walk(tree)
    return {name: Stored.of(leaf) for name, leaf in leaves if isinstance(leaf, np.ndarray)}


def _look_npz(path: pathlib.Path) -> dict[str, Stored]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                shape, _, dtype = _NPY_HEADERS[np.lib.format.read_magic(file)](file)
            if dtype.hasobject:
                raise OtherKindError(f"{member.filename} holds Python objects")
            if math.prod(shape) * dtype.itemsize > member.file_size:
                raise EOFError(f"{member.filename} ends early")
            name = member.filename.removesuffix(".npy")
            arrays[name] = Stored(shape, str(dtype), functools.partial(_load_npz, path, name))
    return arrays


def _load_npz(path: pathlib.Path, name: str) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays[name]
