"""Asks a model tasks: prompts of held-out examples, answers, numbers; part by part.

Legend: N examples, n answered examples, C candidates, T ids per image.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lvm_jax import images, trees
from lvm_jax.configs import ConfigError, Field
from lvm_jax.draws import hash_key
from lvm_jax.evaluation.asking import measuring, results, truth
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.evaluation.asking.measuring import Answers, Measurements
from lvm_jax.evaluation.asking.parts import Parts, digest, digest_arrays
from lvm_jax.evaluation.asking.results import Group, MetricResult, Rung, Shown, TaskResult
from lvm_jax.evaluation.asking.tokenized import Tokenized, tokenize
from lvm_jax.evaluation.tasks.task import Example, Task
from lvm_jax.generation.answers import answer_ids
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.tokenizer.codec import Tokenizer

PART = 32
"""Examples of a part: what an interruption loses at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found, and of what.

    Attributes:
        model: fingerprint of what was asked, see `model_fingerprint`.
        results: of every task, or of every number of its example pairs.
        inputs: task -> sha256 of all of its examples.
        prompts: task -> names of the pictures of every prompt, seeds one after another.
        found: how many parts had been finished before.
    """

    model: str
    results: tuple[TaskResult, ...]
    inputs: dict[str, str]
    prompts: dict[str, list[list[str]]]
    found: int = 0


@dataclasses.dataclass
class _Row:
    """A task with one number of example pairs, and what is known of it so far."""

    task: Task
    rung: Rung | None
    measured: Measurements
    shows: bool  # pictures: the longest prompts of the task
    truth: dict[str, list[list[np.ndarray]]] = dataclasses.field(default_factory=dict)
    answers: list[np.ndarray] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Asking:
    """What does not change from part to part."""

    model: LanguageModel
    tokenizer: Tokenizer
    config: AskingConfig
    unigram: np.ndarray | None
    parts: Parts
    identity: dict[str, Any]


def evaluate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    tasks: Sequence[Task],
    config: AskingConfig,
    *,
    unigram: np.ndarray | None = None,
    parts: Parts | None = None,
    progress: Callable[[str], Any] | None = None,
) -> Evaluation:
    """Measures every task with every seed.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        tasks: with examples from pictures that training never saw.
        config: how much is measured.
        unigram: float [num_codes], probabilities of the codes in the training data, if known.
        parts: where finished parts are kept.
        progress: called with "task, seed n" before each of the `num_parts` parts.

    Raises:
        ValueError: the tokenizer is not the model's, or an analogy does not fit the context.
    """
    model.check_tokenizer(tokenizer)
    asking = _Asking(
        model=model,
        tokenizer=tokenizer,
        config=config,
        unigram=unigram,
        parts=parts or Parts(None),
        identity=_identity(model, tokenizer, config, unigram),
    )
    rows = [_rows(task, tokenizer, config) for task in tasks]
    digests: list[list[str]] = [[] for _ in tasks]
    prompts: list[list[list[str]]] = [[] for _ in tasks]
    for number, seed in enumerate(config.seeds):
        for start in range(0, config.num_examples, PART):
            indices = range(start, min(start + PART, config.num_examples))
            tokenized = [
                tokenize(tokenizer, [task.example(seed, i) for i in indices], asking.parts)
                for task in tasks
            ]
            for i, task in enumerate(tasks):
                if progress is not None:
                    progress(f"{task.name}, seed {seed}")
                digests[i].append(tokenized[i].digest)
                prompts[i] += [list(example.keys) for example in tokenized[i].examples]
                others = [t for j, t in enumerate(tokenized) if j != i]
                for row in rows[i]:
                    own = _with_shots(tokenized[i], row.rung)
                    _ask(asking, row, own, others, number=number, start=start)
    names = [task.name for task in tasks]
    return Evaluation(
        model=asking.identity["model"],
        results=tuple(_result(asking, row) for of_task in rows for row in of_task),
        inputs={name: digest(values) for name, values in zip(names, digests)},
        prompts=dict(zip(names, prompts)),
        found=asking.parts.num_found,
    )


def num_parts(num_tasks: int, config: AskingConfig) -> int:
    """How often `evaluate` calls progress."""
    return num_tasks * len(config.seeds) * -(-config.num_examples // PART)


def _identity(
    model: LanguageModel,
    tokenizer: Tokenizer,
    config: AskingConfig,
    unigram: np.ndarray | None,
) -> dict[str, Any]:
    """What the numbers of every part depend on."""
    return {
        "model": model_fingerprint(model),
        "tokenizer": tokenizer.fingerprint,
        "unigram": None if unigram is None else digest_arrays(unigram),
        "drawing": [config.num_candidates, config.temperature, config.top_k, config.top_p],
        "scoring": [config.score_truth, config.select],
    }


def drawing_seeds(seed: int, indices: Iterable[int]) -> list[int]:
    """Seeds of the answers to the examples of one seed: independent from example to example.

    The same for every task and number of example pairs, so that what differs are the prompts.
    """
    return [hash_key("answer", seed, index) % 2**32 for index in indices]


def model_fingerprint(model: LanguageModel) -> str:
    """64 hex digits that change with any weight of a model and with how it computes."""
    sizes = dataclasses.replace(model.config, attention="auto")
    return digest([repr(sizes), repr(model.framing), trees.fingerprint(model.params)])


def _rows(task: Task, tokenizer: Tokenizer, config: AskingConfig) -> list[_Row]:
    rungs = [Rung(series=task.name, axis="example pairs", value=k) for k in config.shots]
    most = max(config.shots, default=0)
    return [
        _Row(
            task=task,
            rung=rung,
            measured=Measurements(task, tokenizer, config.pixels),
            shows=rung is None or rung.value == most,
        )
        for rung in rungs or [None]
    ]


def _with_shots(tokenized: Tokenized, rung: Rung | None) -> Tokenized:
    """The last pairs of every prompt, so that those of fewer shots stand nearest to the query."""
    if rung is None:
        return tokenized
    most = tokenized.pairs.shape[1]
    if rung.value > most:
        raise ConfigError(
            Field("shots"), f"={rung.value} exceeds the {most} example pairs of {rung.series}"
        )
    return tokenized.last(rung.value)


def _ask(
    asking: _Asking,
    row: _Row,
    own: Tokenized,
    others: Sequence[Tokenized],
    *,
    number: int,
    start: int,
) -> None:
    """One part of one row: what it was kept as, or asked of the model."""
    config, seed = asking.config, asking.config.seeds[number]
    num_answered = min(max(0, config.num_answered - start), len(own.queries))
    identity = asking.identity | {
        "part": "answers",
        "truth": "every id",
        "draws": "an example's own",
        "seed": seed,
        "start": start,
        "answered": num_answered,
        "prompts": digest_arrays(own.prompts, own.answers),
        "others": [digest_arrays(other.pairs) for other in others],
    }
    compute = lambda: _computed(asking, own, others, seed=seed, start=start, number=num_answered)
    part = asking.parts.get(identity, compute)
    for name, values in part.items():
        if name.startswith(_TRUTH):
            seeds = row.truth.setdefault(name.removeprefix(_TRUTH), [])
            while len(seeds) <= number:
                seeds.append([])
            seeds[number].append(values)
    if num_answered:
        answered = own.first(num_answered)
        surprise = part.get("surprise")
        row.measured.add(number, answered, Answers(ids=part["ids"], surprise=surprise))
        row.answers.append(part["ids"])


_TRUTH = "truth_"  # begins the names of a part's arrays on the true answer


def _computed(
    asking: _Asking,
    own: Tokenized,
    others: Sequence[Tokenized],
    *,
    seed: int,
    start: int,
    number: int,
) -> dict[str, np.ndarray]:
    """What the model says to the examples of a part, of which the first `number` are answered."""
    model, config = asking.model, asking.config
    arrays = {}
    if config.score_truth:
        scored = truth.score(
            model,
            own,
            others,
            unigram=asking.unigram,
            start=start,
            batch_size=config.batch_size,
        )
        arrays = {f"{_TRUTH}{name}": values for name, values in scored.items()}
    if number:
        asked = own.first(number)
        seeds = drawing_seeds(seed, range(start, start + number))
        drawn = answer_ids(model, list(asked.prompts), config.asked(seed), seeds=seeds)
        ids = np.stack(drawn)
        arrays["ids"] = ids[:, :, 0].astype(np.int32)
        if config.select and config.num_candidates > 1:
            arrays["surprise"] = truth.own_surprise(model, asked, arrays["ids"], config.batch_size)
    return arrays


def _result(asking: _Asking, row: _Row) -> TaskResult:
    measured = row.measured.results()
    scored = {
        whose: tuple(np.concatenate(blocks) for blocks in seeds)
        for whose, seeds in row.truth.items()
    }
    of_truth = truth.results_of(scored, asking.config.first_ids) if scored else ()
    return TaskResult(
        name=row.rung.name if row.rung else row.task.name,
        seeds=asking.config.seeds,
        metrics=(*of_truth, *measured),
        decides=row.task.metrics[0].name,
        shown=tuple(_show(asking, row, measured[0])) if row.shows else (),
        rung=row.rung,
    )


def _show(asking: _Asking, row: _Row, decides: MetricResult) -> Iterator[Shown]:
    """Examples from the best to the worst, loaded again."""
    config, ids_nCT = asking.config, np.concatenate(row.answers)
    for place, which in measuring.places(decides, config.num_shown):
        number, index = divmod(which, config.num_answered)
        example = row.task.example(config.seeds[number], index)
        if row.rung is not None:
            example = dataclasses.replace(
                example, pairs=example.pairs[len(example.pairs) - row.rung.value :]
            )
        candidates = images.to_uint8(np.asarray(asking.tokenizer.decode(ids_nCT[which])))
        encoded = asking.tokenizer.encode(example.answer[None])
        ceiling = images.to_uint8(np.asarray(asking.tokenizer.decode(encoded)))
        value = float(np.concatenate(decides.values[results.MODEL])[which])
        yield Shown(place=place, value=value, groups=groups(example, candidates, ceiling[0]))


def groups(example: Example, candidates: np.ndarray, ceiling: np.ndarray) -> tuple[Group, ...]:
    """A prompt, its answers and the truth as they are shown.

    Args:
        example: pairs, query and truth.
        candidates: uint8 [C, S, S, 3], the model's answers.
        ceiling: uint8 [S, S, 3], the truth through the tokenizer.
    """
    one = lambda picture: picture[None, None]
    shown = [
        Group(kind="examples", caption="examples", pictures=example.pairs),
        Group(kind="asked", caption="query", pictures=one(example.query)),
        Group(kind="answers", caption="the model's answers", pictures=candidates[:, None]),
        Group(kind="truth", caption="truth", pictures=one(example.answer)),
        Group(kind="best", caption="via the tokenizer", pictures=one(ceiling)),
    ]
    return tuple(group for group in shown if len(group.pictures))
