"""Directories of a model by itself: written array by array, so that no memory holds a model.

DIR/config.json   what `describe` gives; comes last and makes the directory a model
DIR/params/       the nested dict of parameters, as orbax keeps a tree: a zarr array for each leaf
                  and a list of them; and checksums.json, see `checksums`

`stored_params` reads them. Layers are pieces of their own on disk, and so are parts of what is
large, so that whoever reads a share reads little more than that.
"""

import itertools
import json
import math
import os
import pathlib
import re
import shutil
import tempfile
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from absl import logging
from etils import epath

from lvm_jax import atomic, configs, image_record, trees
from lvm_jax.images import ImageConfig
from lvm_jax.storage import orbax_paths, paths, ranges
from lvm_jax.storage.patience import StoreError
from lvm_jax.training import checksums
from lvm_jax.training.checkpoints import first_line
from lvm_jax.training.stored_params import PARAMS
from lvm_jax.training.workdir import CONFIG, MODEL_KIND
from lvm_jax.vocabulary import Framing

_UNFINISHED = f"{PARAMS}.partial"
_PIECE_BYTES = 32 << 20


def describe(
    model: Any,
    *,
    framing: Framing,
    tokenizer_fingerprint: str = "",
    images: ImageConfig | None = None,
    source: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a model's config.json says.

    Args:
        model: the config of its network.
        framing: the special ids around the sentences that it learned.
        tokenizer_fingerprint: of the tokenizer behind its training data; "" when unknown.
        images: how the pictures behind the training data were read; None when unknown.
        source: where the parameters come from; JSON-serialisable.
    """
    return {
        "kind": MODEL_KIND,
        "model": configs.to_dict(model),
        "framing": configs.to_dict(framing),
        "tokenizer_fingerprint": tokenizer_fingerprint,
        **image_record.entry(images),
        "source": dict(source or {}),
    }


def framing_of(config: Mapping[str, Any], where: str) -> Framing:
    """The framing that a config.json keeps; a training's has both ids and does not say so.

    Args:
        config: the whole of it.
        where: what errors call it.

    Raises:
        ValueError: it is no framing; named.
    """
    return configs.build_stored(Framing, config.get("framing", {}), f"{where}: framing")


class Writer:
    """Writes a model directory: `with Writer(...) as writer: writer.write(name, array, layer=3)`.

    The directory is a model only after the block has ended well, and only if all arrays were
    written. What a block that fails has written is removed; what a killed process leaves holds no
    model, and the next writer removes it. For one process at a time.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        config: Mapping[str, Any],
        shapes: Mapping[str, jax.ShapeDtypeStruct],
        blocks: Mapping[str, Sequence[int]] | None = None,
    ):
        """Checks what can be checked before anything is written.

        Args:
            directory: on a disk or a store; new or empty.
            config: see `describe`.
            shapes: flat name of every parameter -> what it will be.
            blocks: flat name -> shape of what `write_block` will be given, at multiples of it: no
                piece on disk is then of two blocks, and none is written twice.

        Raises:
            ValueError: the directory holds something, or is a file.
        """
        self.directory = paths.path(directory).absolute()
        self._config = json.loads(json.dumps(config))
        self._shapes = dict(shapes)
        self._blocks = dict(blocks or {})
        # Where blocks begin -> how many numbers they have.
        self._written: dict[str, dict[tuple[int, ...], int]] = {name: {} for name in shapes}
        self._stores: dict[str, Any] = {}
        self._made_directory = False
        require_free(self.directory)

    def _unfinished(self) -> list[str]:
        return [name for name in _unfinished(self.directory) if (self.directory / name).exists()]

    def __enter__(self) -> "Writer":
        orbax_paths.prepare(self.directory)
        self._made_directory = not self.directory.exists()
        try:
            for name in self._unfinished():
                logging.info("removing the unfinished %s", self.directory / name)
                _remove(self.directory / name)
            self._folder.mkdir(parents=True, exist_ok=True)
            if stored := paths.store_path(self.directory):
                (stored / _UNFINISHED).write_bytes(b"")  # says that PARAMS may be removed
        except OSError as error:
            raise self._cannot_write(error) from error
        return self

    def write(self, name: str, array: Any, *, layer: int | None = None) -> None:
        """Writes one parameter, or one layer of a stacked one; returns when it is on disk.

        Args:
            name: flat, such as "layers/mlp/gate/kernel".
            array: of NumPy or JAX, in the dtype that the directory gets.
            layer: which entry of the first dim this is; None for all of the parameter.

        Raises:
            ValueError: no such parameter, another shape or dtype, or it was written before.
            OSError: it cannot be written; says what to do.
        """
        wanted, array = self._wanted(name), np.asarray(array)
        shape = tuple(wanted.shape) if layer is None else tuple(wanted.shape[1:])
        inside = layer is None or 0 <= layer < wanted.shape[0]
        if array.shape != shape or array.dtype != wanted.dtype or not inside:
            at = "" if layer is None else f" of layer {layer}"
            raise ValueError(
                f"{self.directory}: {name}{at} must be {wanted.dtype} {shape}, with layers in "
                f"0..{wanted.shape[0] - 1}; it is {array.dtype} {array.shape}"
            )
        if layer is not None:
            self.write_block(name, array[None], (layer, *[0] * array.ndim))
        elif array.ndim > 2:
            for index, part in enumerate(array):
                self.write_block(name, part[None], (index, *[0] * part.ndim))
        else:
            self.write_block(name, array, (0,) * array.ndim)

    def write_block(self, name: str, array: Any, origin: Sequence[int]) -> None:
        """Writes a part of a parameter; returns when it is on disk.

        Args:
            name: flat.
            array: in the dtype that the directory gets, with all dims of the parameter.
            origin: where in the parameter it begins.

        Raises:
            ValueError, OSError: as `write`.
        """
        wanted, array = self._wanted(name), np.asarray(array)
        ends = [start + size for start, size in zip(origin, array.shape, strict=True)]
        if array.dtype != wanted.dtype or any(e > d for e, d in zip(ends, wanted.shape)):
            raise ValueError(
                f"{self.directory}: {name} is {wanted.dtype} {tuple(wanted.shape)}; no place for "
                f"{array.dtype} {array.shape} at {tuple(origin)}"
            )
        if tuple(origin) in self._written[name]:
            raise ValueError(f"{self.directory}: {name} was written before at {tuple(origin)}")
        try:
            _write_pieces(self._open(name), array, origin)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._cannot_write(error) from error
        self._written[name][tuple(origin)] = array.size

    def _wanted(self, name: str) -> jax.ShapeDtypeStruct:
        if name not in self._shapes:
            raise ValueError(f"{self.directory}: the model has no parameter {name}")
        return self._shapes[name]

    @property
    def _folder(self) -> pathlib.Path:
        """Where parameters go meanwhile: on a store things cannot be renamed."""
        on_store = paths.store_path(self.directory)
        return self.directory / (PARAMS if on_store else _UNFINISHED)

    def _open(self, name: str) -> Any:
        """The zarr array of a parameter."""
        if name not in self._stores:
            leaf = self._shapes[name]
            dtype = np.dtype(leaf.dtype)
            spec = {
                "driver": "zarr",
                # The name that orbax gives to a leaf of a tree.
                "kvstore": ranges.key_values(self._folder / name.replace(trees.SEPARATOR, ".")),
                "metadata": {
                    "shape": list(leaf.shape),
                    "chunks": piece_shape(leaf.shape, dtype.itemsize, self._blocks.get(name)),
                    "dtype": dtype.str if dtype.kind != "V" else dtype.name,
                    "compressor": None,
                    "fill_value": None,
                },
                # Orbax takes pieces that are not there as lost.
                "store_data_equal_to_fill_value": True,
            }
            self._stores[name] = ts.open(spec, create=True).result()
        return self._stores[name]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException:
            self._clear()
            raise
        if error is not None:
            self._clear()

    def _finish(self) -> None:
        """Makes a model of what was written.

        Raises:
            ValueError: something was not.
        """
        counts = {name: sum(blocks.values()) for name, blocks in self._written.items()}
        missing = [
            f"{name}, {leaf.size - counts[name]} of {leaf.size} numbers" if counts[name] else name
            for name, leaf in self._shapes.items()
            if counts[name] != leaf.size
        ]
        if missing:
            named = "; ".join(configs.first_few(missing))
            raise ValueError(f"{self.directory} would lack parameters ({named}); nothing is kept")
        try:
            (self._folder / "_METADATA").write_bytes(_list_of_arrays(self._shapes))
            checksums.note(self._folder)
            if stored := paths.store_path(self.directory):
                (stored / _UNFINISHED).unlink()
            else:
                self._folder.rename(self.directory / PARAMS)
            atomic.write_json(self.directory / CONFIG, self._config)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _clear(self) -> None:
        """Removes what was written; a directory that was there stays, empty."""
        for name in (_UNFINISHED, PARAMS):
            _remove(self.directory / name)
        if self._made_directory and not paths.store_path(self.directory):
            shutil.rmtree(self.directory, ignore_errors=True)

    def _cannot_write(self, error: Exception) -> OSError:
        if isinstance(error, StoreError | atomic.WriteError):
            return error
        if paths.store_path(self.directory):
            return StoreError(
                None, f"cannot write a model: {first_line(error)}", f"{self.directory}"
            )
        # Where tensorstore says more than one wants to read, the system's number is enough.
        if number := re.search(r"os_error_code='(\d+)'", str(error)):
            error = OSError(int(number[1]), os.strerror(int(number[1])))
        return atomic.write_error(self.directory, error)


def require_free(directory: str | os.PathLike) -> None:
    """Refuses a place that holds something already, but for what a killed `Writer` left.

    Raises:
        ValueError: names the directory and what is in it.
    """
    directory = paths.path(directory)
    if directory.is_file():
        raise ValueError(f"{directory} is a file; choose a new directory")
    if not directory.is_dir():
        return
    if found := {entry.name for entry in directory.iterdir()} - _unfinished(directory):
        raise ValueError(
            f"{directory} is not empty: it holds {sorted(found)[0]}; choose a new directory, or "
            "remove it"
        )


def _unfinished(directory: pathlib.Path) -> set[str]:
    """Names in a directory that are of a killed `Writer`, if they are there."""
    if not paths.store_path(directory):
        return {_UNFINISHED}
    return {_UNFINISHED, PARAMS} if (directory / _UNFINISHED).exists() else set()


def piece_shape(
    shape: Sequence[int], itemsize: int, block: Sequence[int] | None = None
) -> list[int]:
    """The largest part of an array that is one object on disk.

    One entry of the first dim of what has three and more, as stacked layers do; of these, or of a
    matrix, as many rows as make up some megabytes.

    Args:
        shape: of the array.
        itemsize: bytes of a number.
        block: what is written at a time, if not everything: pieces are inside it.
    """
    block = shape if block is None else block
    lead = 1 if len(shape) > 2 else 0
    pieces = [1] * lead + list(block[lead:])
    rows = pieces[lead]
    parts = min(-(-math.prod(pieces) * itemsize // _PIECE_BYTES), rows)
    # Parts of one size, if a few more than needed make that possible; others are filled up.
    most = 4 * parts if rows == shape[lead] else rows
    even = (number for number in range(parts, most + 1) if rows % number == 0)
    pieces[lead] = -(-rows // next(even, parts))
    return pieces


def _write_pieces(store: Any, array: np.ndarray, origin: Sequence[int]) -> None:
    """Writes an array piece by piece along its first two dims, so that no more is on its way."""
    steps = [size or 1 for size in store.chunk_layout.write_chunk.shape[:2]]
    starts = (range(0, size, step) for size, step in zip(array.shape, steps))
    for first in itertools.product(*starts):
        part = tuple(slice(at, at + step) for at, step in zip(first, steps))
        given = np.ascontiguousarray(array[part])
        begin = [o + at for o, at in itertools.zip_longest(origin, first, fillvalue=0)]
        place = tuple(slice(at, at + size) for at, size in zip(begin, given.shape))
        store[place].write(given, can_reference_source_data_indefinitely=True).result()


def _list_of_arrays(shapes: Mapping[str, Any]) -> bytes:
    """What orbax says of a tree with these names; written by orbax, so that it understands it."""
    tree = trees.unflatten({name: np.zeros(1, leaf.dtype) for name, leaf in shapes.items()})
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False)
    try:
        with tempfile.TemporaryDirectory(prefix="lvm_jax_") as folder:
            handler.save(epath.Path(folder), args=ocp.args.PyTreeSave(tree))
            return (pathlib.Path(folder) / "_METADATA").read_bytes()
    finally:
        handler.close()


def _remove(folder: pathlib.Path) -> None:
    if stored := paths.store_path(folder):
        if stored.exists():
            stored.rmtree()
    else:
        shutil.rmtree(folder, ignore_errors=True)
