"""Folders -> named files: keys, patterns, partners.

A key is a file's name relative to its folder, without extension. A folder may hold `*` for whole or
partial folder names; what they stand for then comes first in the key, so that `models/*/color` and
`models/*/depth` give the same keys.
"""

import fnmatch
import glob
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from absl import logging

from lvm_jax import images

_MOST_NAMED = 3
_MOST_LOGGED = 1000


def require_folders(name: str, folders: Mapping[str, str]) -> None:
    """Refuses folders that are not given, and one that is given twice.

    Args:
        name: of the source.
        folders: field -> folder.

    Raises:
        ValueError: names the fields.
    """
    fields: dict[str, str] = {}
    for field, folder in folders.items():
        if not folder.strip():
            raise ValueError(
                f'{name}.{field}={folder!r} names no folder; the working directory is "."'
            )
        other = fields.setdefault(os.path.realpath(folder), field)
        if other != field:
            raise ValueError(
                f"{name}: {other}={folders[other]} and {field}={folder} are one folder, but must "
                "all differ; images are not their own annotations"
            )


def roots(folder: str | os.PathLike) -> list[tuple[str, pathlib.Path]]:
    """(beginning of its keys, folder) of every folder that `folder` stands for, sorted.

    Raises:
        ValueError: no folder matches the `*`.
    """
    folder = os.fspath(folder)
    if "*" not in folder:
        return [("", pathlib.Path(folder))]
    places = [i for i, part in enumerate(pathlib.Path(folder).parts) if "*" in part]
    found = []
    for path in map(pathlib.Path, sorted(glob.glob(folder))):
        if path.is_dir():
            found.append(("/".join(path.parts[i] for i in places) + "/", path))
    if not found:
        raise ValueError(f"image folder {folder}: no folder matches; check the path and its *")
    return found


def by_stem(folder: str | os.PathLike) -> dict[str, str]:
    """Key -> path of every image file below a folder, sorted by key.

    Raises:
        ValueError: no such folder, no image in it, or two files of one key.
    """
    found: dict[str, str] = {}
    for prefix, root in roots(folder):
        for path in images.list_images(root):
            key = prefix + path.relative_to(root).with_suffix("").as_posix()
            add_unique(found, key, path, folder)
    return dict(sorted(found.items()))


def add_unique(
    found: dict[str, str], key: str, path: pathlib.Path, folder: str | os.PathLike
) -> None:
    """Adds key -> path; refuses a key that is there already."""
    if key in found:
        raise ValueError(
            f"{found[key]} and {path} share the name {key!r}; names without extension must be "
            f"unique in {os.fspath(folder)}"
        )
    found[key] = path.as_posix()


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part[0].isdecimal() else (-1, part) for part in parts]


def select(
    keys: Iterable[str],
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    name: str,
    folder: str,
) -> list[str]:
    """The keys that match one of `include` (all if empty) and none of `exclude`, sorted.

    Raises:
        ValueError: a pattern that matches nothing, or nothing left; `name` is the source's.
    """
    keys = sorted(keys)
    for field, patterns in {"include": include, "exclude": exclude}.items():
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(key, pattern) for key in keys):
                raise ValueError(
                    f"{name}.{field}: pattern {pattern!r} matches no image in {folder}; patterns "
                    f"match names without extension, such as {keys[0]!r}"
                )
    kept = [
        key
        for key in keys
        if (not include or _matches(key, include)) and not _matches(key, exclude)
    ]
    if not kept:
        raise ValueError(
            f"{name}: include and exclude leave no image of the {len(keys)} in {folder}"
        )
    return kept


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def named(texts: Sequence[str]) -> str:
    """The first few of many names, and how many more there are."""
    more = f" (and {len(texts) - _MOST_NAMED} more)" if len(texts) > _MOST_NAMED else ""
    return ", ".join(texts[:_MOST_NAMED]) + more


def listed(heading: str, texts: Sequence[str]) -> str:
    """As `named`; where that does not name them all, the log does, one a line.

    Args:
        heading: begins the lines: the source, and what is wrong.
        texts: names.
    """
    if len(texts) > _MOST_NAMED:
        for text in texts[:_MOST_LOGGED]:
            logging.warning("%s: %s", heading, text)
        if len(texts) > _MOST_LOGGED:
            logging.warning("%s: (and %d more)", heading, len(texts) - _MOST_LOGGED)
    return named(texts)


def require_partners(
    name: str, keys: Sequence[str], sides: Mapping[str, tuple[str, Mapping[str, str]]]
) -> None:
    """Refuses keys that are missing on a side.

    Args:
        name: of the source.
        keys: those that are used.
        sides: what a file of that side is called -> (its folder, key -> path).

    Raises:
        ValueError: names the files without a partner.
    """
    alone = []
    for what, (_, found) in sides.items():
        others = [other for _, other in sides.values() if other is not found]
        for key in keys:
            if key not in found:
                path = next(other[key] for other in others if key in other)
                alone.append(f"{path} has no {what}")
    if alone:
        first, *rest = [folder for folder, _ in sides.values()]
        raise ValueError(
            f"{name}: {listed(name, alone)}; every image in {first} needs a file of the same name "
            f"in {' and '.join(rest)} and the other way round: add the missing ones or list the "
            f"others in {name}.exclude"
        )
