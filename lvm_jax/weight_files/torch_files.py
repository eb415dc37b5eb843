"""Checkpoints of torch, read and written without torch.

A checkpoint is a pickle of whatever its owner saved, in which tensors refer to storages that lie
outside of it: since torch 1.6 as members of a zip archive, before that behind the pickle.
"""

import dataclasses
import functools
import io
import math
import mmap
import pathlib
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, cast

import ml_dtypes
import numpy as np

from lvm_jax import atomic
from lvm_jax.weight_files import pickles, stored_arrays, stretches
from lvm_jax.weight_files.stored_arrays import OtherKindError, Stored

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
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
    # Types that are younger than typed storages are named themselves.
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}


@dataclasses.dataclass
class _Storage:
    """The numbers behind tensors.

    `read` takes the first byte and how many, and may give less; `parts` gives them bit by bit.
    """

    kind: str
    count: int
    read: Callable[[int, int], bytes] = lambda start, num_bytes: b""  # known later
    parts: Callable[[int, int], Iterator[bytes]] = lambda start, num_bytes: iter(())  # the same


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    kind: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def stored(self) -> Stored:
        dtype = _DTYPES.get(self.kind)
        name = str(np.dtype(dtype)) if dtype else self.kind
        return Stored(self.shape, name, self._load, self._rows)

    def _rows(self) -> Iterator[np.ndarray]:
        """As `_load`, some rows at a time where they lie one after another."""
        count = math.prod(self.shape)
        following = tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))
        if self.kind not in _DTYPES or not count or self.strides != following:
            yield self._load()
            return
        dtype = np.dtype(_DTYPES[self.kind])
        parts = self.storage.parts(self.offset * dtype.itemsize, count * dtype.itemsize)
        yield from stretches.rows_of(parts, self.shape, dtype)

    def _load(self) -> np.ndarray:
        """Raises ValueError when the tensor reaches outside its storage."""
        if self.kind not in _DTYPES:
            raise OtherKindError(f"its numbers of type {self.kind} cannot be read")
        dtype = np.dtype(_DTYPES[self.kind])
        if math.prod(self.shape) == 0:
            return np.empty(self.shape, dtype)
        # Many tensors may be small parts of one storage: only the part is read.
        count = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        content = self.storage.read(self.offset * dtype.itemsize, count * dtype.itemsize)
        if len(content) < count * dtype.itemsize:
            raise ValueError("a tensor reaches outside its storage")
        strides = [stride * dtype.itemsize for stride in self.strides]
        values = np.frombuffer(content, dtype)
        view = np.lib.stride_tricks.as_strided(values, self.shape, strides)
        return np.ascontiguousarray(view).reshape(self.shape)


def read_zip(path: pathlib.Path) -> dict[str, Stored]:
    """The tensors of a checkpoint of torch 1.6 or later, by the way to each.

    Raises:
        OtherKindError: the archive is of another program.
        ValueError, or another error of the libraries that take part: the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    # TorchScript keeps further pickles deeper inside.
    tree = min((name for name in sizes if name.endswith("/data.pkl")), key=len, default=None)
    if tree is None:
        raise OtherKindError(f"a zip archive of {', '.join(list(sizes)[:3]) or 'nothing'}")
    root = tree.removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in sizes and _member(path, order, 0, sizes[order]) == b"big":
        raise OtherKindError("its numbers are big-endian")

    def find(kind: str, key: str, count: int) -> _Storage:
        member = f"{root}data/{key}"
        if kind in _DTYPES and sizes[member] != count * np.dtype(_DTYPES[kind]).itemsize:
            raise ValueError(f"{member} has {sizes[member]} bytes")
        here = path, member
        return _Storage(
            kind, count, functools.partial(_member, *here), functools.partial(_member_parts, *here)
        )

    return _tensors(_load(io.BytesIO(_member(path, tree, 0, sizes[tree])), find))


def _member(path: pathlib.Path, name: str, start: int, num_bytes: int) -> bytes:
    with zipfile.ZipFile(path) as archive:
        info = _info(path, archive, name)
        if start == 0 and num_bytes == info.file_size:
            return archive.read(name)  # which compares the checksum
        with archive.open(name) as file:
            file.seek(start)
            return file.read(min(num_bytes, info.file_size))


def _member_parts(path: pathlib.Path, name: str, start: int, num_bytes: int) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as archive:
        _info(path, archive, name)
        # What is read from the first byte to the last has its checksum compared.
        with archive.open(name) as file:
            file.seek(start)
            while num_bytes and (part := file.read(min(num_bytes, stretches.PART_BYTES))):
                yield part
                num_bytes -= len(part)


def _info(path: pathlib.Path, archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """About a member, which is no larger than can be."""
    size = path.stat().st_size
    info = archive.getinfo(name)
    # Torch does not compress; who did it later came nowhere near this.
    if info.compress_size > size or info.file_size > 100 * size:
        raise EOFError(f"{name} claims {info.file_size} bytes of {size}")
    return info


def read_legacy(path: pathlib.Path) -> dict[str, Stored]:
    """The tensors of a checkpoint of torch before 1.6, by the way to each.

    Raises:
        OtherKindError: a pickle that torch did not write, or numbers that cannot be read.
        ValueError, or another error of the libraries that take part: the file is damaged.
    """
    storages: dict[str, _Storage] = {}

    def find(kind: str, key: str, count: int) -> _Storage:
        return storages.setdefault(key, _Storage(kind, count))

    # Mapped, so that a length that is far too large reads no more than there is.
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        pickled = cast(BinaryIO, content)  # which reads like one
        if _load(pickled, find) != _LEGACY_MAGIC:
            raise OtherKindError(
                "one that torch.save did not write; load it with what wrote it and save its "
                "state_dict with torch.save"
            )
        _, system, tree, keys = (_load(pickled, find) for _ in range(4))
        if not system.get("little_endian", True):
            raise OtherKindError("its numbers are big-endian")
        # The numbers of each storage stand one after another, each behind its count.
        for key in keys:
            storage = storages[key]
            if storage.kind not in _DTYPES:
                raise OtherKindError(f"its numbers of type {storage.kind} cannot be read")
            (count,) = struct.unpack("<q", content.read(8))
            num_bytes = count * np.dtype(_DTYPES[storage.kind]).itemsize
            start = content.tell()
            if count != storage.count or start + num_bytes > len(content):
                raise EOFError("its numbers end early")
            storage.read = functools.partial(_stretch, path, start, start + num_bytes)
            storage.parts = functools.partial(_stretch_parts, storage)
            content.seek(num_bytes, io.SEEK_CUR)
    return _tensors(tree)


def _stretch(path: pathlib.Path, begin: int, end: int, start: int, num_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin + start)
        return file.read(max(0, min(num_bytes, end - begin - start)))


def _stretch_parts(storage: _Storage, start: int, num_bytes: int) -> Iterator[bytes]:
    for begin in range(start, start + num_bytes, stretches.PART_BYTES):
        yield storage.read(begin, min(stretches.PART_BYTES, start + num_bytes - begin))


def _load(file: BinaryIO, find: Callable[[str, str, int], _Storage]) -> Any:
    """One pickle of a checkpoint; `find` gives a storage by type, key and count."""

    def refer(pid: Any) -> Any:
        if pid[0] == "module":  # a class with its source, as torch before 1.6 kept them
            return pid[1]
        label, kind, key, _, count = pid[:5]
        if label != "storage" or count < 0:
            raise ValueError(f"a reference to {label!r}")
        return find(kind.name, str(key), int(count))

    return pickles.load(file, _BUILDERS, refer)


def _rebuild(storage: _Storage, offset: int, shape: Any, strides: Any, *more: Any) -> _Tensor:
    # The newest form names its type after whether a gradient is wanted and the hooks.
    kind = more[2].name if len(more) > 2 and isinstance(more[2], pickles.Name) else storage.kind
    shape, strides = tuple(map(int, shape)), tuple(map(int, strides))
    if len(shape) != len(strides) or min(0, offset, *shape, *strides) < 0:
        raise ValueError(f"a tensor of shape {shape} and strides {strides} from {offset}")
    return _Tensor(storage, kind, int(offset), shape, strides)


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): dict,
    ("collections", "defaultdict"): lambda *_: {},
    ("torch._utils", "_rebuild_tensor"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda tensor, *_: tensor,
}


def _tensors(tree: Any) -> dict[str, Stored]:
    leaves = stored_arrays.walk(tree)
    return {name: leaf.stored() for name, leaf in leaves if isinstance(leaf, _Tensor)}


def write_zip(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes {name: array} as `torch.save` writes a state_dict; no code is needed to load it.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    with atomic.writing(path) as partial, zipfile.ZipFile(partial, "w") as archive:

        def write(name: str, content: bytes | str) -> None:
            # Members without the time of writing: the same weights give the same file.
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)

        write("data.pkl", _pickle(arrays))
        write("byteorder", "little")
        for key, array in enumerate(arrays.values()):
            write(f"data/{key}", array.tobytes())
        write("version", "3\n")


def _pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A pickle of protocol 2 that names torch's functions, which `pickle` does only with torch."""
    kinds = {np.dtype(dtype): kind for kind, dtype in _DTYPES.items()}
    out = io.BytesIO()
    out.write(b"\x80\x02}(")
    for key, (name, array) in enumerate(arrays.items()):
        _write_text(out, name)
        out.write(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        _write_text(out, "storage")
        out.write(f"ctorch\n{kinds[array.dtype]}\n".encode())
        _write_text(out, str(key))
        _write_text(out, "cpu")
        _write_integers(out, array.size)
        out.write(b"tQ")
        _write_integers(out, 0)
        strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
        for numbers in (array.shape, strides):
            out.write(b"(")
            _write_integers(out, *numbers)
            out.write(b"t")
        out.write(b"\x89ccollections\nOrderedDict\n)RtR")
    out.write(b"u.")
    return out.getvalue()


def _write_text(out: BinaryIO, text: str) -> None:
    encoded = text.encode()
    out.write(b"X" + struct.pack("<I", len(encoded)) + encoded)


def _write_integers(out: BinaryIO, *numbers: int) -> None:
    for number in numbers:
        # A long of eight bytes: a count may exceed what an int of four holds.
        out.write(b"\x8a\x08" + struct.pack("<q", number))
