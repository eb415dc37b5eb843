"""Folders -> the files in them that can be read as pictures (or clips)."""

import collections
import functools
import os
import pathlib
from collections.abc import Callable, Iterable

from absl import logging

from lvm_jax import file_kinds, file_names

_MOST_EXTENSIONS = 12


def list_images(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Every picture below a folder, in an order that is the same on every machine.

    Pictures are what Pillow reads: by extension, or by content where the extension is unknown or
    missing. Other files are passed over and counted in the log.

    Raises:
        ValueError: the folder does not exist, is not a folder, or holds no image.
    """
    paths, others = list_files(folder, file_kinds.is_image)
    if not paths:
        beside = f" (passed over {others})" if others else ""
        raise ValueError(
            f"image folder {os.fspath(folder)} holds no images{beside}; give a folder with files "
            "that Pillow reads, such as .jpg and .png"
        )
    return paths


def list_files(
    folder: str | os.PathLike, is_wanted: Callable[[pathlib.Path], bool]
) -> tuple[list[pathlib.Path], str]:
    """The files below a folder that are wanted, in the order of `list_images`, and the others.

    Hidden files and folders are left out; links are followed once.

    Args:
        folder: to look into.
        is_wanted: asked for every file.

    Returns:
        The files, and how many others there are of each extension, such as "3 .txt"; these are
        said in the log, once for each folder.

    Raises:
        ValueError: the folder does not exist, is not a folder, or has one that cannot be read.
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise ValueError(f"image folder {root} {state}; give a folder that holds images")
    wanted: list[pathlib.Path] = []
    others: list[pathlib.Path] = []
    for path in _walk(root):
        (wanted if is_wanted(path) else others).append(path)
    passed_over = _count(others)
    if passed_over:
        _say(os.fspath(root), passed_over)
    return sorted(wanted, key=lambda path: path.relative_to(root).as_posix()), passed_over


def _walk(root: pathlib.Path) -> Iterable[pathlib.Path]:
    def refuse(error: OSError) -> None:
        raise ValueError(
            f"image folder {error.filename} cannot be read: {error.strerror}"
        ) from error

    visited = set()
    for parent, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (pathlib.Path(parent, name) for name in files if not name.startswith("."))


def _count(paths: Iterable[pathlib.Path]) -> str:
    """Numbers of files by extension, the most frequent first."""
    counts = collections.Counter(map(file_kinds.extension, paths))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [
        f"{count:,} {file_names.shown(extension) or 'without extension'}"
        for extension, count in ordered[:_MOST_EXTENSIONS]
    ]
    rest = sum(count for _, count in ordered[_MOST_EXTENSIONS:])
    return ", ".join([*named, f"{rest:,} others"] if rest else named)


@functools.cache
def _say(folder: str, passed_over: str) -> None:
    """Once, however many sources list the folder."""
    logging.info("%s: passed over %s", file_names.shown(folder), passed_over)
