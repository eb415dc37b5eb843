"""Checkpoints to be read: what they are, and their numbers piece by piece in our layout."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from lvm_jax import configs, image_record, trees
from lvm_jax.configs import ConfigError, Field
from lvm_jax.conversion import stored_model
from lvm_jax.conversion.filling import fill
from lvm_jax.model.weights import formats
from lvm_jax.model.weights.formats import Piece
from lvm_jax.model.weights.llama_fields import Described
from lvm_jax.training.stored_array import StoredArray
from lvm_jax.training.stored_params import StoredParams
from lvm_jax.weight_files.stored_arrays import Stored


@dataclasses.dataclass(frozen=True)
class Kept:
    """A piece as a checkpoint keeps it: by name, shape and type."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


class Source(Protocol):
    """A checkpoint of which every name and shape is known to be right."""

    path: str
    described: Described

    def kept(self, piece: Piece) -> Kept:
        """What holds a piece."""
        ...

    def read(self, piece: Piece, out: np.ndarray, *, add: bool = False) -> None:
        """Reads a piece in our layout, converted to the type of `out`.

        Args:
            piece: which.
            out: of its shape, zeros: rows of the vocabulary that the checkpoint lacks stay so.
            add: to what is in `out` already.

        Raises:
            ValueError: the file is damaged, or a number does not fit the type of `out`.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignSource:
    """A checkpoint of another project; `foreign.open_source` finds one.

    Attributes:
        path: of the file or folder.
        described: sizes and framing.
        format: one of `formats.FORMATS`.
        names: their name -> the file's.
        arrays: the file's.
        rows: of the vocabulary, that are read.
    """

    path: str
    described: Described
    format: str
    names: Mapping[str, str]
    arrays: Mapping[str, Stored]
    rows: int

    def kept(self, piece: Piece) -> Kept:
        name = self._name(piece)
        stored = self.arrays[name]
        return Kept(name, stored.shape, np.dtype(stored.dtype))

    def read(self, piece: Piece, out: np.ndarray, *, add: bool = False) -> None:
        name = self._name(piece)
        view = (
            formats.as_table(out, self.rows)
            if piece.name == formats.HEAD and self.described.tied
            else formats.as_theirs(self.format, piece, out, self.rows)
        )
        fill(view, self.arrays[name].rows(), f"{self.path}: {name}", add=add)

    def _name(self, piece: Piece) -> str:
        if piece.name == formats.HEAD and self.described.tied:
            piece = Piece(formats.EMBEDDING, None, piece.shape[::-1])
        return self.names[formats.name_of(self.format, piece)]


class OwnSource:
    """A model directory or a training of lvm_jax.

    Args:
        path: the directory.
        step: which checkpoint of a training; the newest by default.
        ema: its running average.

    Raises:
        ValueError: there is no such model, or it is damaged.
    """

    def __init__(self, path: str, *, step: int | None = None, ema: bool = False):
        self.path = path
        try:
            found = stored_model.find(path, step, ema=ema)
        except stored_model.NotOursError as error:
            raise ConfigError(f"{error}; is it one of ", Field("from"), "=hf?") from error
        self._found: StoredParams = found.params
        known, kept = found.params.config, ("tokenizer_fingerprint", image_record.KEY)
        self.described = Described(
            config=found.config,
            framing=found.framing,
            about={key: known[key] for key in kept if known.get(key)},
        )
        self._shapes = trees.flatten(found.params.shapes)
        self._group: tuple[str, int, np.ndarray] | None = None

    def kept(self, piece: Piece) -> Kept:
        at = "" if piece.layer is None else f"[{piece.layer}]"
        return Kept(f"{piece.name}{at}", piece.shape, np.dtype(self._shapes[piece.name].dtype))

    def read(self, piece: Piece, out: np.ndarray, *, add: bool = False) -> None:
        fill(out, self._rows(piece), f"{self.path}: {self.kept(piece).name}", add=add)

    def _rows(self, piece: Piece) -> Iterator[np.ndarray]:
        """A piece in parts along axis 0, as they lie on disk."""
        array = self._found.array(piece.name)
        sizes = array.piece_shape
        if piece.layer is not None:
            if sizes[0] > 1:
                yield self._layers(array, piece.name, piece.layer)
                return
            sizes = sizes[1:]
        lead = () if piece.layer is None else (piece.layer,)
        for start in range(0, piece.shape[0], sizes[0]):
            yield array.read((*lead, slice(start, min(start + sizes[0], piece.shape[0]))))

    def _layers(self, array: StoredArray, name: str, layer: int) -> np.ndarray:
        """A layer of those that share pieces, which are kept until others are read.

        A training on one device writes all layers as one piece: reading it for each would take
        as often as long.
        """
        first = layer - layer % array.piece_shape[0]
        if self._group is None or self._group[:2] != (name, first):
            self._group = None  # free before others are read
            layers = slice(first, min(first + array.piece_shape[0], array.shape[0]))
            self._group = name, first, array.read(layers)
        return self._group[2][layer - first]


class AverageSource:
    """The mean of checkpoints of one network, in float32 whatever they are kept in.

    Args:
        sources: two or more; the first says what the result is beside its numbers.

    Raises:
        ValueError: they are of different networks.
    """

    def __init__(self, sources: Sequence[Source]):
        self._sources = sources
        first = sources[0]
        self.path, self.described = first.path, first.described
        for other in sources[1:]:
            changes = configs.differences(
                _network(first), _network(other), "its network", ("its network.dtype",)
            )
            for name, one, two in changes:
                raise ValueError(
                    f"{other.path} cannot be averaged with {first.path}: {name} is {two}, not {one}"
                )

    def kept(self, piece: Piece) -> Kept:
        kept = self._sources[0].kept(piece)
        dtypes = [source.kept(piece).dtype for source in self._sources]
        return dataclasses.replace(kept, dtype=common_dtype(dtypes))

    def read(self, piece: Piece, out: np.ndarray, *, add: bool = False) -> None:
        assert not add
        total = out if out.dtype == np.float32 else np.zeros(out.shape, np.float32)
        for number, source in enumerate(self._sources):
            source.read(piece, total, add=number > 0)
        total /= len(self._sources)
        if total is not out:
            fill(out, [total], f"the average of {self.kept(piece).name}")


def _network(source: Source) -> dict[str, Any]:
    """What must be the same in checkpoints that are averaged."""
    config = source.described.config
    names = ("hidden_dim", "mlp_dim", "num_heads", "kv_heads", "num_layers", "rope_theta")
    sizes = {name: getattr(config, name) for name in (*names, "rope_table", "norm_eps")}
    return {**sizes, "vocabulary": configs.to_dict(config.vocabulary)}


def common_dtype(dtypes: Sequence[np.dtype]) -> np.dtype:
    """The smallest type of ours that holds all of some; float64 becomes float32."""
    dtype = np.dtype(functools.reduce(jnp.promote_types, dtypes))
    return np.dtype(np.float32) if dtype == np.float64 else dtype
