"""What the study consists of: trainings and evaluations of finished ones, in the order of use.

After the sweep come a seed of everything, then the next seed: stopped at any moment, the study has
answered its questions as well as the time allowed. What tells the reasons of its answers apart
(`BESIDES`) is of the first seed.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, get_args

Study = Literal["scaling", "data", "context", "prompts", "besides"]
STUDIES: tuple[Study, ...] = get_args(Study)
Kind = Literal["run", "context", "prompts", "copies"]

GRID = (0.32, 0.64, 0.16, 1.28)  # of c, the likely ones first
MOST_TRIED = 6  # where the best is at an end, further ones are tried
SWEPT = ("xs", "s")
SIZES = ("xs", "s", "m", "l")
SEEDS = {"xs": (0, 1, 2), "s": (0, 1, 2), "m": (0, 1, 2), "l": (0,)}
MIXTURES = ("video", "annotations", "both", "all")
SIZE_OF_DATA = "s"
FEW = (10, 100)
"""Of so many annotated sentences one is there where they are rare."""
EVALUATED = ("l", "m")
"""Sizes whose context and prompts are looked at."""
LATER: tuple[Kind, ...] = ("context", "prompts", "copies")
"""What is measured of finished runs, each by a job of its own."""

TASKS = {
    "emoji_mask": "segmentation",
    "depth": "depth",
    "normals": "normals",
    "emoji_edges": "edges",
}
"""Tasks of UVD-mini -> the paper's four."""
VIDEOS = ("animation", "turntable")
SHOTS = 5
FRAMES_BEFORE = (1, 3, 7, 11, 15)
PAIRS_BEFORE = tuple(range(8))
NUM_PROMPTS = 128
TIMES_SHOWN = (1, 3, 7, 15)
SHOTS_SHOWN = (0, 1, 5)
"""How often what is asked for was shown before, as a picture and as a pair; see `measure`."""


def lengths(kind: Kind) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What "context" and "copies" are asked after: numbers of pairs, and of frames."""
    return (SHOTS_SHOWN, TIMES_SHOWN) if kind == "copies" else (PAIRS_BEFORE, FRAMES_BEFORE)


_NAME = re.compile(
    r"(?P<mixture>[a-z_]+)_(?P<size>[a-z]+)_c(?P<c>[0-9.]+|\?)_seed(?P<seed>[0-9]+)"
    r"(_few(?P<few>[0-9]+))?(_(?P<packing>stream))?(_passes(?P<passes>[0-9]+))?"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A training of experiments/study/model.py.

    Attributes:
        mixture, size, seed: its arguments.
        c: of the learning rate, c / width; None while the sweep has not chosen it.
        few: of so many annotated sentences of the corpus one is there.
        packing: of rows, see `DataConfig`.
        passes: epochs of its own mixture; None has as many steps as one of `all`.
    """

    mixture: str
    size: str
    c: float | None
    seed: int
    few: int = 1
    packing: str = "sentence"
    passes: int | None = None

    @property
    def name(self) -> str:
        """Of its directory and of its file of results."""
        c = "?" if self.c is None else f"{self.c:g}"
        few = "" if self.few == 1 else f"_few{self.few}"
        packing = "" if self.packing == "sentence" else f"_{self.packing}"
        passes = "" if self.passes is None else f"_passes{self.passes}"
        return f"{self.mixture}_{self.size}_c{c}_seed{self.seed}{few}{packing}{passes}"

    @property
    def beside_all(self) -> "Run":
        """The run on everything else too, with as many steps as one of `all`."""
        return dataclasses.replace(self, mixture="all", passes=None)

    @classmethod
    def of(cls, name: str) -> "Run":
        """The run of a name.

        Raises:
            ValueError: it is none.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"{name!r} names no run; a name is such as all_s_c0.64_seed0: "
                "mixture, size, c and seed"
            )
        return cls(
            mixture=match["mixture"],
            size=match["size"],
            c=None if match["c"] == "?" else float(match["c"]),
            seed=int(match["seed"]),
            few=int(match["few"] or 1),
            packing=match["packing"] or "sentence",
            passes=None if match["passes"] is None else int(match["passes"]),
        )

    def config(self, root: str, steps: int, codes: int) -> str:
        """What --config names, from the root of the checkout.

        Args:
            root: folder of shards and tokenizer.
            steps: 0 for one epoch.
            codes: of the tokenizer.
        """
        given = f"size={self.size},mixture={self.mixture},c={self.c or 1:g},seed={self.seed}"
        given += f",few={self.few},packing={self.packing}"
        given += f",root={root},steps={steps},codes={codes}"
        return f"experiments/study/model.py:{given}"


BESIDES = (
    # Whether more of it, or less beside it, makes annotations alone better.
    Run(mixture="annotations", size="s", c=None, seed=0, passes=1),
    # Whether the order of mixtures changes with size.
    Run(mixture="annotations", size="xs", c=None, seed=0),
    # What masks between sentences do.
    Run(mixture="all", size="xs", c=None, seed=0, packing="stream"),
    # What a size learns of the same data when it sees them longer.
    Run(mixture="all", size="xs", c=None, seed=0, passes=3),
    # Whether other pictures help where annotations are rare.
    *(
        Run(mixture=mixture, size="xs", c=None, seed=0, few=few)
        for few in FEW
        for mixture in ("annotations", "all")
    ),
    # As often as they are seen beside all else: 1.0, 3.1 and 4.0 times.
    Run(mixture="annotations", size="xs", c=None, seed=0, passes=1),
    Run(mixture="annotations", size="xs", c=None, seed=0, few=10, passes=3),
    Run(mixture="annotations", size="xs", c=None, seed=0, few=100, passes=4),
    # The rarest are seen 130 times in as many steps; fewer steps may be better.
    Run(mixture="annotations", size="xs", c=None, seed=0, few=100, passes=16),
    Run(mixture="annotations", size="xs", c=None, seed=0, few=100, passes=40),
)
"""Runs that tell reasons apart; c is the chosen one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What gives one file of results.

    Attributes:
        kind: "run" trains and measures; the others measure what was trained before.
        run: which.
    """

    kind: Kind
    run: Run

    @property
    def name(self) -> str:
        """Of the file of results."""
        return self.run.name if self.kind == "run" else f"{self.kind}_{self.run.name}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the results without which it cannot begin."""
        return () if self.kind == "run" else (self.run.name,)

    @classmethod
    def of(cls, name: str) -> "Job":
        """The job of a name; raises ValueError if it is none."""
        for kind in LATER:
            if name.startswith(f"{kind}_"):
                return cls(kind=kind, run=Run.of(name.removeprefix(f"{kind}_")))
        return cls(kind="run", run=Run.of(name))


def sweep(grid: Sequence[float] = GRID) -> list[Run]:
    """The runs that choose c among those of a grid, see `choice.grid`."""
    return [Run(mixture="all", size=size, c=c, seed=0) for size in SWEPT for c in grid]


def jobs(studies: Collection[str], c: float | None, grid: Sequence[float] = GRID) -> list[Job]:
    """All jobs of some studies in the order in which they are begun.

    Args:
        studies: which; every one needs the sweep first.
        c: what the sweep chose; None while it has not, and runs of the sweep then stand for those
            that it will choose among them.
        grid: of the sweep.
    """
    ordered = [Job(kind="run", run=run) for run in sweep(grid)]
    for seed in range(max(map(len, SEEDS.values()))):
        ordered += _of_seed(studies, c, seed)
    return list({job.name: job for job in ordered}.values())


def _of_seed(studies: Collection[str], c: float | None, seed: int) -> Iterator[Job]:
    make = lambda mixture, size: Run(mixture=mixture, size=size, c=c, seed=seed)
    besides = "besides" in studies and seed == 0
    evaluated = [kind for kind in LATER if kind in studies]
    for size in SIZES:
        if seed not in SEEDS[size] or (c is None and seed == 0 and size in SWEPT):
            continue
        of_data = "data" in studies and size == SIZE_OF_DATA
        if "scaling" in studies or of_data or besides or (evaluated and size in EVALUATED):
            yield Job(kind="run", run=make("all", size))
    if "data" in studies:
        for mixture in MIXTURES:
            if mixture != "all":
                yield Job(kind="run", run=make(mixture, SIZE_OF_DATA))
    for size in EVALUATED:
        if seed in SEEDS[size]:
            for kind in evaluated:
                yield Job(kind=kind, run=make("all", size))
    if besides:
        yield Job(kind="run", run=make("annotations", SIZE_OF_DATA))
        for size in SIZES:
            yield Job(kind="copies", run=make("all", size))
        for run in BESIDES:
            yield Job(kind="run", run=dataclasses.replace(run, c=c))


def matching(jobs: Sequence[Job], patterns: Sequence[str]) -> list[Job]:
    """Those whose names match one of the patterns, such as "all_m_*"; all where there is none."""
    if not patterns:
        return list(jobs)
    return [job for job in jobs if any(fnmatch.fnmatchcase(job.name, p) for p in patterns)]
