r"""The miniature of the paper's findings: trainings, their evaluation, tables and pictures of them.

  python tools/study.py --study=scaling,data,context,prompts --out=runs/study --parallel=2
  python tools/study.py --study=scaling --dry_run
  python tools/study.py --study=data --only='video_*,both_*'
  python tools/study.py --report

docs/study_plan.md says what is compared and why. Before the first run OUT needs tokenizer/ and
shards/all/train and held_out, and for `besides` shards/few10/train and few100/train, see
experiments/study/. Every run is one of tools/train.py with experiments/study/model.py; of each that
is finished RESULTS gets a file of some kilobytes, and those that have one are never made again.
Ctrl-C saves and stops all, the same command goes on; a run that fails is reported, and the others
go on. With --parallel=N each of N runs at a time has its share of the processors, which small
models use better than one run uses all.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

import cli
import experiment_files
from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from studies.plan import STUDIES

if TYPE_CHECKING:
    from studies.finishing import Places

experiment_files.make_importable()

_RESULTS = "experiments/results/study"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Where:
    """Where things are.

    Attributes:
        out: folder of tokenizer and shards; gets runs/, logs/ and what is computed once.
        corpus: of tools/prepare_uvd_mini.py; by default OUT/uvd_mini.
        results: folder of the files of results.
    """

    out: str = "runs/study"
    corpus: str | None = None
    results: str = _RESULTS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conduct(Where):
    """What is run.

    Attributes:
        study: which of scaling, data, context, prompts and besides (what tells the reasons of
            their answers apart); each needs the sweep of learning rates first.
        only: names of runs, * stands for any text; others are left out.
        parallel: runs at a time.
    """

    study: tuple[str, ...]
    only: tuple[str, ...] = ()
    parallel: int = 1

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "parallel")
        for name in self.study:
            if name not in STUDIES:
                raise ConfigError(Field("study"), f"={name} is none of {', '.join(STUDIES)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DryRun(Conduct):
    """What would be run.

    Attributes:
        dry_run: print a table of all runs and stop.
        rate: FLOPs per second of all runs together; by default that of the finished ones.
        rows: of an epoch of the corpus, where there are no shards yet.
    """

    dry_run: bool = False
    rate: float | None = None
    rows: int = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure(Where):
    """Which finished training is measured.

    Attributes:
        measure: name of its file of results; what the study does after each training.
    """

    measure: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeats:
    """Sentences that show every pair twice.

    Attributes:
        repeats: write shards and held_out_shards into OUT/repeats and OUT/shuffled, of those in
            OUT/shards/all.
        out: folder of tokenizer and shards.
    """

    repeats: bool = False
    out: str = "runs/study"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What the results say.

    Attributes:
        report: write RESULTS/report.md and its pictures, from the files of results alone.
        results: folder of the files of results.
    """

    report: bool = False
    results: str = _RESULTS


def places(options: Where) -> "Places":
    from studies.finishing import Places

    out = pathlib.Path(options.out)
    corpus = out / "uvd_mini" if options.corpus is None else pathlib.Path(options.corpus)
    return Places(out=out, corpus=corpus, results=pathlib.Path(options.results))


def run(options: Conduct) -> None:
    from studies import conductor, finishing

    where = places(options)
    corpus = finishing.Corpus.of(where.out)
    conducted = conductor.Conductor(options.study, options.only, where, corpus)
    number = conductor.conduct(conducted, options.parallel)
    if number:
        raise RuntimeError(
            f"{number} runs failed: {', '.join(conducted.failed)}; see {where.out / 'logs'}; "
            "the same command tries them again"
        )


def dry_run(options: DryRun) -> None:
    from studies import budget

    print(budget.table(options.study, options.only, places(options), options.rows, options.rate))


def measure(options: Measure) -> None:
    from studies import finishing
    from studies.plan import Job

    finishing.finish(Job.of(options.measure), places(options))


def repeats(options: Repeats) -> None:
    from studies import repeats

    for directory, number in repeats.write(pathlib.Path(options.out)).items():
        print(f"{directory}: {number:,} sentences")


def report(options: Report) -> None:
    from studies import reporting

    print(reporting.write(pathlib.Path(options.results)))


if __name__ == "__main__":
    modes = {"--dry_run": dry_run, "--measure": measure, "--repeats": repeats, "--report": report}
    cli.run({"a study": run, **modes})
