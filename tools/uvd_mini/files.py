"""Pictures written whole or not at all.

A file is made under OUT/.partial and renamed into place, so that a kill at any moment leaves
nothing half-written under a final name, and what exists need not be made again.
"""

import errno
import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import IO

import numpy as np
from PIL import Image

from lvm_jax import atomic

SIZE = 128
PARTIAL = ".partial"


class DiskFullError(OSError):
    """The disk is full: nothing under a final name is half-written."""


def lock(out: pathlib.Path) -> IO:
    """Keeps other runs away from OUT for as long as what it returns stays open.

    Raises:
        ValueError: another run is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = (out / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ValueError(f"--out={out}: another run is at work there; wait for it") from error
    return file


def clear_partial(out: pathlib.Path) -> None:
    """Removes what a killed run left half-made."""
    shutil.rmtree(out / PARTIAL, ignore_errors=True)
    (out / PARTIAL).mkdir(parents=True, exist_ok=True)


def place(out: pathlib.Path, relative: str, make: Callable[[pathlib.Path], object]) -> None:
    """Makes a file or folder and renames it to OUT/relative.

    Args:
        out: the corpus.
        relative: where it belongs.
        make: writes it to the path that it is given.

    Raises:
        DiskFullError: no room; what was written so far is removed.
        atomic.WriteError: for every other OSError.
    """
    partial = out / PARTIAL / f"{os.getpid()}-{relative.replace('/', '~')}"
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic.writing(out / relative, parents=True, partial=partial):
            make(partial)
    except atomic.WriteError as error:
        shutil.rmtree(partial, ignore_errors=True)  # a folder, which `atomic` leaves
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no room for {out / relative}: free space and start the same command again; it "
                "goes on where it stopped"
            ) from error
        raise


def write_png(out: pathlib.Path, relative: str, picture: np.ndarray) -> None:
    """Writes a picture, uint8 [H, W, 3], to OUT/relative."""
    place(out, relative, lambda path: save_png(path, picture))


def save_png(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes a picture, uint8 [H, W, 3] or [H, W], as an RGB file."""
    assert picture.dtype == np.uint8, picture.dtype
    Image.fromarray(picture).convert("RGB").save(path, format="PNG")


def link(out: pathlib.Path, source: str, target: str) -> None:
    """Gives OUT/source a second name OUT/target; a copy where the file system has no links."""

    def make(path: pathlib.Path) -> None:
        try:
            os.link(out / source, path)
        except OSError:
            shutil.copyfile(out / source, path)

    place(out, target, make)


def over_white(picture: Image.Image) -> np.ndarray:
    """A picture with transparency on white paper: uint8 [H, W, 3]."""
    rgba = picture.convert("RGBA")
    paper = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(paper, rgba).convert("RGB"))


def resized(picture: np.ndarray, size: int = SIZE) -> np.ndarray:
    """A square picture at another size: uint8 [H, W, 3] -> uint8 [size, size, 3]."""
    if picture.shape[:2] == (size, size):
        return picture
    image = Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)
