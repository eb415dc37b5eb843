"""One array of what orbax has written, read in parts: for trees that no memory holds whole."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorstore as ts

from lvm_jax.storage import ranges
from lvm_jax.storage.patience import StoreError

Explain = Callable[[BaseException], ValueError]
"""An error of a library -> what to raise instead."""


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array on a disk or a store.

    Attributes:
        shape: of all of it.
        dtype: of its numbers.
        piece_shape: of the pieces in which it lies there, each read as a whole. A run writes what
            each device has, so layers may share pieces.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    piece_shape: tuple[int, ...]
    _store: Any
    _explain: Explain

    def read(self, part: Any = ...) -> np.ndarray:
        """Reads `array[part]`.

        Args:
            part: an index or slices, as of a NumPy array.

        Raises:
            ValueError: it is damaged.
        """
        try:
            return self._store[part].read().result()
        except (OSError, ValueError, RuntimeError) as error:
            raise _explained(error, self._explain) from error


def open_array(folder: pathlib.Path, name: str, explain: Explain) -> StoredArray:
    """Opens one array of a tree.

    Args:
        folder: of the tree.
        name: keys of the tree, joined by dots.
        explain: makes the error that is raised when it cannot be read.
    """
    try:
        about = json.loads((folder / "_METADATA").read_text())
        files = ranges.key_values(folder)
        if (folder / "manifest.ocdbt").exists():
            files = {"driver": "ocdbt", "base": files, "path": f"{name}/"}
        else:
            files["path"] += f"{name}/"
        driver = "zarr3" if about.get("use_zarr3") else "zarr"
        spec = {"driver": driver, "kvstore": files, "fill_missing_data_reads": False}
        store: Any = ts.open(spec, open=True, read=True).result()
    except (OSError, ValueError, RuntimeError) as error:
        raise _explained(error, explain) from error
    return StoredArray(
        shape=tuple(store.shape),
        dtype=store.dtype.numpy_dtype,
        piece_shape=tuple(store.chunk_layout.read_chunk.shape),
        _store=store,
        _explain=explain,
    )


def _explained(error: Exception, explain: Explain) -> Exception:
    return error if isinstance(error, StoreError) else explain(error)
