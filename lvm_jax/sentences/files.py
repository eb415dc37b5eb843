"""Folders -> named files, by key.

A key is a file's name relative to its folder, without extension (one that is unknown belongs to the
name). A folder may hold `*` for whole or partial folder names; what they stand for then comes first
in the key, so that `models/*/color` and `models/*/depth` give the same keys. Names that differ only
in how accents are composed are the same.
"""

import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from absl import logging

from lvm_jax import file_kinds, file_names, image_folders
from lvm_jax.configs import ConfigError, Field

T = TypeVar("T")
_MOST_NAMED = 3
_MOST_LOGGED = 1000


def require_folders(folders: Mapping[str, str]) -> None:
    """Refuses folders that are not given, and one that is given twice.

    Args:
        folders: field -> folder.

    Raises:
        configs.ConfigError: names the fields.
    """
    fields: dict[str, str] = {}
    for field, folder in folders.items():
        if not folder.strip():
            raise ConfigError(
                Field(field), f'={folder!r} names no folder; the working directory is "."'
            )
        other = fields.setdefault(os.path.realpath(folder), field)
        if other != field:
            raise ConfigError(
                Field(other),
                f"={folders[other]} and {field}={folder} are one folder, but must all differ; "
                "images are not their own annotations",
            )


def roots(folder: str | os.PathLike) -> list[tuple[str, pathlib.Path]]:
    """(beginning of its keys, folder) of every folder that `folder` stands for, sorted.

    Raises:
        ValueError: no folder matches the `*`.
    """
    places = [i for i, part in enumerate(pathlib.Path(folder).parts) if "*" in part]
    matches = [pathlib.Path(path) for path in file_names.expand(folder) if os.path.isdir(path)]
    if places and not matches:
        raise ValueError(f"image folder {folder}: no folder matches; check the path and its *")
    if not places:
        # Where there is none, whoever lists it says so.
        return [("", (matches or [pathlib.Path(folder)])[0])]
    return [("/".join(path.parts[i] for i in places) + "/", path) for path in matches]


def by_stem(folder: str | os.PathLike) -> dict[str, str]:
    """Key -> path of every image file below a folder, sorted by key.

    Raises:
        ValueError: no such folder, no image in it, or two files of one key.
    """
    paths: dict[str, str] = {}
    taken: dict[str, pathlib.Path] = {}
    for prefix, root in roots(folder):
        for path in image_folders.list_images(root):
            key = key_of(path, prefix, root)
            require_unique(taken, key, path, folder)
            paths[key] = path.as_posix()
    return dict(sorted(paths.items()))


def key_of(path: pathlib.Path, prefix: str, root: pathlib.Path) -> str:
    """The key of a file below one of `roots`."""
    return prefix + file_kinds.without_extension(path.relative_to(root).as_posix())


def require_unique(
    taken: dict[str, pathlib.Path], key: str, path: pathlib.Path, folder: str | os.PathLike
) -> None:
    """Refuses a key that another file has already; notes it otherwise.

    Args:
        taken: canonical key -> path, so far.
        key, path: of a file.
        folder: of all of them.
    """
    other = taken.setdefault(file_names.canonical(key), path)
    if other is path:
        return
    paths = [os.fspath(each) for each in (other, path)]
    names = {file_kinds.without_extension(each) for each in paths}
    if len(names) > 1 and len(set(map(file_names.canonical, names))) == 1:
        first, second = map(ascii, paths)
        both = f"{first} and {second} have one name, in which accents are composed in two ways"
    else:
        first, second = map(file_names.shown, paths)
        both = f"{first} and {second} share the name {key!r}"
    raise ValueError(f"{both}; names without extension must be unique in {os.fspath(folder)}")


def align(sides: Sequence[Mapping[str, T]]) -> list[dict[str, T]]:
    """Mappings by key -> the same, with one spelling of each key: that of the first to have it."""
    spelled: dict[str, str] = {}
    return [
        {spelled.setdefault(file_names.canonical(key), key): value for key, value in side.items()}
        for side in sides
    ]


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part[0].isdecimal() else (-1, part) for part in parts]


def named(texts: Sequence[str]) -> str:
    """The first few of many names, and how many more there are."""
    more = f" (and {len(texts) - _MOST_NAMED} more)" if len(texts) > _MOST_NAMED else ""
    return ", ".join(map(file_names.shown, texts[:_MOST_NAMED])) + more


def listed(heading: str, texts: Sequence[str]) -> str:
    """As `named`; where that does not name them all, the log does, one a line.

    Args:
        heading: begins the lines: the source, and what is wrong.
        texts: names.
    """
    if len(texts) > _MOST_NAMED:
        for text in texts[:_MOST_LOGGED]:
            logging.warning("%s: %s", heading, file_names.shown(text))
        if len(texts) > _MOST_LOGGED:
            logging.warning("%s: (and %d more)", heading, len(texts) - _MOST_LOGGED)
    return named(texts)
