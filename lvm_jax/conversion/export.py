"""A training's parameters as a model directory: of one checkpoint or the mean of several.

Nothing is held whole: numbers go in blocks from the pieces in which the run wrote them to those in
which they are read. A block is one such piece, or as many as make up some megabytes.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np

from lvm_jax import configs, image_record, trees
from lvm_jax.configs import ConfigError, Field
from lvm_jax.conversion import stored_model
from lvm_jax.model.transformer_config import ComputeType
from lvm_jax.storage import paths
from lvm_jax.training import model_directory, workdir
from lvm_jax.training.stored_array import StoredArray
from lvm_jax.training.stored_params import StoredParams
from lvm_jax.version import __version__

_BLOCK_BYTES = 64 << 20
_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which parameters of a training, and as what.

    Attributes:
        step: which checkpoint; the newest whole one by default.
        steps: several checkpoints, whose mean is written.
        average_last: so many of the newest checkpoints, whose mean is written.
        ema: the training's running average instead of its parameters.
        dtype: of matrices, rounded to nearest even; vectors are float32. By default both are as the
            training keeps them.
    """

    step: int | None = None
    steps: tuple[int, ...] = ()
    average_last: int | None = None
    ema: bool = False
    dtype: ComputeType | None = None

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "average_last")
        given = [n for n in ("step", "steps", "average_last") if getattr(self, n) not in (None, ())]
        if len(given) > 1:
            raise ConfigError("give ", Field(given[0]), " or ", Field(given[1]), ", not both")
        if len(set(self.steps)) < len(self.steps):
            raise ConfigError(Field("steps"), f"={list(self.steps)} names a checkpoint twice")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """An export that can begin: all that it needs was found and fits.

    Attributes:
        sources: parameters whose mean is written; often of one checkpoint.
        config: what the new config.json will say.
        shapes: flat name -> what will be written.
    """

    sources: tuple[StoredParams, ...]
    config: dict[str, Any]
    shapes: dict[str, jax.ShapeDtypeStruct]

    @property
    def num_bytes(self) -> int:
        """Bytes of all that will be written."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in self.shapes.values())


def prepare(directory: str | pathlib.Path, config: ExportConfig) -> Export:
    """Finds what is to be exported, and whether it is whole.

    Args:
        directory: a training workdir; or a model directory, of which another type is made.
        config: what of it.

    Raises:
        ConfigError, ValueError: there is no such checkpoint or average, or it is damaged or does
            not fit its config; names it.
    """
    directory = paths.path(directory)
    found = [
        stored_model.find(directory, step, ema=config.ema) for step in _steps(directory, config)
    ]
    first, sources = found[0], tuple(each.params for each in found)
    flat = trees.flatten(sources[0].shapes)
    return Export(
        sources=sources,
        config=model_directory.describe(
            first.config,
            framing=first.framing,
            tokenizer_fingerprint=first.tokenizer_fingerprint,
            images=first.images,
            source=_origin(directory, sources, config),
        ),
        shapes={
            name: jax.ShapeDtypeStruct(leaf.shape, _dtype(name, leaf, config))
            for name, leaf in flat.items()
        },
    )


def _steps(directory: pathlib.Path, config: ExportConfig) -> Sequence[int | None]:
    if config.steps:
        return config.steps
    if config.average_last is None:
        return (config.step,)
    saved = sorted(workdir.steps(directory))
    if len(saved) < config.average_last:
        raise ConfigError(
            Field("average_last"), f"={config.average_last}, but {directory} has steps {saved}"
        )
    return saved[-config.average_last :]


def _dtype(name: str, leaf: Any, config: ExportConfig) -> np.dtype:
    if config.dtype is None:
        return np.dtype(leaf.dtype)
    return _DTYPES[config.dtype if name.endswith("kernel") else "float32"]


def _origin(
    directory: pathlib.Path, sources: Sequence[StoredParams], config: ExportConfig
) -> dict[str, Any]:
    origin = {
        "directory": str(directory),
        "steps": [source.step for source in sources if source.step is not None],
        "ema": config.ema,
        "fingerprints": [source.fingerprint() for source in sources],
        "dtype": config.dtype,
        "lvm_jax": __version__,
    }
    before = sources[0].config
    return origin | {key: before[key] for key in ("source", "started_from") if before.get(key)}


def write(
    export: Export, out: str | pathlib.Path, progress: Callable[[int], Any] | None = None
) -> None:
    """Writes the model directory.

    Args:
        export: from `prepare`.
        out: a directory that is new or empty.
        progress: called with the number of bytes written since the last call.

    Raises:
        ValueError: `out` holds something, or a checkpoint is damaged.
        OSError: it cannot be written.
    """
    arrays = {
        name: [source.array(name) for source in export.sources] for name in sorted(export.shapes)
    }
    blocks = {name: block_shape(several[0]) for name, several in arrays.items()}
    with model_directory.Writer(out, export.config, export.shapes, blocks) as writer:
        for name, several in arrays.items():
            dtype = np.dtype(export.shapes[name].dtype)
            for part in _parts(several[0].shape, blocks[name]):
                block = _mean(several, part).astype(dtype, copy=False)
                writer.write_block(name, block, [piece.start for piece in part])
                if progress is not None:
                    progress(block.nbytes)


def _mean(several: Sequence[StoredArray], part: tuple[slice, ...]) -> np.ndarray:
    """A part of the mean of arrays, summed in float64; of one array it is what is stored."""
    if len(several) == 1:
        return several[0].read(part)
    total = several[0].read(part).astype(np.float64)
    for array in several[1:]:
        total += array.read(part).astype(np.float64)
    # Rounded to float32 first, as the parameters of a training are.
    return (total / len(several)).astype(np.float32)


def block_shape(array: StoredArray) -> tuple[int, ...]:
    """What is read and written at a time: whole pieces, grown over the last dims first."""
    block = [min(piece, size) for piece, size in zip(array.piece_shape, array.shape)]
    for axis in reversed(range(len(block))):
        room = _BLOCK_BYTES // (int(np.prod(block)) * array.dtype.itemsize)
        needed = -(-array.shape[axis] // block[axis])
        if room < needed:
            block[axis] *= max(room, 1)
            break
        block[axis] = array.shape[axis]
    return tuple(block)


def _parts(shape: Sequence[int], block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    starts = (range(0, size, step) for size, step in zip(shape, block))
    for origin in itertools.product(*starts):
        yield tuple(slice(at, min(at + step, size)) for at, step, size in zip(origin, block, shape))


def table(export: Export) -> Iterator[str]:
    """What becomes of every array, a line each."""
    before = trees.flatten(export.sources[0].shapes)
    width = max(map(len, export.shapes))
    for name, leaf in sorted(export.shapes.items()):
        was, becomes = np.dtype(before[name].dtype), np.dtype(leaf.dtype)
        types = f"{was}" if was == becomes else f"{was} -> {becomes}"
        size = leaf.size * becomes.itemsize / 1e6
        yield f"{name:{width}}  {list(leaf.shape)!s:20}  {types:19}  {size:9.3f} MB"


def summary(export: Export) -> Iterator[str]:
    """What is exported, and what goes with it."""
    steps = [source.step for source in export.sources if source.step is not None]
    what = "running average" if export.config["source"]["ema"] else "parameters"
    if steps:
        what += f" of step {steps[0]}" if len(steps) == 1 else f", mean of steps {steps}"
    count = sum(leaf.size for leaf in export.shapes.values())
    yield f"{export.sources[0].directory}: {what}"
    yield f"{count:,} numbers, {export.num_bytes / 1e6:,.1f} MB"
    for key in ("framing", "tokenizer_fingerprint", image_record.KEY):
        yield f"{key}: {export.config[key]}"
