"""Files that are read as if they had been edited, without a copy."""

import bisect
import io
from typing import Any, BinaryIO, NamedTuple


class Edit(NamedTuple):
    """Bytes start..end of a file are shown as others."""

    start: int
    end: int
    shown: bytes = b""


def edited(file: BinaryIO, edits: list[Edit]) -> BinaryIO:
    """A view of a file with edits, which are in order and do not overlap.

    It is valid while the file is open, and moves the file's position.
    """
    edits = [edit for edit in edits if edit.end > edit.start or edit.shown]
    return io.BufferedReader(_EditedFile(file, edits), 1 << 16) if edits else file


class _EditedFile(io.RawIOBase):
    """Parts of a file and other bytes, one after the other."""

    def __init__(self, file: BinaryIO, edits: list[Edit]):
        self._file, self._position = file, 0
        self._starts: list[int] = []  # where each part begins in the edited file
        self._parts: list[bytes | tuple[int, int]] = []  # bytes, or start and end in the file
        self._length = position = 0
        size = file.seek(0, io.SEEK_END)
        for start, end, shown in [*edits, Edit(size, size)]:
            self._add((position, start), start - position)
            self._add(shown, len(shown))
            position = end

    def _add(self, part: bytes | tuple[int, int], length: int) -> None:
        if length:
            self._starts.append(self._length)
            self._parts.append(part)
            self._length += length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._length:
            return 0
        number = bisect.bisect_right(self._starts, self._position) - 1
        part, offset = self._parts[number], self._position - self._starts[number]
        if isinstance(part, bytes):
            data = part[offset : offset + len(buffer)]
        else:
            self._file.seek(part[0] + offset)
            data = self._file.read(min(len(buffer), part[1] - part[0] - offset))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
