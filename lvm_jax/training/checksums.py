"""Checksums of a folder's files: noted when they are written, compared before they are read.

FOLDER/checksums.json holds {"piece_bytes": 67108864, "files": {"state/d/0a1b": [size, crc, ...]},
"checksum": crc} with the CRC-32 of every piece of a file, so that several threads read a large one,
and of these notes themselves.
"""

import concurrent.futures
import json
import os
import pathlib
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lvm_jax import atomic

FILE = "checksums.json"
_PIECE_BYTES = 1 << 26
_BUFFER_BYTES = 1 << 19  # small enough for a core's own cache


def note(folder: pathlib.Path, *, leave_out: Collection[str] = ()) -> None:
    """Writes the checksums of all files in a folder, and below it.

    Args:
        folder: whole, but for what is left out.
        leave_out: files that are not final yet, relative to the folder; `note_rest` adds them.

    Raises:
        OSError: a file cannot be read, or the checksums cannot be written; names it.
    """
    names = sorted(set(_names(folder)) - set(leave_out))
    _write(folder, _measure(folder, names, _PIECE_BYTES))


def note_rest(folder: pathlib.Path) -> None:
    """Adds the files that `note` left out; raises as it does."""
    piece_bytes, files = _read(folder)
    rest = [name for name in _names(folder) if name not in files]
    if rest:
        _write(folder, files | _measure(folder, rest, piece_bytes))


def find_damage(
    folder: pathlib.Path, *, sizes_only: bool = False, share: tuple[int, int] = (0, 1)
) -> str | None:
    """What is wrong with a folder that has checksums, such as "state/d/0a1b is missing".

    Args:
        folder: where `note` was.
        sizes_only: look whether the files are there and as long as they were, which is fast.
        share: (i, n) looks at the i-th of n shares of the files.

    Returns:
        None when nothing is wrong.
    """
    try:
        piece_bytes, files = _read(folder)
        names = sorted(files)[share[0] :: share[1]]
        for name in names:
            if not (folder / name).is_file():
                return f"{name} is missing"
            size = (folder / name).stat().st_size
            if size != files[name][0]:
                return f"{name} has {size} bytes instead of {files[name][0]}"
        if sizes_only:
            return None
        found = _measure(folder, names, piece_bytes)
    except (ValueError, KeyError, TypeError):
        return f"{FILE} is not what was written"
    except OSError as error:
        return f"{error.filename or folder} cannot be read ({error.strerror or error})"
    different = next((name for name in names if found[name] != files[name]), None)
    return None if different is None else f"{different} is not what was written (checksum)"


def _names(folder: pathlib.Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in files)
    return sorted(name for name in names if name not in (FILE, FILE + ".partial"))


def _write(folder: pathlib.Path, files: dict[str, list[int]]) -> None:
    noted = {"piece_bytes": _PIECE_BYTES, "files": files}
    # Without a line end, so that no byte of it can be lost unnoticed.
    atomic.write_text(folder / FILE, json.dumps({**noted, "checksum": _crc_of(noted)}))


def _read(folder: pathlib.Path) -> tuple[int, dict[str, list[int]]]:
    noted = json.loads((folder / FILE).read_text(encoding="utf-8"))
    if noted.pop("checksum") != _crc_of(noted):
        raise ValueError(f"{folder / FILE} is not what was written")
    return noted["piece_bytes"], noted["files"]


def _crc_of(noted: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(noted, sort_keys=True).encode())


def _measure(folder: pathlib.Path, names: Sequence[str], piece_bytes: int) -> dict[str, list[int]]:
    """name -> [size, checksum of the first piece, of the second, ...]."""
    sizes = {name: (folder / name).stat().st_size for name in names}
    pieces = [(name, start) for name in names for start in range(0, sizes[name], piece_bytes)]
    measured = {name: [size] for name, size in sizes.items()}
    # Reading and computing both let other threads run.
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        sums = pool.map(lambda piece: _crc(folder / piece[0], piece[1], piece_bytes), pieces)
        for (name, _), crc in zip(pieces, sums):
            measured[name].append(crc)
    return measured


def _crc(path: pathlib.Path, start: int, num_bytes: int) -> int:
    """CRC-32 of at most so many bytes of a file."""
    crc, buffer = 0, memoryview(bytearray(min(num_bytes, _BUFFER_BYTES)))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while num_bytes > 0 and (size := file.readinto(buffer[: min(num_bytes, len(buffer))])):
            crc, num_bytes = zlib.crc32(buffer[:size], crc), num_bytes - size
    return crc
