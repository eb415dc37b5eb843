"""The numbers of the prompts study, few enough to be kept beside the code.

    {"shots": example pairs of every prompt,
     "tasks": {name: {
       "unseen": whether training never poses it,
       "prompts": how many, "things": of how many different ones the queries are,
       "truth": {"all" | "1" | "4" | "8", the first ids that are counted: NATS},
       "metric": {"name", "better", "model": [mean, error], "ceiling": mean,
                  "baselines": {name: GAIN}, "beats_all": bool}}},
     "shared": {group: {
       "kinds": those asked for,
       "queries": how many, "things": different ones,
       "judge": {"truths": of other queries, by which it is tested: right in their kind alone,
                 "right": share of these told rightly, "told": [kind x kind],
                 "agrees": share of answers of which the nearest truth in pixels says the same},
       "answers": {"share": [prompt x kind], "error": the same},
       "nats": {"all" | "4": [prompt x kind], of the truth of the kind},
       "tasks": {kind: {"truth": {"all", ...: NATS}, "share": NATS,
                       "share_by_pixels": [right, other, query]}}}}}

NATS are {"right": mean, "other" | "query" | "none": GAIN, "posed": bool}, under the right examples,
another task's, the query alone and, of all ids, nothing; a GAIN is [mean, by how much the model or
the right examples are better, its paired standard error, whether that is clear]: more than two of
these, in every seed, of eight things or more. Errors count all prompts whose queries show one thing
as one, which is stricter than the reports of evaluations. "posed": clearly better than with another
task's examples and than with the query alone. "beats_all": clearly better than every baseline.
Prompts of a group are those of its kinds in order, then the query alone; the kinds of answers are
its kinds in order, then "picture", which looks like a query. null is unknown.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lvm_jax.evaluation.asking import evaluation_file, results, shared_queries
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.evaluation.asking.results import CEILING, MODEL, MetricResult, TaskResult
from lvm_jax.evaluation.asking.shared_queries import SharedAnswers
from studies.measure import thing_of
from studies.prompts_judges import Judges
from studies.statistics import clustered_error

_DECIMALS = 6  # so that what rounding leaves of nothing is nothing
_FIRST = 4  # ids whose nats are given for every prompt and kind


def of_tasks(folder: pathlib.Path, unseen: str, first_ids: Sequence[int]) -> dict[str, Any]:
    """The tasks of an evaluation on disk.

    Args:
        folder: with its evaluation.json.
        unseen: begins the names of those that training never poses.
        first_ids: numbers of ids that were scored apart.
    """
    found, manifest = evaluation_file.read_with_manifest(folder / evaluation_file.FILE)
    summary = {}
    for result in found:
        things = [thing_of(keys[-2]) for keys in manifest["prompts"][result.name]]
        summary[result.name] = {
            "unseen": result.name.startswith(unseen),
            "prompts": len(things),
            "things": len(set(things)),
            "truth": _truth(result, first_ids, things),
            "metric": _drawn(result.deciding, things),
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
    things = [thing_of(key) for of_seed in keys for key in of_seed]
    shares = shared_queries.shares_of_kinds(judged, len(judges.kinds))
    share_PJ2 = np.array([[_mean(share_N, things) for share_N in prompt] for prompt in shares])
    measured = shared_queries.measure(answers, judged, config.seeds, config.first_ids)
    by_pixels = shared_queries.measure(answers, nearest, config.seeds)
    nll_PKNT = np.concatenate([each.nll for each in answers], axis=2).astype(np.float64)
    agrees = [np.mean(one == other) for one, other in zip(judged, nearest)]
    return {
        "kinds": list(answers[0].kinds),
        "queries": nll_PKNT.shape[2],
        "things": len(set(things)),
        "judge": {**_tested(judges, answers, keys), "agrees": _short(np.mean(agrees))},
        "answers": {"share": share_PJ2[..., 0].tolist(), "error": share_PJ2[..., 1].tolist()},
        "nats": {
            "all": _shorts(nll_PKNT.mean(axis=(2, 3))),
            f"{_FIRST}": _shorts(nll_PKNT[..., :_FIRST].mean(axis=(2, 3))),
        },
        "tasks": {
            result.name: {
                "truth": _truth(result, config.first_ids, things),
                "share": _compared(result.deciding, things),
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


def _truth(result: TaskResult, first_ids: Sequence[int], things: Sequence[str]) -> dict[str, Any]:
    """Of all ids of the true answer, and of its first."""
    found = ((n, result.metric(results.truth_metric(n).name)) for n in (0, *first_ids))
    return {
        str(n or "all"): _compared(of, things, alone=not n) for n, of in found if of is not None
    }


def _compared(result: MetricResult, things: Sequence[str], alone: bool = False) -> dict[str, Any]:
    compared = (*results.POSERS, results.NONE) if alone else results.POSERS
    rivals = {name: _gain(result, name, things) for name in compared if name in result.rivals}
    posed = all(rivals[name][-1] for name in results.POSERS)
    return {"right": _short(result.mean()), **rivals, "posed": posed}


def _drawn(result: MetricResult, things: Sequence[str]) -> dict[str, Any]:
    values = np.concatenate(result.values[MODEL])
    rivals = {name: _gain(result, name, things) for name in result.rivals}
    return {
        "name": result.metric.name,
        "better": result.metric.better,
        "model": _mean(values, things),
        "ceiling": _short(result.mean(CEILING)),
        "baselines": rivals,
        "beats_all": all(gain[-1] for gain in rivals.values()),
    }


def _gain(result: MetricResult, rival: str, things: Sequence[str]) -> list[Any]:
    """A GAIN; of the prompts in which both have a value."""
    margin = result.margins[rival]
    own, other = (np.concatenate(result.values[whose]) for whose in (MODEL, rival))
    gaps = own - other if result.metric.better == "higher" else other - own
    gain, error = _mean(gaps, things)
    num_things = len({thing for thing, gap in zip(things, gaps) if np.isfinite(gap)})
    clear = (
        margin.seeds_ahead == len(margin.gaps)
        and num_things >= results.FEWEST_PROMPTS
        and gain > results.CLEAR * error
    )
    return [_short(result.mean(rival)), gain, error, clear]


def _mean(values: np.ndarray, things: Sequence[str]) -> list[Any]:
    """[mean, its standard error] of those that are finite; values of one thing count as one."""
    kept = [(value, thing) for value, thing in zip(values, things) if np.isfinite(value)]
    if not kept:
        return [None, None]
    finite = np.array([value for value, _ in kept])
    error = clustered_error(finite, [thing for _, thing in kept])
    return [_short(finite.mean()), _short(error, 2)]


def _short(value: Any, digits: int = 4) -> float | None:
    number = results.number_or_none(float(value))
    return None if number is None else round(float(f"{number:.{digits}g}"), _DECIMALS)


def _shorts(values: np.ndarray) -> list[Any]:
    return [[_short(value) for value in row] for row in values]
