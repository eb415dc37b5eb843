"""Checksums of a folder's files: noted when they are written, compared before they are read.

FOLDER/checksums.json holds {"files": {"state/d/0a1b": [size, digest, ...]}, "checksum": crc}: one
digest for each piece of a file, so that several threads read a large one, and the CRC-32 of these
notes themselves. FOLDER/checksums_rest.json holds those of files that became final later, which
nobody looks after until it is written.

On a store, which looks after what it keeps by itself, nothing is read back: noted are sizes, and as
"crc32c" the checksums that a listing tells. Where a folder was copied from or to a store, sizes are
compared alone.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import zlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from lvm_jax import atomic
from lvm_jax.storage import paths
from lvm_jax.storage.patience import StoreError

FILE = "checksums.json"
_REST = "checksums_rest.json"
# Part of the format: another number gives other digests.
_PIECE_BYTES = 1 << 26
_BLOCK_WORDS = 1 << 13
_BUFFER_BYTES = 1 << 19  # small enough for a core's own cache; whole blocks

_Noted = list[int | str]
"""The size of a file and the digests of its pieces."""


def note(folder: pathlib.Path, *, leave_out: Collection[str] = ()) -> None:
    """Writes the checksums of all files in a folder, and below it.

    Args:
        folder: whole, but for what is left out.
        leave_out: files that are not final yet, relative to the folder; `note_rest` adds them.

    Raises:
        OSError: a file cannot be read, or the checksums cannot be written; names it.
    """
    if stored := paths.store_path(folder):
        _note_listing(stored, leave_out)
        return
    names = sorted(set(_names(folder)) - set(leave_out))
    _write(folder / FILE, _measure(folder, names))


def note_rest(folder: pathlib.Path) -> None:
    """Adds the files that `note` left out; raises as it does."""
    if paths.store_path(folder):
        return  # neither is what it was made of read back, nor does anything depend on them
    files = _read(folder / FILE)
    # Into a file of its own: some file systems write all to disk before one replaces another.
    _write(folder / _REST, _measure(folder, [n for n in _names(folder) if n not in files]))


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

    Raises:
        StoreError: a store does not answer, which says nothing about the files.
    """
    try:
        if stored := paths.store_path(folder):
            return _find_damage_in_listing(stored)
        files = _read(folder / FILE)
        if (folder / _REST).exists():
            files |= _read(folder / _REST)
        names = sorted(files)[share[0] :: share[1]]
        for name in names:
            if not (folder / name).is_file():
                return f"{name} is missing"
            size = (folder / name).stat().st_size
            if size != files[name][0]:
                return f"{name} has {size} bytes instead of {files[name][0]}"
        # Those that were noted on a store have no digests.
        names = [name for name in names if len(files[name]) > 1 or not files[name][0]]
        if sizes_only:
            return None
        measured = _measure(folder, names)
    except ValueError as error:
        return str(error)
    except StoreError:
        raise
    except OSError as error:
        return f"{error.filename or folder} cannot be read ({error.strerror or error})"
    different = next((name for name in names if measured[name] != files[name]), None)
    return None if different is None else f"{different} is not what was written (checksum)"


def _note_listing(folder: paths.StorePath, leave_out: Collection[str]) -> None:
    listing = {name: at for name, at in folder.listing().items() if name not in leave_out}
    files: dict[str, _Noted] = {name: [listed.size] for name, listed in listing.items()}
    crcs = {name: listed.crc32c for name, listed in listing.items() if listed.crc32c}
    noted = {"files": files, "checksum": _crc_of(files), "crc32c": crcs}
    (folder / FILE).write_bytes(json.dumps(noted).encode())


def _find_damage_in_listing(folder: paths.StorePath) -> str | None:
    text, listing = (folder / FILE).read_text(errors="replace"), folder.listing()
    files = _parse(FILE, text)
    crcs = json.loads(text).get("crc32c", {})
    for name, (size, *_) in sorted(files.items()):
        if name not in listing:
            return f"{name} is missing"
        if listing[name].size != size:
            return f"{name} has {listing[name].size} bytes instead of {size}"
        if crcs.get(name, "") not in ("", listing[name].crc32c):
            return f"{name} is not what was written (checksum)"
    return None


def _names(folder: pathlib.Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in files)
    return sorted(name for name in names if not name.startswith((FILE, _REST)))


def _write(path: pathlib.Path, files: dict[str, _Noted]) -> None:
    noted = {"files": files, "checksum": _crc_of(files)}
    # Without a line end, so that no byte of it can be lost unnoticed.
    atomic.write_text(path, json.dumps(noted))


def _read(path: pathlib.Path) -> dict[str, _Noted]:
    return _parse(path.name, path.read_bytes())


def _parse(name: str, text: str | bytes) -> dict[str, _Noted]:
    try:
        noted = json.loads(text)
        checksum, files = noted["checksum"], noted["files"]
    except (ValueError, KeyError, TypeError):
        checksum, files = None, {}
    if checksum != _crc_of(files):
        raise ValueError(f"{name} is not what was written")
    return files


def _crc_of(files: Mapping[str, _Noted]) -> int:
    return zlib.crc32(json.dumps(files, sort_keys=True).encode())


def _measure(folder: pathlib.Path, names: Sequence[str]) -> dict[str, _Noted]:
    sizes = {name: (folder / name).stat().st_size for name in names}
    pieces = [(name, start) for name in names for start in range(0, sizes[name], _PIECE_BYTES)]
    measured: dict[str, _Noted] = {name: [size] for name, size in sizes.items()}
    # Reading and adding both let other threads run.
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = pool.map(lambda piece: _digest(folder / piece[0], piece[1], _PIECE_BYTES), pieces)
        for (name, _), digest in zip(pieces, digests):
            measured[name].append(digest)
    return measured


def _digest(path: pathlib.Path, start: int, num_bytes: int) -> str:
    """Of at most so many bytes of a file: BLAKE2 of the sums of the 64-bit words of its blocks.

    A sum notices every flipped bit, and what is lost, zeroed or of another file but for one chance
    in 2**64, at the speed of memory: a CRC-32 took three times as long at best.
    """
    digest = hashlib.blake2b(digest_size=8)
    buffer = np.zeros(_BUFFER_BYTES, np.uint8)
    blocks = buffer.view("<u8").reshape(-1, _BLOCK_WORDS)
    with path.open("rb") as file:
        file.seek(start)
        while size := file.readinto(buffer.data[:num_bytes]):
            buffer[size:] = 0
            digest.update(blocks.sum(axis=1, dtype="<u8").tobytes())
            num_bytes -= size
    return digest.hexdigest()
