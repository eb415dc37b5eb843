"""What a run goes back to: its newest checkpoint that is whole."""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
from absl import logging

from lvm_jax.storage import paths
from lvm_jax.training import checksums, processes
from lvm_jax.training.workdir import FOLDER, steps

# Of every checkpoint, also of one from before there were checksums.
_ALWAYS_THERE = ("_CHECKPOINT_METADATA", "state/_METADATA", "config/metadata")
HAS_CHECKSUMS = "has_checksums"
"""Stands in the metadata of a checkpoint that has checksums: tells when they are missing."""


@dataclasses.dataclass(frozen=True)
class Newest:
    """The newest whole checkpoint, if any, and what is wrong with each newer one, by step."""

    step: int | None
    damaged: Mapping[int, str]


def find_damage(
    folder: pathlib.Path, *, sizes_only: bool = False, share: tuple[int, int] = (0, 1)
) -> str | None:
    """What is wrong with a checkpoint; None when nothing is, as far as can be said.

    A checkpoint without checksums, of an earlier version, has only its most important files looked
    for. Arguments as in `checksums.find_damage`.
    """
    if not any(folder.glob("*")):
        return "its folder is empty"
    if (folder / checksums.FILE).exists():
        return checksums.find_damage(folder, sizes_only=sizes_only, share=share)
    for name in _ALWAYS_THERE:
        if not (folder / name).is_file():
            return f"{name} is missing"
    if HAS_CHECKSUMS in (folder / _ALWAYS_THERE[0]).read_text(errors="replace"):
        return f"{checksums.FILE} is missing"
    return None


def newest_whole(workdir: pathlib.Path, *, together: bool = False) -> Newest:
    """Reads the checkpoints of a run, the newest first, until one is whole.

    Args:
        workdir: a training directory.
        together: every process of the run calls this at once. Each reads a share of the files, and
            all find the same.

    Raises:
        ValueError: there are checkpoints and none is whole; says what is wrong with each.
    """
    folder, damaged = paths.path(workdir) / FOLDER, {}
    for step in sorted(steps(workdir), reverse=True):
        if together:
            share = (jax.process_index(), jax.process_count())
            texts = processes.gather(find_damage(folder / str(step), share=share) or "")
            damage = next(filter(None, texts), None)
        else:
            damage = find_damage(folder / str(step))
        if damage is None:
            if not (folder / str(step) / checksums.FILE).exists():
                logging.info("%s has no checksums: damage may show only later", folder / str(step))
            return Newest(step, damaged)
        damaged[step] = damage
    if damaged:
        raise ValueError(
            f"no checkpoint in {folder} is whole: {_listed(damaged)}; restore one from a copy, or "
            "remove that folder to start over"
        )
    return Newest(None, damaged)


def warn(workdir: pathlib.Path, newest: Newest, doing: str) -> None:
    """Says which checkpoints were passed over, and why, in one line."""
    if newest.damaged:
        logging.warning(
            "%s: not whole: %s; %s step %s instead",
            paths.path(workdir) / FOLDER,
            *(_listed(newest.damaged), doing, newest.step),
        )


def set_aside(workdir: pathlib.Path, newest: Newest) -> None:
    """Renames damaged checkpoints to STEP.damaged, so that their steps can be saved again.

    Every process of the run calls this; it returns when the checkpoints have their new names.
    """
    if not newest.damaged:
        return
    folder = paths.path(workdir) / FOLDER
    if jax.process_index() == 0:
        for step in newest.damaged:
            names = (f"{step}.damaged{n}" for n in ("", *(f"-{i}" for i in range(2, 10**6))))
            free = next(folder / name for name in names if not (folder / name).exists())
            (folder / str(step)).rename(free)
            logging.warning("kept the damaged checkpoint as %s; remove it when you like", free)
    processes.gather("")


def _listed(damaged: Mapping[int, str]) -> str:
    return "; ".join(f"step {step} ({damage})" for step, damage in damaged.items())
