"""What checkpoints are written: each takes pieces in our layout, one by one, in any order."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lvm_jax import atomic, file_names, image_record
from lvm_jax.conversion.filling import parts
from lvm_jax.model.weights import formats, llama_fields
from lvm_jax.model.weights.formats import Piece
from lvm_jax.model.weights.llama_fields import Described
from lvm_jax.training import model_directory
from lvm_jax.weight_files import flax_stream_writer, reader
from lvm_jax.weight_files.safetensors_files import ShardedWriter
from lvm_jax.weight_files.stored_arrays import SEPARATOR

GENERATION_FILE = "generation_config.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be written.

    Attributes:
        described: the model.
        dtypes: of every piece.
        rows: ids of the vocabulary that are written by formats without padding.
        origin: where it comes from, JSON-serialisable.
    """

    described: Described
    dtypes: Mapping[Piece, np.dtype]
    rows: int
    origin: Mapping[str, Any]

    @property
    def pieces(self) -> Sequence[Piece]:
        """All pieces of the network."""
        return list(self.dtypes)

    def arrays(self, format: str) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Their name -> shape and type."""
        return {
            formats.name_of(format, piece): (formats.shape_of(format, piece, self.rows), dtype)
            for piece, dtype in self.dtypes.items()
        }

    def fields(self) -> dict[str, Any]:
        """The config.json of transformers."""
        dtype = self.dtypes[self.pieces[0]].name
        return llama_fields.write(self.described, self.rows, dtype)


Write = Callable[[Piece, np.ndarray], None]
"""Writes a piece, of our layout; raises ValueError where it does not fit its type."""


@contextlib.contextmanager
def hugging_face(folder: pathlib.Path, plan: Plan, shard_bytes: int) -> Iterator[Write]:
    """Makes a folder that transformers loads: config.json, generation_config.json, safetensors."""
    folder.mkdir(parents=True)
    in_order = dict(sorted(plan.arrays("hf").items(), key=lambda item: file_names.counted(item[0])))
    with ShardedWriter(folder, in_order, shard_bytes) as writer:

        def write(piece: Piece, ours: np.ndarray) -> None:
            name = formats.name_of("hf", piece)
            view = formats.as_theirs("hf", piece, ours, plan.rows)
            writer.write(name, parts(view, plan.dtypes[piece], name))

        yield write
    generation = llama_fields.write_generation(plan.described, plan.rows)
    atomic.write_json(folder / GENERATION_FILE, generation)
    atomic.write_json(folder / reader.CONFIG_FILE, plan.fields())


@contextlib.contextmanager
def easylm(file: pathlib.Path, plan: Plan) -> Iterator[Write]:
    """Makes a file that EasyLM loads as `params::FILE`."""
    # The order of flax's own flat dicts, so that what EasyLM wrote comes back byte by byte.
    ways = {tuple(name.split(SEPARATOR)): about for name, about in plan.arrays("easylm").items()}
    with flax_stream_writer.plan(file, {way: ways[way] for way in sorted(ways)}) as stream:

        def write(piece: Piece, ours: np.ndarray) -> None:
            name = formats.name_of("easylm", piece)
            view = formats.as_theirs("easylm", piece, ours, plan.rows)
            stream.write(name, parts(view, plan.dtypes[piece], name))

        yield write


@contextlib.contextmanager
def own(directory: pathlib.Path, plan: Plan) -> Iterator[Write]:
    """Makes a model directory of lvm_jax."""
    about = plan.described.about
    config = model_directory.describe(
        plan.described.config,
        framing=plan.described.framing,
        tokenizer_fingerprint=about.get("tokenizer_fingerprint", ""),
        images=image_record.read(about, "images of the source"),
        source=plan.origin,
    )
    layers = plan.described.config.num_layers
    shapes = {
        piece.name: jax.ShapeDtypeStruct(
            piece.shape if piece.layer is None else (layers, *piece.shape), dtype
        )
        for piece, dtype in plan.dtypes.items()
    }
    with model_directory.Writer(directory, config, shapes) as writer:
        yield lambda piece, ours: writer.write(piece.name, ours, layer=piece.layer)
