"""A new run that starts from the parameters of another: which ones, whether they fit, onto a mesh.

Only parameters are taken: the run has its own steps, schedule, moments and average. What a
directory must hold is said in `training.stored_params`.
"""

import dataclasses
import difflib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import Mesh

from lvm_jax import configs, partition, trees
from lvm_jax.configs import ConfigError, Field
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.training import model_directory, stored_params
from lvm_jax.training.stored_params import StoredParams
from lvm_jax.training.workdir import CONFIG, read_config, steps
from lvm_jax.vocabulary import Framing

# Matrices over the ids: fresh, they may be of another vocabulary or another tokenizer's ids.
_OF_IDS = ("embedding", "head")
_STARTED_FROM = "started_from"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartingWeights:
    """Parameters that were found and fit.

    Attributes:
        stored: where they are.
        fresh: flat names of the model's parameters that are random instead.
        average: whether they are a run's average.
    """

    stored: StoredParams
    fresh: frozenset[str]
    average: bool

    def record(self) -> dict[str, Any]:
        """What config.json says of them, as JSON."""
        return {
            "directory": str(self.stored.directory),
            "step": self.stored.step,
            "average": self.average,
            "fresh": sorted(self.fresh),
            "fingerprint": self.stored.fingerprint(),
        }

    def read(
        self, model: TransformerConfig, mesh: Mesh, rules: partition.Rules, seed: int
    ) -> dict[str, Any]:
        """The parameters, float32, each device reading its share.

        Args:
            model, mesh, rules: what is trained and where.
            seed: of the fresh ones, which are those of a run that starts from nothing.

        Raises:
            ValueError: the files are damaged.
        """
        abstract = transformer.abstract_params(model)
        placed = partition.shardings(mesh, rules, transformer.logical_axes(model), abstract)
        shapes, where = trees.flatten(abstract), trees.flatten(placed)
        like = {
            name: jax.ShapeDtypeStruct(leaf.shape, jnp.float32, sharding=where[name])
            for name, leaf in shapes.items()
            if name not in self.fresh
        }
        flat = trees.flatten(self.stored.read(trees.unflatten(like))) if like else {}
        if self.fresh:
            pick = lambda: {
                name: leaf
                for name, leaf in trees.flatten(transformer.init_params(model, seed)).items()
                if name in self.fresh
            }
            flat |= jax.jit(pick, out_shardings={name: where[name] for name in self.fresh})()
        return trees.unflatten(flat)


def choose(
    workdir: pathlib.Path, directory: str, model: TransformerConfig, **options: Any
) -> tuple[StartingWeights | None, dict[str, Any]]:
    """What a new run starts from; one that goes on does not look there again.

    Args:
        workdir: of the run.
        directory, model, options: see `find`; "" for a run that starts from nothing.

    Returns:
        (what was found, what the run's config.json says of it as {"started_from": ...}); None and
        {} for a run that starts from nothing; None and what it said for one that goes on.
    """
    if steps(workdir):
        config = read_config(workdir)
        if directory and directory != config.get("init_from"):
            logging.warning(
                "init_from=%s is not looked at: %s goes on from its own checkpoint; choose another "
                "workdir to start from there",
                *(directory, workdir),
            )
        before = config.get(_STARTED_FROM)
        return None, {} if before is None else {_STARTED_FROM: before}
    if not directory:
        return None, {}
    weights = find(directory, model, **options)
    return weights, {_STARTED_FROM: weights.record()}


def find(
    directory: str,
    model: TransformerConfig,
    *,
    ema: bool = False,
    fresh: Sequence[str] = (),
    tokenizer_fingerprint: str = "",
) -> StartingWeights:
    """Looks for parameters and whether they fit, without reading them. All processes call it.

    Args:
        directory: a training directory or a model's.
        model: what they are for.
        ema: a run's average instead of its parameters.
        fresh: names of parameters, or beginnings of them such as "layers/mlp", that start anew.
        tokenizer_fingerprint: of the ids that will be trained on; "" where it is not known.

    Raises:
        ConfigError: names the fields init_from, init_ema and init_fresh, and what does not fit.
    """
    place = Field("init_from"), f"={directory}"
    try:
        stored = stored_params.find(directory, ema=ema, together=True)
    except ValueError as error:
        raise ConfigError(*place, f": {error}") from error
    if not isinstance(stored.config.get("model"), Mapping):
        raise ConfigError(*place, " holds no transformer: its config.json has no model")
    wanted, given = (trees.flatten(t) for t in (transformer.abstract_params(model), stored.shapes))
    known = {*wanted, *given}
    for name in fresh:
        if not any(_is_in(one, name) for one in known):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
            raise ConfigError(
                *(Field("init_fresh"), f"={name!r} is no parameter, nor the beginning of one; "),
                f"did you mean {near[0] if near else sorted(wanted)[0]!r}?",
            )
    chosen = frozenset(name for name in known if any(_is_in(name, one) for one in fresh))
    _check_shapes(place, wanted, given, chosen)
    if not all(any(_is_in(name, part) for name in chosen) for part in _OF_IDS):
        _check_ids(place, model, stored.config, tokenizer_fingerprint)
    _warn_of_changes(stored, model)
    return StartingWeights(stored=stored, fresh=chosen & wanted.keys(), average=ema)


def _warn_of_changes(stored: StoredParams, model: TransformerConfig) -> None:
    """Says in the log what the run computes otherwise than the training behind its parameters."""
    fields = {field.name: field.default for field in dataclasses.fields(TransformerConfig)}
    for name in ("rope_theta", "rope_table", "norm_eps"):
        before, now = stored.config["model"].get(name, fields[name]), getattr(model, name)
        if before != now:
            logging.warning(
                "%s was trained with model.%s=%s, not %s", stored.directory, name, before, now
            )
    framing = model_directory.framing_of(stored.config, str(stored.directory / CONFIG))
    if framing != Framing():
        lacks = [name.upper() for name in ("bos", "eos") if not getattr(framing, name)]
        logging.warning(
            "%s learned sentences without %s, and this run has them: their rows of the embedding "
            "and of the head begin untrained",
            *(stored.directory, " and ".join(lacks)),
        )


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(part.rstrip("/") + "/")


def _check_shapes(
    place: tuple[Field, str], wanted: Mapping[str, Any], given: Mapping[str, Any], fresh: frozenset
) -> None:
    differences = []
    for name in sorted({*wanted, *given} - fresh):
        if name not in given:
            differences.append(f"it lacks {name}")
        elif name not in wanted:
            differences.append(f"it has {name}, which the model lacks")
        elif tuple(given[name].shape) != tuple(wanted[name].shape):
            shapes = [tuple(each[name].shape) for each in (given, wanted)]
            differences.append(f"{name} has shape {shapes[0]}, not {shapes[1]}")
    if differences:
        named = configs.first_few(differences)
        raise ConfigError(
            *(
                *place,
                f" does not fit the model: {'; '.join(named)}; change the model, or list in ",
            ),
            *(Field("init_fresh"), " what is to start anew"),
        )


def _check_ids(
    place: tuple[Field, str], model: TransformerConfig, config: Mapping[str, Any], tokenizer: str
) -> None:
    """The same ids must mean the same: codes of one tokenizer, and one place for special ids."""
    pieces: tuple[str, ...] = ()
    theirs = config["model"].get("vocabulary", {})
    for name in ("num_codes", "num_special"):
        before, now = theirs.get(name), getattr(model.vocabulary, name)
        if before is not None and before != now:
            pieces = (f" has {name}={before}, but ", Field(f"model.vocabulary.{name}"), f"={now}")
    other = config.get("tokenizer_fingerprint")
    if other and tokenizer and other != tokenizer:
        pieces = (f" was trained on ids of tokenizer {other[:16]}, not of {tokenizer[:16]}",)
    if pieces:
        raise ConfigError(
            *(*place, *pieces, "; the same ids would be other pictures: change it, or put "),
            *(" and ".join(_OF_IDS), " into ", Field("init_fresh")),
        )
