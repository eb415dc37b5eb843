"""Where the records of an ArrayRecord file lie, so that one can be read without all the others.

`records` writes files of one record per chunk, uncompressed, in the format of Riegeli: chunks end
to end, and a header of 24 bytes wherever a block of 64 KiB begins, even inside a chunk. The last
block says where the footer is, a chunk that names the place and size of every other.
https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md

Legend: R records of the file.
"""

import dataclasses

import numpy as np

BLOCK_BYTES = 1 << 16
_BLOCK_HEADER_BYTES = 24
_CHUNK_HEADER_BYTES = 40
_SIMPLE_CHUNK = ord("r")
# Tags of the protocol buffers: field number << 3, all of them varints.
_FIELD_1, _FIELD_2, _FIELD_3 = 8, 16, 24


@dataclasses.dataclass(frozen=True)
class Places:
    """Places of a file's records.

    Attributes:
        starts: int64 [R + 1], where their chunks begin, and where the last one ends.
        sizes: int64 [R], bytes of the records alone.
    """

    starts: np.ndarray
    sizes: np.ndarray


def footer_start(last_block: bytes) -> int:
    """Where the footer begins, from a file's last 64 KiB; ValueError where it does not say so."""
    chunk = last_block[_BLOCK_HEADER_BYTES:]
    if len(last_block) != BLOCK_BYTES or len(chunk) < _CHUNK_HEADER_BYTES:
        raise ValueError("it is cut short")
    values = _varints(np.frombuffer(_values(chunk), np.uint8))
    if len(values) < 2 or values[0] != _FIELD_1:
        raise ValueError("its end is damaged")
    return int(values[1])


def read_footer(data: bytes, start: int, num_records: int) -> Places:
    """Places of all records.

    Args:
        data: of the file, from the footer's start to the last block or further.
        start: where the footer begins.
        num_records: how many records the file must hold.

    Raises:
        ValueError: it is no such footer.
    """
    chunk = without_block_headers(data, start)
    values = _values(chunk)
    # Each names a chunk by three varints; before them is one record about the file itself.
    numbers = _varints(np.frombuffer(values, np.uint8))[-6 * num_records :]
    if len(numbers) != 6 * num_records:
        raise ValueError("its footer is damaged")
    fields = numbers.reshape(num_records, 6)
    starts = np.append(fields[:, 1], start)
    if (fields[:, ::2] != (_FIELD_1, _FIELD_2, _FIELD_3)).any() or (np.diff(starts) <= 0).any():
        raise ValueError("its footer is damaged")
    return Places(starts=starts, sizes=fields[:, 3])


def record(data: bytes, start: int, size: int) -> bytes:
    """The record of a chunk.

    Args:
        data: of the file, from the chunk's start to its end.
        start: where the chunk begins.
        size: of the record.

    Raises:
        ValueError: it is no chunk of such a record.
    """
    chunk = without_block_headers(data, start)
    values = _values(chunk)
    if len(values) != size:
        raise ValueError(f"it has {len(values)} bytes instead of {size}")
    return values


def without_block_headers(data: bytes, start: int) -> bytes:
    """Bytes of a file from `start` on, without the headers of the blocks that begin in them."""
    first = -start % BLOCK_BYTES
    if first >= len(data):
        return data
    parts = [data[:first]]
    for begin in range(first, len(data), BLOCK_BYTES):
        parts.append(data[begin + _BLOCK_HEADER_BYTES : begin + BLOCK_BYTES])
    return b"".join(parts)


def _values(chunk: bytes) -> bytes:
    """The records of a chunk, end to end; their sizes, which come first, are left out."""
    data_bytes = int.from_bytes(chunk[8:16], "little")
    values_bytes = int.from_bytes(chunk[32:40], "little")
    if len(chunk) < _CHUNK_HEADER_BYTES + data_bytes or values_bytes > data_bytes:
        raise ValueError("a chunk is damaged or cut short")
    if chunk[24] != _SIMPLE_CHUNK or chunk[_CHUNK_HEADER_BYTES] != 0:
        raise ValueError("a chunk is compressed or damaged")
    end = _CHUNK_HEADER_BYTES + data_bytes
    return chunk[end - values_bytes : end]


def _varints(data: np.ndarray) -> np.ndarray:
    """All variable-length integers of bytes: int64; each ends with a byte below 128."""
    ends = np.flatnonzero(data < 128)
    lengths = np.diff(ends, prepend=-1)
    values = np.zeros(len(ends), np.int64)
    for place in range(min(int(lengths.max(initial=0)), 9)):
        has = lengths > place
        byte = data[(ends - lengths + 1 + place)[has]].astype(np.int64)
        values[has] |= (byte & 127) << (7 * place)
    return values
