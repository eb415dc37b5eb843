"""One query under the prompts of several tasks: only the examples tell which of them is asked.

Perplexity per id hides that choice. Where three answers are equally likely it costs ln 3 nats once;
from the answer's first ids on the task is known. So the first ids are scored apart, and answers are
drawn, of which it is judged of which kind they are.

Legend: K kinds, P prompts (of each kind in turn, then none), N queries, C candidates, T ids per
image, J kinds that an answer may be of: the K asked ones, then the query's own.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lvm_jax.evaluation.asking import truth
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.evaluation.asking.parts import Parts, digest_arrays
from lvm_jax.evaluation.asking.results import MODEL, OTHER, QUERY, MetricResult, TaskResult
from lvm_jax.evaluation.asking.runner import PART, drawing_seeds, model_fingerprint
from lvm_jax.evaluation.asking.tokenized import Tokenized, tokenize
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.task import Examples
from lvm_jax.generation.answers import answer_ids
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.tokenizer.codec import Tokenizer

SHARE = Metric(
    name="share_of_asked_kind",
    unit="",
    better="higher",
    per_example=True,
    about="Share of the answers to a query that are of the kind that the examples ask for.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedAnswers:
    """What a model makes of the same queries under the examples of each kind, and under none.

    Attributes:
        kinds: K names of what is asked.
        queries: int32 [N, T].
        truths: int32 [K, N, T], the true answers of every kind.
        nll: float32 [P, K, N, T], nats of every id of these.
        ids: int32 [P, N, C, T], the model's answers.
    """

    kinds: tuple[str, ...]
    queries: np.ndarray
    truths: np.ndarray
    nll: np.ndarray
    ids: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """What an answer may be: the truths, then the query itself; int32 [J, N, T]."""
        return np.concatenate([self.truths, self.queries[None]])


def ask(
    model: LanguageModel,
    tokenizer: Tokenizer,
    kinds: Mapping[str, Examples],
    config: AskingConfig,
    *,
    parts: Parts | None = None,
    progress: Callable[[int], Any] | None = None,
) -> tuple[SharedAnswers, ...]:
    """Asks every query for every kind of answer, and for none.

    A candidate draws the same random numbers under all prompts of a query, and others for every
    query: what differs between prompts are the examples, and queries are independent draws.

    Args:
        model, tokenizer: as trained.
        kinds: two kinds or more of examples; an example of one seed and index has the same inputs
            and the same query in all of them.
        config: how much; its `num_examples` queries are scored, and `num_answered` answered.
        parts: where finished parts are kept.
        progress: called with the number of queries finished since the last call.

    Returns:
        The answers of every seed.

    Raises:
        ValueError: another tokenizer than the model's, or inputs that are not shared.
    """
    model.check_tokenizer(tokenizer)
    kept = parts or Parts(None)
    drawing = [config.num_candidates, config.temperature, config.top_k, config.top_p]
    identity = {
        "part": "shared queries",
        "model": model_fingerprint(model),
        "tokenizer": tokenizer.fingerprint,
        "drawing": drawing,
    }
    answers = []
    for seed in config.seeds:
        found = []
        for start in range(0, config.num_examples, PART):
            indices = range(start, min(start + PART, config.num_examples))
            asked = {
                name: tokenize(tokenizer, [kind.example(seed, i) for i in indices], kept)
                for name, kind in kinds.items()
            }
            _require_shared(asked)
            of_kinds = list(asked.values())
            answered = min(max(0, config.num_answered - start), len(indices))
            shown = [digest_arrays(kind.prompts, kind.answers) for kind in of_kinds]
            part = {"seed": seed, "start": start, "answered": answered, "prompts": shown}
            seeds = drawing_seeds(seed, indices)
            compute = lambda of_kinds=of_kinds, seeds=seeds[:answered]: _computed(
                model, of_kinds, seeds, config
            )
            found.append((of_kinds, kept.get(identity | part, compute)))
            if progress is not None:
                progress(len(indices))
        answers.append(_joined(tuple(kinds), found))
    return tuple(answers)


def _require_shared(asked: Mapping[str, Tokenized]) -> None:
    (first, own), *others = asked.items()
    for name, other in others:
        for one, same in zip(own.examples, other.examples):
            if not (
                np.array_equal(one.query, same.query)
                and np.array_equal(one.pairs[:, 0], same.pairs[:, 0])
            ):
                raise ValueError(
                    f"{first} and {name} do not ask with the same pictures "
                    f"({', '.join(one.keys[-2:-1])}); take kinds of the same inputs"
                )


def _computed(
    model: LanguageModel, asked: Sequence[Tokenized], seeds: Sequence[int], config: AskingConfig
) -> dict[str, np.ndarray]:
    """Nats of all truths under all prompts, and the answers to the first len(seeds) queries."""
    none = dataclasses.replace(asked[0], pairs=asked[0].pairs[:, :0])
    nll, ids = [], []
    for prompt in (*asked, none):
        prompts_NP = np.stack(
            [truth.prompt_of(model, k, q) for k, q in zip(prompt.pairs, prompt.queries)]
        )
        score = lambda kind, prompts_NP=prompts_NP: perplexity.target_nll(
            model, prompts_NP, kind.answers, batch_size=config.batch_size
        )
        nll.append(np.stack([score(kind) for kind in asked]))
        if seeds:
            prompts = list(prompt.prompts[: len(seeds)])
            drawn = answer_ids(model, prompts, config.asked(seeds[0]), seeds=seeds)
            ids.append(np.stack(drawn)[:, :, 0])
    return {"nll": np.stack(nll)} | ({"ids": np.stack(ids).astype(np.int32)} if seeds else {})


def _joined(
    kinds: tuple[str, ...], found: Sequence[tuple[Sequence[Tokenized], Mapping[str, np.ndarray]]]
) -> SharedAnswers:
    return SharedAnswers(
        kinds=kinds,
        queries=np.concatenate([asked[0].queries for asked, _ in found]),
        truths=np.concatenate([np.stack([k.answers for k in asked]) for asked, _ in found], axis=1),
        nll=np.concatenate([part["nll"] for _, part in found], axis=2),
        ids=np.concatenate([part["ids"] for _, part in found if "ids" in part], axis=1),
    )


def measure(
    answers: Sequence[SharedAnswers],
    judged: Sequence[np.ndarray],
    seeds: Sequence[int],
    first_ids: Sequence[int] = (),
) -> tuple[TaskResult, ...]:
    """Of every kind: how probable its truth is, and how often it is answered, prompt by prompt.

    Args:
        answers: of every seed.
        judged: of every seed int [P, N, C], the numbers of the kinds that the answers are of.
        seeds: of these.
        first_ids: numbers of ids that are scored apart.
    """
    measured = []
    for k, name in enumerate(answers[0].kinds):
        scored = [_conditions(each.nll[:, k], k) for each in answers]
        shares = [_conditions((kinds_PNC == k).mean(axis=-1), k) for kinds_PNC in judged]
        together = lambda each: {name: tuple(seed[name] for seed in each) for name in each[0]}
        share = MetricResult(metric=SHARE, values=together(shares), own="right prompt")
        measured.append(
            TaskResult(
                name=name,
                seeds=tuple(seeds),
                metrics=(*truth.results_of(together(scored), first_ids), share),
                decides=SHARE.name,
            )
        )
    return tuple(measured)


def _conditions(values_P: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Values [P, ...] of kind k under its own examples, those of the others (their mean), none."""
    *asked, none = values_P
    others = [values for p, values in enumerate(asked) if p != k]
    return {MODEL: asked[k], OTHER: np.mean(others, axis=0), QUERY: none}


def shares_of_kinds(judged: Sequence[np.ndarray], num_kinds: int) -> np.ndarray:
    """How often answers are of each kind, under each prompt: float64 [P, J, N], all seeds' queries.

    Answers to one query are no independent draws: errors are those of means over queries.

    Args:
        judged: of every seed int [P, N, C].
        num_kinds: J.
    """
    kinds_PNC = np.concatenate(judged, axis=1)
    return np.stack([(kinds_PNC == kind).mean(axis=-1) for kind in range(num_kinds)], axis=1)
