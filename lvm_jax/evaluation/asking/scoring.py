"""How perplexed a model is by images that follow others, against how many it sees of these.

Paper: Bai et al. 2023, Fig. 3 and 4: 5-shot perplexity of annotations, and of frames after 1, 3, 7,
11 and 15 others.

Legend: n images of a prompt, m targets, T ids per image, P ids of a prompt, L ids of targets.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lvm_jax.configs import ConfigError, Field
from lvm_jax.evaluation.asking import measuring
from lvm_jax.evaluation.asking.parts import Parts, digest, digest_arrays
from lvm_jax.evaluation.asking.results import MODEL, Group, MetricResult, Rung, Shown, TaskResult
from lvm_jax.evaluation.asking.runner import PART, Evaluation, model_fingerprint
from lvm_jax.evaluation.asking.scoring_config import Bos, ScoringConfig, framing_of
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.sequences import Continuation, Sequences
from lvm_jax.generation import prompts
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.vocabulary import Framing

PERPLEXITY = Metric(
    name="perplexity",
    unit="",
    better="lower",
    per_example=True,
    about="Mean over examples of each one's perplexity, exp of its mean NLL, as LVM reports it.",
)
OF_MEAN = Metric(
    name="perplexity_of_mean",
    unit="",
    better="lower",
    per_example=False,
    about="exp of the mean NLL over the target ids of all examples.",
)
NLL = Metric(
    name="nll",
    unit="nats per id",
    better="lower",
    per_example=True,
    about="Mean negative log-likelihood of an example's target ids.",
)


@dataclasses.dataclass
class _Row:
    """One length of prompts begun in one way, and what was scored so far."""

    bos: Bos
    images: int  # before the targets; 0 for whole prompts
    rung: Rung | None
    name: str
    shows: bool  # pictures: the longest prompts of each beginning
    nll: list[list[np.ndarray]] = dataclasses.field(default_factory=list)  # of seeds, [L] each


def evaluate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    sequences: Sequences,
    config: ScoringConfig,
    *,
    parts: Parts | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Evaluation:
    """Scores the targets of every sequence, after each length of prompts.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        sequences: what is scored.
        config: how.
        parts: where finished parts are kept.
        progress: called with the number of rows scored since the last call, of `num_rows`.

    Raises:
        ValueError: the tokenizer is not the model's, or a prompt does not fit the context.
    """
    model.check_tokenizer(tokenizer)
    kept = parts or Parts(None)
    number = config.num_examples or sequences.num_sequences
    rows = _rows(sequences.name, config)
    _require_room(model, tokenizer, config)
    identity = {
        "part": "nll",
        "model": model_fingerprint(model),
        "tokenizer": tokenizer.fingerprint,
        "over": config.over,
        "images_per_example": config.images_per_example,
    }
    digests, names = [], []
    for seed in config.seeds:
        for row in rows:
            row.nll.append([])
        for start in range(0, number, PART):
            block = [sequences.sequence(seed, i) for i in range(start, min(start + PART, number))]
            ids, shown = _tokenize(tokenizer, block, kept)
            digests.append(shown)
            names += [list(each.keys) for each in block]
            for row in rows:
                # Checked before anything is scored: which of them is too short.
                chosen = [_shortened(i, each, row.images) for i, each in zip(ids, block)]
                compute = lambda row=row, chosen=chosen: _scored(model, chosen, row, config)
                length = [row.bos, row.images, shown]
                part = kept.get(identity | {"row": length}, compute)
                row.nll[-1] += [part[str(i)] for i in range(len(block))]
                if progress is not None:
                    progress(len(block))
    return Evaluation(
        model=identity["model"],
        results=tuple(_result(row, sequences, config) for row in rows),
        inputs={sequences.name: digest(digests)},
        prompts={sequences.name: names},
        found=kept.num_found,
    )


def num_rows(sequences: Sequences, config: ScoringConfig) -> int:
    """What the numbers given to progress sum up to."""
    number = config.num_examples or sequences.num_sequences
    return number * len(config.seeds) * len(_rows("", config))


def _rows(name: str, config: ScoringConfig) -> list[_Row]:
    """In the order of the report: all lengths of one beginning together."""
    rows = []
    for bos in config.bos:
        series = name if len(config.bos) == 1 else f"{name}, {_WORDS[bos]}"
        if not config.rungs:
            rows.append(_Row(bos=bos, images=0, rung=None, name=series, shows=True))
        for axis, value, images in config.rungs:
            rung = Rung(series=series, family=name, axis=axis, value=value)
            most = config.most_images
            shows = images == most
            rows.append(_Row(bos=bos, images=images, rung=rung, name=rung.name, shows=shows))
    return rows


_WORDS: dict[Bos, str] = {
    "trained": "begun as trained",
    "with": "with BOS",
    "without": "without BOS",
}


def _require_room(model: LanguageModel, tokenizer: Tokenizer, config: ScoringConfig) -> None:
    """Refuses lengths that no target fits behind, before pictures are read."""
    whole = model.config.context // tokenizer.tokens_per_image
    if config.most_images >= whole:
        field = "shots" if config.shots else "context_images"
        value = max(config.shots or config.context_images)
        raise ConfigError(
            Field(field),
            f"={value} takes {config.most_images} images and a target, but a context of "
            f"{model.config.context} ids holds {whole} images of {tokenizer.tokens_per_image} ids",
        )


def _tokenize(
    tokenizer: Tokenizer, block: Sequence[Continuation], parts: Parts
) -> tuple[list[np.ndarray], str]:
    """Ids [n + m, T] of every sequence, and the hash of all pixels."""
    pixels = [np.concatenate([each.images, each.targets]) for each in block]
    shown = digest_arrays(*pixels)
    identity = {"part": "ids", "tokenizer": tokenizer.fingerprint, "pixels": shown}
    encode = lambda: {"ids": tokenizer.encode(np.concatenate(pixels))}
    splits = np.cumsum([len(each) for each in pixels])[:-1]
    return np.split(parts.get(identity, encode)["ids"], splits), shown


def _shortened(
    ids_nT: np.ndarray, sequence: Continuation, num_images: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the prompt's last images, and those of the targets."""
    split = len(sequence.images)
    if num_images > split:
        raise ValueError(
            f"{sequence.where} has {split} images before its targets, of which {num_images} are to "
            "be seen; ask for less context"
        )
    return ids_nT[split - num_images if num_images else 0 : split], ids_nT[split:]


def _scored(
    model: LanguageModel,
    chosen: Sequence[tuple[np.ndarray, np.ndarray]],
    row: _Row,
    config: ScoringConfig,
) -> dict[str, np.ndarray]:
    """NLL of every target id of some sequences, float32 [L] by their numbers."""
    framing = framing_of(row.bos, model.framing)
    rows = [_prompt(model, images, len(targets), framing, config) for images, targets in chosen]
    nll = perplexity.target_nll_of_each(
        model,
        rows,
        [targets.ravel() for _, targets in chosen],
        over=config.over,
        batch_size=config.batch_size,
    )
    return {str(i): nll_L for i, nll_L in enumerate(nll)}


def _prompt(
    model: LanguageModel,
    images_nT: np.ndarray,
    num_targets: int,
    framing: Framing,
    config: ScoringConfig,
) -> np.ndarray:
    if not len(images_nT):
        if not framing.bos:
            raise ValueError("without BOS a prompt needs an image: nothing predicts a first id")
        return np.array([model.vocabulary.bos], np.int32)
    return prompts.sequential(
        images_nT,
        vocabulary=model.vocabulary,
        framing=framing,
        context=model.config.context,
        num_new_images=num_targets,
        images_per_example=config.images_per_example,
    )


def _result(row: _Row, sequences: Sequences, config: ScoringConfig) -> TaskResult:
    of_seeds = [[np.asarray(nll_L, np.float64) for nll_L in seed] for seed in row.nll]
    nll = tuple(np.array([nll_L.mean() for nll_L in seed]) for seed in of_seeds)
    every = np.concatenate([nll_L for seed in of_seeds for nll_L in seed])
    values = (
        (PERPLEXITY, tuple(np.exp(seed) for seed in nll)),
        (OF_MEAN, (np.array([np.exp(every.mean())]),)),
        (NLL, nll),
    )
    metrics = tuple(
        MetricResult(metric=metric, values={MODEL: each}, own="model") for metric, each in values
    )
    return TaskResult(
        name=row.name,
        seeds=config.seeds,
        metrics=metrics,
        decides=PERPLEXITY.name,
        shown=tuple(_show(row, metrics[0], sequences, config)) if row.shows else (),
        rung=row.rung,
    )


def _show(
    row: _Row, result: MetricResult, sequences: Sequences, config: ScoringConfig
) -> Iterator[Shown]:
    """Sequences from the best to the worst, loaded again."""
    values = np.concatenate(result.values[MODEL])
    number = len(row.nll[0])
    for place, which in measuring.places(result, config.num_shown):
        seed, index = divmod(which, number)
        sequence = sequences.sequence(config.seeds[seed], index)
        before = sequence.images[len(sequence.images) - row.images if row.images else 0 :]
        groups = (
            Group(kind="examples", caption="prompt", pictures=before[:, None]),
            Group(kind="truth", caption="target", pictures=sequence.targets[:, None]),
        )
        yield Shown(
            place=place,
            value=float(values[which]),
            groups=tuple(group for group in groups if len(group.pictures)),
        )
