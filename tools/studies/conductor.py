"""Runs what is missing of the study, and says how far it is."""

import dataclasses
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from absl import logging

from experiment_files import ROOT
from lvm_jax import progress_bar
from lvm_jax.training import metrics, stopping
from studies import choice, plan, results
from studies.finishing import Corpus, Places
from studies.plan import Job, Run
from studies.pool import Ended, Pool, Stop, python

_LOOK_SECONDS = 2.0
_SHOW_SECONDS = 60.0  # between lines of a log file; a terminal has its line renewed more often


@dataclasses.dataclass
class Conductor:
    """The study while it runs.

    Attributes:
        studies: which.
        only: patterns of names; empty for all.
        places: where things are.
        corpus: what is trained on.
        failed: name -> why, of this start.
    """

    studies: Collection[str]
    only: Sequence[str]
    places: Places
    corpus: Corpus
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    _flops: dict[str, float] = dataclasses.field(default_factory=dict)
    _steps: dict[Run, int] = dataclasses.field(default_factory=dict)

    def jobs(self, found: Mapping[str, results.Results]) -> list[Job]:
        """All that is asked for, with the c that is known by now, of what is finished."""
        c = choice.known(self.places.results, found, self.failed)
        grid = choice.grid(found, self.failed)
        return plan.matching(plan.jobs(self.studies, c, grid), self.only)

    def found(self) -> dict[str, results.Results]:
        """Name -> results of what is finished."""
        return results.read(self.places.results)

    def next(self, running: Collection[str]) -> Job | None:
        """What to begin now: the first job that is missing and has what it needs."""
        found = self.found()
        for job in self.jobs(found):
            begun = job.name in found or job.name in running or job.name in self.failed
            if not begun and job.run.c is not None and all(n in found for n in job.needs):
                return job
        return None

    def commands(self, job: Job) -> list[list[str]]:
        """What gives the results of a job."""
        places = self.places
        measured = python(
            "study.py",
            f"--measure={job.name}",
            *(f"--out={places.out}", f"--corpus={places.corpus}", f"--results={places.results}"),
        )
        if job.kind != "run":
            return [measured]
        given = job.run.config(str(places.out), self.steps(job.run), self.corpus.codes)
        workdir = places.workdir(job.run)
        trained = python("train.py", f"--config={ROOT / given}", f"--workdir={workdir}")
        return [trained, measured]

    def steps(self, run: Run) -> int:
        """Updates of a training."""
        if run not in self._steps:
            self._steps[run] = self.corpus.steps_of(run, self.places.out)
        return self._steps[run]

    def flops(self, job: Job) -> float:
        """Of a whole job."""
        if job.name not in self._flops:
            self._flops[job.name] = self.corpus.flops(job, self.places.out)
        return self._flops[job.name]

    def flops_done(self, job: Job, found: Collection[str]) -> float:
        """Of what is done of it."""
        if job.name in found:
            return self.flops(job)
        if job.kind != "run" or job.run.c is None:
            return 0.0
        lines = metrics.read_metrics(self.places.workdir(job.run))
        return self.flops(job) * lines[-1]["step"] / self.steps(job.run) if lines else 0.0


def conduct(conductor: Conductor, parallel: int) -> int:
    """Runs all that is missing.

    Args:
        conductor: of the study.
        parallel: how many jobs at a time.

    Returns:
        How many jobs have failed.

    Raises:
        stopping.RunStoppedError: a signal to stop arrived; the runs have saved.
    """
    out = conductor.places.out
    environment = {"JAX_COMPILATION_CACHE_DIR": str(out / "compiled")}
    pool = Pool(parallel, out / "logs", environment)
    with Stop() as stop, _Progress(conductor) as progress:
        try:
            while stop.received is None:
                while pool.has_room:
                    job = conductor.next([task.name for task in pool.running])
                    if job is None:
                        break
                    logging.info("begins: %s", job.name)
                    pool.begin(job.name, conductor.commands(job))
                if not pool.running:
                    break
                progress.show([task.name for task in pool.running])
                stop.wait(_LOOK_SECONDS)
                for end in pool.ended():
                    _note(end, conductor, stop)
        finally:
            pool.stop()
        if stop.received is not None:
            raise stopping.RunStoppedError(
                f"stopped by {stop.received.name}; the same command goes on", stop.received.value
            )
    return len(conductor.failed)


def _note(end: Ended, conductor: Conductor, stop: Stop) -> None:
    if end.code == 0 and end.name in conductor.found():
        logging.info("done: %s", end.name)
    elif stop.received is None:
        # What ends well without results would be begun for ever.
        conductor.failed[end.name] = end.reason or "it ended without results"
        message = "failed: %s (exit code %d): %s"
        logging.warning(message, end.name, end.code, conductor.failed[end.name])


class _Progress:
    """FLOPs of the whole study, done and left, and the time that they take at the rate so far."""

    def __init__(self, conductor: Conductor):
        self._conductor = conductor
        done, total = self._sums()[:2]
        self._every = _LOOK_SECONDS if sys.stderr.isatty() else _SHOW_SECONDS
        self._shown = time.monotonic()
        self._bar = progress_bar.Bar(
            total=total, initial=done, unit="FLOP", unit_scale=True, smoothing=0.0
        )

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()

    def _sums(self) -> tuple[float, float, int, int]:
        """FLOPs done and in all, jobs done and in all."""
        found = self._conductor.found()
        jobs = self._conductor.jobs(found)
        done = sum(self._conductor.flops_done(job, found) for job in jobs)
        total = sum(map(self._conductor.flops, jobs))
        return done, total, sum(job.name in found for job in jobs), len(jobs)

    def show(self, running: Sequence[str]) -> None:
        """How far the study is, if it is time to say so."""
        if time.monotonic() - self._shown < self._every:
            return
        self._shown = time.monotonic()
        self._bar.n, self._bar.total, finished, number = self._sums()
        self._bar.set_description(f"{finished} of {number} runs", refresh=False)
        self._bar.set_postfix_str(", ".join(running), refresh=False)
        self._bar.refresh()
