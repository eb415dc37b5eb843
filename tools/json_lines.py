"""Files of one JSON object a line, as the tools take them."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any


def read(path: str | pathlib.Path) -> list[tuple[str, dict[str, Any]]]:
    """Reads all objects of a file; empty lines are skipped.

    Returns:
        (where, object) pairs, where = "FILE line N" for messages.

    Raises:
        ValueError: no such file, no object in it, or a line that is none; names file and line.
    """
    try:
        # Some editors begin a file with a byte order mark.
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    objects = []
    # Not splitlines: a string of JSON may hold U+2028 and others, at which that would split.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a JSON object in braces, not {line.strip()[:60]}")
        objects.append((where, value))
    if not objects:
        raise ValueError(f"{path} has no lines")
    return objects


def paths(values: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A list of one or more existing files from an object.

    Raises:
        ValueError: the key is missing, is no list of paths, or a file is missing.
    """
    names = values.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ValueError(f'{where}: "{key}" must be a list of one or more image files')
    require_files(names, where)
    return tuple(names)


def require_files(names: Sequence[str], where: str) -> None:
    """Raises ValueError for the first file that does not exist."""
    for name in names:
        if not pathlib.Path(name).is_file():
            raise ValueError(f"{where}: no file {name}")
