"""Files that appear under their names only when whole.

A file is written as `NAME.partial` beside its place and renamed at the end: whoever is killed on
the way leaves the older file, or none, and never half of one. What goes to a store is one object,
which is whole or not there by itself.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from lvm_jax import file_names
from lvm_jax.storage import paths

_MOST_NAME_BYTES = 255


class WriteError(OSError, RuntimeError):
    """A file that the disk does not take: `filename`, and the reason as `errno` and `strerror`.

    A RuntimeError, as every failure of a run that had begun well, and an OSError for callers that
    would rather say what the file was for.
    """

    def __str__(self) -> str:
        return (
            f"cannot write {self.filename}: {self.strerror}; free space or choose another place; "
            "what was finished before is kept"
        )


def write_error(path: str | os.PathLike, error: Exception) -> WriteError:
    """What to raise from an error of a library or the system that came up in writing `path`."""
    reason = getattr(error, "strerror", None) or str(error).split(";")[0]
    return WriteError(getattr(error, "errno", None), reason, os.fspath(path))


@contextlib.contextmanager
def writing(
    path: str | os.PathLike, *, parents: bool = False, partial: pathlib.Path | None = None
) -> Iterator[pathlib.Path]:
    """A block that makes a file: renamed when the block ends, removed when it fails.

    What goes to a store is written to a temporary file of this machine meanwhile.

    Args:
        path: the file; an older one stays until then.
        parents: make the folders above it where they are missing.
        partial: what is written to meanwhile, on the same disk; by default NAME.partial beside it.

    Yields:
        The path to write to meanwhile, which may hold what a killed process left.

    Raises:
        WriteError: for every OSError, those of the block too.
        StoreError: for those of a store.
    """
    if stored := paths.store_path(path):
        with tempfile.TemporaryDirectory(prefix="lvm_jax_") as folder:
            yield pathlib.Path(folder) / stored.name
            stored.upload(pathlib.Path(folder) / stored.name)
        return
    path = pathlib.Path(path)
    partial = partial or path.with_name(_partial_name(path.name))
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except BaseException as error:
        # Where nothing could be written, nothing may be there to remove.
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and not isinstance(error, WriteError):
            raise write_error(path, error) from error
        raise


def _partial_name(name: str) -> str:
    if len(file_names.to_bytes(name)) + len(".partial") <= _MOST_NAME_BYTES:
        return f"{name}.partial"
    digest = hashlib.blake2b(file_names.to_bytes(name), digest_size=16).hexdigest()
    return f"{digest}.partial"  # the name itself leaves no room


def write_text(path: str | os.PathLike, text: str, *, parents: bool = False) -> None:
    """Writes a text file in UTF-8, names of files in it as their bytes; see `writing`."""
    if stored := paths.store_path(path):
        stored.write_bytes(file_names.to_bytes(text))
        return
    with writing(path, parents=parents) as partial:
        partial.write_bytes(file_names.to_bytes(text))


def write_json(
    path: str | os.PathLike, value: Any, *, indent: int | None = 2, parents: bool = False
) -> None:
    """Writes one JSON value and a line end, see `writing`."""
    write_text(path, json.dumps(value, indent=indent) + "\n", parents=parents)
