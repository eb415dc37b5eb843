"""The numbers of the prompts study, few enough to be kept beside the code.

    {"shots": example pairs of every prompt,
     "tasks": {name: {
       "unseen": whether training never poses it,
       "prompts": how many, "pictures": of how many different queries,
       "truth": {"all" | "1" | "4" | "8", the first ids that are counted: NATS},
       "metric": {"name", "better", "model": [mean, error], "ceiling": mean,
                  "baselines": {name: GAIN}, "beats_all": bool},
       "verdict": see `TaskResult.verdict`}},
     "shared": {group: {
       "kinds": those asked for,
       "queries": how many, "pictures": different ones,
       "judge": {"truths": of other queries, by which it is tested: right in their kind alone,
                 "right": share of these told rightly, "told": [kind x kind],
                 "agrees": share of answers of which the nearest truth in pixels says the same},
       "answers": {"share": [prompt x kind], "error": the same},
       "nats": {"all" | "4": [prompt x kind], of the truth of the kind},
       "tasks": {kind: {"truth": {"all", ...: NATS}, "share": NATS,
                       "share_by_pixels": [right, other, query]}}}}}

NATS are {"right": mean, "other" | "query" | "none": GAIN, "posed": bool}, under the right examples,
another task's, the query alone and, of all ids, nothing; a GAIN is [mean, by how much the model or
the right examples are better, its paired standard error, whether that is clear]. "posed": clearly
better than with another task's examples and than with the query alone; see `results.Margin.clear`.
Prompts of a group are those of its kinds in order, then the query alone; the kinds of answers are
its kinds in order, then "picture", which looks like a query. Errors are standard errors over
queries; null is unknown.
"""

import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from lvm_jax.evaluation.asking import evaluation_file, results, shared_queries
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.evaluation.asking.results import CEILING, MODEL, MetricResult, TaskResult
from lvm_jax.evaluation.asking.shared_queries import SharedAnswers
from studies.prompts_judges import Judges, picture_of

_DECIMALS = 6  # so that what rounding leaves of nothing is nothing
_FIRST = 4  # ids whose nats are given for every prompt and kind


def of_tasks(
    folder: pathlib.Path, unseen: Collection[str], first_ids: Sequence[int]
) -> dict[str, Any]:
    """The tasks of an evaluation on disk.

    Args:
        folder: with its evaluation.json.
        unseen: names of those that training never poses.
        first_ids: numbers of ids that were scored apart.
    """
    found, manifest = evaluation_file.read_with_manifest(folder / evaluation_file.FILE)
    summary = {}
    for result in found:
        asked = manifest["prompts"][result.name]
        summary[result.name] = {
            "unseen": result.name in unseen,
            "prompts": len(asked),
            "pictures": len({picture_of(keys[-2]) for keys in asked}),
            "truth": _truth(result, first_ids),
            "metric": _drawn(result.deciding),
            "verdict": result.verdict,
        }
    return summary


def of_shared(
    answers: Sequence[SharedAnswers],
    config: AskingConfig,
    judges: Judges,
    *,
    keys: Sequence[Sequence[str]],
    nearest: Sequence[np.ndarray],
) -> dict[str, Any]:
    """A group of shared queries.

    Args:
        answers: of every seed.
        config: how they were asked.
        judges: of kinds.
        keys: of the queries of every seed.
        nearest: the kinds of the truths that are nearest in pixels to the answers of every seed,
            int [P, N, C].
    """
    judged = [judges.tell(a.ids, of_seed, a.known) for a, of_seed in zip(answers, keys)]
    shares, errors = shared_queries.confusion(judged, len(judges.kinds))
    measured = shared_queries.measure(answers, judged, config.seeds, config.first_ids)
    by_pixels = shared_queries.measure(answers, nearest, config.seeds)
    nll_PKNT = np.concatenate([each.nll for each in answers], axis=2).astype(np.float64)
    agrees = [np.mean(one == other) for one, other in zip(judged, nearest)]
    return {
        "kinds": list(answers[0].kinds),
        "queries": nll_PKNT.shape[2],
        "pictures": len({picture_of(key) for of_seed in keys for key in of_seed}),
        "judge": {**_tested(judges, answers, keys), "agrees": _short(np.mean(agrees))},
        "answers": {"share": _shorts(shares), "error": _shorts(errors)},
        "nats": {
            "all": _shorts(nll_PKNT.mean(axis=(2, 3))),
            f"{_FIRST}": _shorts(nll_PKNT[..., :_FIRST].mean(axis=(2, 3))),
        },
        "tasks": {
            result.name: {
                "truth": _truth(result, config.first_ids),
                "share": _compared(result.deciding),
                "share_by_pixels": [
                    _short(pixels.deciding.mean(whose)) for whose in (MODEL, *results.POSERS)
                ],
            }
            for result, pixels in zip(measured, by_pixels)
        },
    }


def _tested(
    judges: Judges, answers: Sequence[SharedAnswers], keys: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """How well judges tell answers of the right kind and wrong in all else: to the next query."""
    num = len(judges.kinds)
    told = np.zeros((num, num))
    for each, of_seed in zip(answers, keys):
        next_JNT, next_keys = np.roll(each.known, -1, axis=1), (*of_seed[1:], of_seed[0])
        for kind, told_N1 in enumerate(judges.tell(next_JNT[:, :, None], next_keys, each.known)):
            told[kind] += np.bincount(told_N1.ravel(), minlength=num)
    return {
        "truths": int(told.sum()),
        "right": _short(told.trace() / told.sum()),
        "told": told.astype(int).tolist(),
    }


def _truth(result: TaskResult, first_ids: Sequence[int]) -> dict[str, Any]:
    """Of all ids of the true answer, and of its first."""
    found = ((n, result.metric(results.truth_metric(n).name)) for n in (0, *first_ids))
    return {str(n or "all"): _compared(of, alone=not n) for n, of in found if of is not None}


def _compared(result: MetricResult, alone: bool = False) -> dict[str, Any]:
    compared = (*results.POSERS, results.NONE) if alone else results.POSERS
    rivals = {name: _gain(result, name) for name in compared if name in result.rivals}
    return {"right": _short(result.mean()), **rivals, "posed": result.posed}


def _drawn(result: MetricResult) -> dict[str, Any]:
    return {
        "name": result.metric.name,
        "better": result.metric.better,
        "model": [_short(result.mean()), _short(result.error())],
        "ceiling": _short(result.mean(CEILING)) if CEILING in result.values else None,
        "baselines": {name: _gain(result, name) for name in result.rivals},
        "beats_all": result.learned,
    }


def _gain(result: MetricResult, rival: str) -> list[Any]:
    margin = result.margins[rival]
    if not margin.num_prompts:
        return [_short(result.mean(rival)), None, None, False]
    return [
        _short(result.mean(rival)),
        _short(margin.mean),
        _short(margin.error, 2),
        margin.clear,
    ]


def _short(value: Any, digits: int = 4) -> float | None:
    number = results.number_or_none(float(value))
    return None if number is None else round(float(f"{number:.{digits}g}"), _DECIMALS)


def _shorts(values: np.ndarray) -> list[Any]:
    return [[_short(value) for value in row] for row in values]
