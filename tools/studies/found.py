"""What there is of the study: files of results, sorted for those who look at them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from studies import choice, orderings, plan, results
from studies.results import Results


class Found:
    """What there is.

    Attributes:
        c: the chosen one; None while there is none.
        grid: those that are tried.
        results: name -> results.
        missing: names of jobs without.
    """

    def __init__(self, found: Mapping[str, Results], c: float | None):
        self.c, self.results = c, dict(found)
        self.grid = choice.grid(found)
        jobs = plan.jobs(plan.STUDIES, c, self.grid)
        self.missing = tuple(job.name for job in jobs if job.name not in found)

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Found":
        """All files of a folder."""
        found = results.read(folder)
        return cls(found, choice.known(folder, found))

    def runs(self, mixture: str, size: str) -> list[Results]:
        """Those of all seeds that are finished."""
        return self._of("", mixture, size)

    def of_context(self, size: str) -> list[Results]:
        """Evaluations of context of all seeds that are finished."""
        return self._of("context_", "all", size)

    def of_prompts(self, size: str) -> list[Results]:
        """Evaluations of prompts of all seeds that are finished."""
        return self._of("prompts_", "all", size)

    def _of(self, prefix: str, mixture: str, size: str) -> list[Results]:
        seeds = plan.SEEDS[size]
        runs = [plan.Run(mixture=mixture, size=size, c=self.c, seed=seed) for seed in seeds]
        names = [f"{prefix}{run.name}" for run in runs]
        return [self.results[name] for name in names if name in self.results]

    def besides(self) -> list[plan.Run]:
        """The runs that tell reasons apart."""
        return [dataclasses.replace(run, c=self.c) for run in plan.BESIDES]

    def rare(self) -> dict[plan.Run, Results]:
        """Runs on fewer annotated sentences, the fewest last, after those of their size on all.

        Nothing while there are none with fewer.
        """
        besides = self.besides()
        size = next(run.size for run in besides if run.few > 1)
        plain = plan.Run(mixture="all", size=size, c=self.c, seed=0)
        alone = [run for run in besides if (run.mixture, run.size) == ("annotations", size)]
        beside = [run for run in besides if run.mixture == "all" and run.few > 1]
        asked = sorted([plain, *alone, *beside], key=lambda run: run.few)
        known = {run: self.results[run.name] for run in asked if run.name in self.results}
        return known if any(run.few > 1 for run in known) else {}

    def gain(self, task: str, size: str, worse: Results, better: Results) -> orderings.Step:
        """What one run of a size gains over another; the seeds of `all` say how far it is luck."""
        deviation = orderings.seeds_deviation([of_task(self.sizes(), task)[size]])
        pair = {name: [run["evaluations"][task]] for name, run in (("a", worse), ("b", better))}
        (step,) = orderings.of_runs(task, pair, deviation).steps
        return step

    def copies(self) -> dict[str, Results]:
        """What was trained, such as "all_s" -> how well it copies; the smallest size first."""
        jobs = [plan.Job.of(name) for name in self.results]
        asked = [job for job in jobs if job.kind == "copies"]
        asked.sort(key=lambda job: (job.run.mixture, plan.SIZES.index(job.run.size)))
        return {f"{j.run.mixture}_{j.run.size}": self.results[j.name] for j in asked}

    def sizes(self) -> dict[str, list[Results]]:
        """Size -> scaling runs."""
        return {size: self.runs("all", size) for size in plan.SIZES}

    def mixtures(self) -> dict[str, list[Results]]:
        """Mixture -> data runs."""
        return {mixture: self.runs(mixture, plan.SIZE_OF_DATA) for mixture in plan.MIXTURES}


def of_task(groups: Mapping[str, Sequence[Results]], task: str) -> dict[str, list[Results]]:
    """Evaluations of a task, by group."""
    return {name: [run["evaluations"][task] for run in runs] for name, runs in groups.items()}
