"""The plan in FLOPs: every run, and how long it takes."""

import os
from typing import Any

from studies import choice, finishing, plan, results
from studies.finishing import Places
from studies.plan import Job


def table(
    studies: tuple[str, ...], only: tuple[str, ...], places: Places, rows: int, rate: float | None
) -> str:
    """All jobs with parameters, ids, FLOPs and hours, and what is done of them.

    Args:
        studies, only: as `conductor.Conductor`.
        places: where results are, and shards, if there are any.
        rows: of an epoch where there are none.
        rate: FLOPs per second of all runs together; None takes that of the finished ones.
    """
    found = results.read(places.results)
    c = choice.known(places.results, found)
    jobs = plan.matching(plan.jobs(studies, c, choice.grid(found)), only)
    try:
        corpus = finishing.Corpus.of(places.out)
        counted = f"counted in {places.out}"
    except ValueError:
        corpus = finishing.Corpus.of_rows(rows)
        counted = f"of {rows:,} rows, as long as there are no shards"
    if rate is None:
        rate = _rate(found.values())
    lines = [f"{'run':34}  {'parameters':>10}  {'ids':>10}  {'FLOPs':>8}  {'hours':>5}"]
    total = left = 0.0
    for job in jobs:
        flops = corpus.flops(job, places.out)
        total += flops
        left += 0.0 if job.name in found else flops
        lines.append(_line(job, corpus, places, flops, rate, job.name in found))
    hours = "" if rate is None else f", {left / rate / 3600:.1f} hours left at {rate:.3g} FLOP/s"
    lines.append(f"{len(jobs)} runs, {total:.3g} FLOPs, {left:.3g} of them left{hours}")
    lines.append(f"{corpus.steps:,} updates a training, {counted}")
    return "\n".join(lines)


def _rate(found: Any) -> float | None:
    """Of finished trainings on all the processors of this machine; None where there are none.

    A training that had a share of the processors stands for others beside it.
    """
    runs = [each for each in found if each["kind"] == "run"]
    if not runs:
        return None
    flops = sum(run["config"]["flops"] for run in runs)
    seconds = sum(
        run["seconds"]["training"] * run["hardware"]["cores"] / _cores(runs) for run in runs
    )
    return flops / seconds


def _cores(runs: list[Any]) -> int:
    return max(os.cpu_count() or 1, *(run["hardware"]["cores"] for run in runs))


def _line(
    job: Job,
    corpus: finishing.Corpus,
    places: Places,
    flops: float,
    rate: float | None,
    done: bool,
) -> str:
    parameters = ids = ""
    if job.kind == "run":
        experiment = corpus.experiment(job.run, places.out)
        parameters = f"{experiment.model.num_parameters:,}"
        steps = int(experiment.loop.num_steps)
        ids = f"{steps * experiment.batch_size * experiment.data.context:,}"
    hours = "" if rate is None else f"{flops / rate / 3600:.2f}"
    state = "  done" if done else ""
    return f"{job.name:34}  {parameters:>10}  {ids:>10}  {flops:8.2g}  {hours:>5}{state}"
