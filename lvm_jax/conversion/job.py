"""The conversion of a checkpoint: a plan that is checked, then piece by piece.

Memory holds one piece at a time, in our layout and the type that is written: the largest matrix of
a layer, or the table of the vocabulary. What it comes from and goes to passes in parts of some
megabytes.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from absl import logging

from lvm_jax import atomic
from lvm_jax.conversion import places, targets
from lvm_jax.conversion.sources import Source, common_dtype
from lvm_jax.conversion.targets import Plan, Write
from lvm_jax.model.weights import formats
from lvm_jax.model.weights.formats import LAYERS, Piece

FormatName = Literal["lvm_jax", "hf", "easylm"]
FloatName = Literal["float32", "bfloat16", "float16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Writing:
    """What is made of a checkpoint.

    Attributes:
        to: the format.
        dtype: of all arrays; None keeps each as it is.
        padded: whether formats without padding get the padding rows of the vocabulary, too.
        rope_table: precision of the rotary table that the weights want; None as the source says.
        shard_bytes: most bytes of a file of a Hugging Face folder.
        origin: where it comes from, for config.json.
    """

    to: FormatName
    dtype: FloatName | None = None
    padded: bool = False
    rope_table: Literal["float32", "bfloat16"] | None = None
    shard_bytes: int = 5 * 10**9
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)


def plan(source: Source, writing: Writing) -> Plan:
    """What will be written, piece by piece."""
    described = source.described
    config = described.config
    if writing.rope_table is not None:
        config = dataclasses.replace(config, rope_table=writing.rope_table)
    kept = {piece: source.kept(piece).dtype for piece in formats.pieces(config)}
    if writing.dtype is not None:
        dtypes = dict.fromkeys(kept, np.dtype(writing.dtype))
    else:
        dtypes = {piece: common_dtype([dtype]) for piece, dtype in kept.items()}
    if writing.to == "lvm_jax":
        # Layers that are stacked are of one type.
        of_name = {name: [] for name in dict.fromkeys(piece.name for piece in dtypes)}
        for piece, dtype in dtypes.items():
            of_name[piece.name].append(dtype)
        dtypes = {piece: common_dtype(of_name[piece.name]) for piece in dtypes}
    elif config.rope_table != "float32":
        logging.warning(
            "the weights want a rotary table in %s, which programs for %s do not make",
            *(config.rope_table, writing.to),
        )
    vocabulary = config.vocabulary
    return Plan(
        described=dataclasses.replace(described, config=config),
        dtypes=dtypes,
        rows=vocabulary.padded_size if writing.padded else vocabulary.size,
        origin=writing.origin,
    )


def num_bytes(planned: Plan) -> int:
    """Bytes of the arrays that are written."""
    return sum(_size(piece) * dtype.itemsize for piece, dtype in planned.dtypes.items())


def describe(source: Source, planned: Plan, to: str) -> Iterator[str]:
    """The map of a conversion: a line for each array, then their sizes."""
    for piece, dtype in planned.dtypes.items():
        kept = source.kept(piece)
        name, shape = f"{piece.name}{_at(piece)}", piece.shape
        if to != "lvm_jax":
            name, shape = formats.name_of(to, piece), formats.shape_of(to, piece, planned.rows)
        yield f"{kept.name} {kept.shape} {kept.dtype} -> {name} {shape} {dtype}"
    yield from summary(planned)


def summary(planned: Plan) -> Iterator[str]:
    """How much a checkpoint is, and what its ids and sentences are."""
    config, vocabulary = planned.described.config, planned.described.config.vocabulary
    largest = max(planned.dtypes, key=lambda piece: _size(piece) * planned.dtypes[piece].itemsize)
    size = _size(largest) * planned.dtypes[largest].itemsize
    yield (
        f"{len(planned.dtypes)} arrays, {config.num_parameters:,} parameters, "
        f"{num_bytes(planned) / 1e9:.3f} GB; the largest array is {largest.name} of "
        f"{size / 1e6:.1f} MB"
    )
    yield (
        f"vocabulary {vocabulary.size}: {vocabulary.num_codes} codes, {vocabulary.num_special} "
        f"special ids; sentences with BOS: {planned.described.framing.bos}, with EOS: "
        f"{planned.described.framing.eos}; rotary table in {config.rope_table}"
    )


def convert(
    source: Source,
    planned: Plan,
    writing: Writing,
    out: pathlib.Path,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Writes a checkpoint, which appears under its name when it is whole.

    Args:
        source: what is read.
        planned: `plan` of it.
        writing: as for `plan`.
        out: folder, or file of EasyLM; `places.require_free` says whether it may be written.
        progress: called with how many bytes were written.

    Raises:
        ValueError: the source is damaged, or a number does not fit its new type.
        atomic.WriteError: the disk is full or read-only.
    """
    with places.appearing(out) as partial, _target(partial, planned, writing) as write:
        for piece, dtype in planned.dtypes.items():
            _move(source, piece, dtype, write)
            if progress is not None:
                progress(_size(piece) * dtype.itemsize)
    if writing.to == "easylm":
        # What the file itself cannot say, for --source_config.
        atomic.write_json(fields_file(out), planned.fields())


def fields_file(out: pathlib.Path) -> pathlib.Path:
    """Where the sizes of an EasyLM file are written."""
    return out.with_name(f"{out.name}.json")


def _move(source: Source, piece: Piece, dtype: np.dtype, write: Write) -> None:
    """One piece, whose memory is free again when this returns."""
    array = np.zeros(piece.shape, dtype)
    source.read(piece, array)
    write(piece, array)


def _target(
    partial: pathlib.Path, planned: Plan, writing: Writing
) -> contextlib.AbstractContextManager[Write]:
    if writing.to == "hf":
        return targets.hugging_face(partial, planned, writing.shard_bytes)
    if writing.to == "easylm":
        return targets.easylm(partial, planned)
    return targets.own(partial, planned)


def _size(piece: Piece) -> int:
    return int(np.prod(piece.shape, dtype=np.int64))


def _at(piece: Piece) -> str:
    return f"[{piece.layer}]" if piece.name.startswith(LAYERS) else ""
