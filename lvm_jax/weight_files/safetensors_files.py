"""Files of safetensors: a header that says where every array is, then their numbers.

Read by parts, and written array by array in any order, into shards with an index as transformers
and diffusers keep them.
"""

import json
import pathlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import safetensors

from lvm_jax import atomic
from lvm_jax.weight_files import stretches
from lvm_jax.weight_files.stored_arrays import OtherKindError, Stored
from lvm_jax.weight_files.stretches import PlannedFile, Stretch

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_CODES = {name: code for code, name in _NAMES.items()}
# Headers end where numbers of any type may begin.
_ALIGNMENT = 8


def look(path: pathlib.Path) -> dict[str, Stored]:
    """The arrays of a file, of which nothing but the header is read.

    Raises:
        safetensors.SafetensorError: the header is damaged, or the file is cut short.
    """
    with safetensors.safe_open(str(path), "np"):
        pass  # which compares the header with the size of the file
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
    arrays = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        begin, end = about["data_offsets"]
        dtype = _NAMES.get(about["dtype"])
        where = [Stretch(8 + header_bytes + begin, end - begin)]
        arrays[name] = (
            _unknown(about)
            if dtype is None
            else stretches.stored(path, about["shape"], dtype, where)
        )
    return arrays


def _unknown(about: Mapping[str, Any]) -> Stored:
    """An array of a type that numpy lacks; it may lie beside those that are wanted."""

    def refuse() -> np.ndarray:
        raise OtherKindError(f"its numbers of type {about['dtype']} cannot be read")

    return Stored(tuple(about["shape"]), about["dtype"], refuse)


class ShardedWriter:
    """A folder of safetensors, written array by array in any order, in a `with` block.

    Args:
        folder: where the files go.
        arrays: name -> shape and dtype, in the order in which they fill the shards.
        most_bytes: of the numbers in a shard; a larger array has one for itself.

    Raises:
        atomic.WriteError: the disk is full or read-only; by any method.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]],
        most_bytes: int,
    ):
        self._folder = folder
        self._total = sum(map(_num_bytes, arrays.values()))
        shards = _deal(arrays, most_bytes)
        names = [
            f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            for number in range(1, len(shards) + 1)
        ]
        if len(shards) == 1:
            names = [SINGLE_FILE]
        self._files: dict[str, PlannedFile] = {}
        self._file_of: dict[str, str] = {}
        for file_name, shard in zip(names, shards):
            self._files[file_name] = _plan(folder / file_name, {n: arrays[n] for n in shard})
            self._file_of |= dict.fromkeys(shard, file_name)

    def write(self, name: str, rows: Iterable[np.ndarray]) -> None:
        """Writes an array, given as parts that follow one another."""
        self._files[self._file_of[name]].write(name, rows)

    def __enter__(self) -> "ShardedWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends the files, and writes their index if they are several and whole."""
        for file in self._files.values():
            file.__exit__(kind)
        if kind is None and len(self._files) > 1:
            index = {"metadata": {"total_size": self._total}, "weight_map": self._file_of}
            atomic.write_json(self._folder / INDEX_FILE, index)


def _num_bytes(about: tuple[tuple[int, ...], np.dtype]) -> int:
    shape, dtype = about
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _deal(
    arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]], most_bytes: int
) -> list[list[str]]:
    """Names shard by shard, in their order."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, about in arrays.items():
        if filled and filled + _num_bytes(about) > most_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += _num_bytes(about)
    return shards


def _plan(
    path: pathlib.Path, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]]
) -> PlannedFile:
    # The widest numbers come first, so that all lie where their type may.
    names = sorted(arrays, key=lambda name: (-arrays[name][1].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + _num_bytes(arrays[name])
        shape, dtype = arrays[name]
        header[name] = {
            "dtype": _CODES[dtype.name],
            "shape": list(shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    start = 8 + len(text)
    places = {name: header[name]["data_offsets"] for name in names}
    return PlannedFile(
        path,
        {0: struct.pack("<Q", len(text)) + text},
        {name: [Stretch(start + begin, end - begin)] for name, (begin, end) in places.items()},
    )
