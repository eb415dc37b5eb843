"""One record is one visual sentence; one ArrayRecord file holds many.

A record is a header (five little-endian uint16: bytes of the header, images, bytes of kind, source
and key), the three names in UTF-8 (those of files may be any bytes), a padding byte where needed,
and the ids as uint16.

Legend: N images of a sentence, T ids per image.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import struct
import threading
from collections.abc import Sequence

import numpy as np
from array_record.python import array_record_module

from lvm_jax import file_names
from lvm_jax.atomic import write_error
from lvm_jax.storage import paths

_HEADER = struct.Struct("<5H")
# Ids hardly compress, and uncompressed records are read fastest; one record per chunk makes single
# records readable.
_WRITER_OPTIONS = "group_size:1,uncompressed"
# Without read-ahead and its thread pool, seek + read costs microseconds instead of a millisecond.
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_READER_BUFFER_BYTES = 4096
_END_BYTES = 1 << 16
REMAKE = "remove this file and build again with the same command, which makes it anew"
ID_BYTES = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A tokenized sentence: its kind, source and key, and uint16 ids [N, T]."""

    kind: str
    source: str
    key: str
    ids: np.ndarray


def encode(record: Record) -> bytes:
    """The bytes of a record."""
    names = [file_names.to_bytes(text) for text in (record.kind, record.source, record.key)]
    if max(map(len, names)) > 0xFFFF - 1024:
        raise ValueError(
            f"the key of a sentence of {record.source} has {len(names[2])} bytes, too many; "
            "give its folders and files shorter names, or put fewer pictures into a sentence"
        )
    size = _HEADER.size + sum(map(len, names))
    pad = size % 2
    header = _HEADER.pack(size + pad, len(record.ids), *map(len, names))
    ids = np.ascontiguousarray(record.ids, dtype="<u2")
    return b"".join([header, *names, b"\0" * pad, ids.tobytes()])


def decode(data: bytes, tokens_per_image: int) -> Record:
    """The inverse of `encode`.

    Raises:
        ValueError: the bytes do not have the form of a record.
    """
    if len(data) < _HEADER.size:
        raise ValueError(f"a record of {len(data)} bytes has no header")
    size, num_images, *lengths = _HEADER.unpack_from(data)
    if len(data) - size != num_images * tokens_per_image * ID_BYTES:
        raise ValueError(
            f"a record of {len(data)} bytes does not hold {num_images} images of "
            f"{tokens_per_image} ids after {size} bytes"
        )
    names, start = [], _HEADER.size
    for length in lengths:
        names.append(file_names.from_bytes(data[start : start + length]))
        start += length
    ids = np.frombuffer(data, "<u2", offset=size).reshape(num_images, tokens_per_image)
    kind, source, key = names
    return Record(kind=kind, source=source, key=key, ids=ids)


class RecordFileWriter:
    """Writes an ArrayRecord file that appears under its name only when whole."""

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._count = 0
        try:
            # ArrayRecord opens a file it cannot create without a word.
            self._partial.write_bytes(b"")
            self._writer = array_record_module.ArrayRecordWriter(
                os.fsencode(self._partial), _WRITER_OPTIONS
            )
        except (OSError, RuntimeError) as error:
            raise write_error(self.path, error) from error

    def write(self, data: bytes) -> None:
        """Appends a record.

        Raises:
            RuntimeError: the disk is full or read-only; finished files are untouched.
        """
        try:
            self._writer.write(data)
        except RuntimeError as error:
            raise write_error(self.path, error) from error
        self._count += 1

    def close(self) -> None:
        """Ends the file, checks it and gives it its name."""
        try:
            self._writer.close()
            reader = array_record_module.ArrayRecordReader(
                os.fsencode(self._partial), _READER_OPTIONS
            )
            arrived = reader.num_records()
            reader.close()
            if arrived != self._count:
                raise OSError(f"{arrived} of {self._count} records arrived on disk")
            self._partial.replace(self.path)
        except (OSError, RuntimeError) as error:
            raise write_error(self.path, error) from error

    def abandon(self) -> None:
        """Removes what was written so far."""
        # The file is thrown away; why it could not be ended was said before.
        with contextlib.suppress(RuntimeError):
            self._writer.close()
        self._partial.unlink(missing_ok=True)


class RecordFile:
    """Random access to the records of one file; threads may share it.

    Args:
        path: the file.
        num_records: how many it must hold.
        ends: what `checksum_of_ends` must give; "" is not compared.

    Raises:
        ValueError: it is not the file that was written, or damaged; names it.
        OSError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike, num_records: int, ends: str = ""):
        self.path = str(path)
        # To ArrayRecord a file that it cannot open, of too many for example, seems to be empty.
        with open(path, "rb"):
            pass
        self._reader = array_record_module.ArrayRecordReader(
            os.fsencode(path), _READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER_BYTES
        )
        self._lock = threading.Lock()
        # A file that is cut short has no footer and seems to be empty.
        if self._reader.num_records() != num_records:
            raise ValueError(
                f"{self.path} holds {self._reader.num_records()} readable records, not "
                f"{num_records}: it is cut short or damaged; {REMAKE}"
            )
        if ends and checksum_of_ends(path) != ends:
            for position in range(num_records):
                self.read([position])  # names the record, if one is damaged
            raise ValueError(
                f"{self.path} is not the file that was written here; restore it, or {REMAKE}"
            )

    def read(self, positions: Sequence[int]) -> list[bytes]:
        """The records at these positions.

        Raises:
            ValueError: a record does not match its checksum; names the file and the record.
        """
        seek, read, datas, position = self._reader.seek, self._reader.read, [], -1
        try:
            with self._lock:  # seek and read are two calls
                for position in positions:
                    seek(position)
                    datas.append(read())
        except (RuntimeError, IndexError) as error:
            reason = str(error).split(";")[0]
            raise ValueError(f"{self.path}, record {position}: {reason}; {REMAKE}") from error
        return datas


def checksum(path: str | os.PathLike) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with paths.path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_of_ends(path: str | os.PathLike) -> str:
    """SHA-256 of the first and last 64 KiB of a file: quick, and other for other records."""
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(_END_BYTES))
        file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - _END_BYTES))
        digest.update(file.read())
    return digest.hexdigest()
