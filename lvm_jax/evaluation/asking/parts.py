"""What an evaluation has finished, on disk: an interrupted one goes on from there.

A part is kept under a hash of all that its numbers depend on, so that other settings, other
pictures or other weights never meet it.
"""

import hashlib
import json
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import atomic
from lvm_jax.version import __version__

FOLDER = "parts"


def digest(value: Any) -> str:
    """64 hex digits of a JSON value, the same for equal ones."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digest_arrays(*arrays: np.ndarray) -> str:
    """64 hex digits of arrays: their shapes, types and bytes."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(f"{array.shape}{array.dtype.str}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()


class Parts:
    """Finished parts of an evaluation.

    Args:
        folder: where they are kept, made when needed; None keeps none.
    """

    def __init__(self, folder: pathlib.Path | None):
        self._folder = folder
        self.num_found = 0

    def get(
        self, identity: Mapping[str, Any], compute: Callable[[], Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """A part as it was kept, or computed and kept.

        Args:
            identity: all that the part depends on but the version of this package; JSON values.
            compute: gives its arrays by name.
        """
        if self._folder is None:
            return dict(compute())
        path = self._folder / f"{digest([__version__, identity])[:40]}.npz"
        kept = _read(path)
        if kept is not None:
            self.num_found += 1
            return kept
        arrays = dict(compute())
        with atomic.writing(path, parents=True) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return arrays


def _read(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}  # checks the checksum of each
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("%s is damaged (%s) and made again", path, error)
        return None
