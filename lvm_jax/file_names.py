"""Names of files: as bytes, compared, matched by patterns, found and shown.

A file system holds names of any bytes, and Python spells those that are no UTF-8 with lone
surrogates (PEP 383). Some systems compose accents (NFC), others take them apart (NFD): two
spellings of one name here. The only sign with a meaning in patterns is `*`.
"""

import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Sequence


def to_bytes(text: str) -> bytes:
    """UTF-8, with the very bytes of names that are none; `from_bytes` gives the text back."""
    return text.encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    """The inverse of `to_bytes`; any bytes."""
    return data.decode("utf-8", "surrogateescape")


def canonical(name: str) -> str:
    """The same for names that differ only in how accents are composed."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def counted(name: str) -> list[tuple[int, str]]:
    """A key that orders names by the numbers in them: 2.png before 10.png."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def shown(name: str) -> str:
    """A name on one line of printable signs: line ends, lone surrogates and the like escaped."""
    if name.isprintable():
        return name
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


def matches(name: str, pattern: str) -> bool:
    """Whether a name is what a pattern says, in which `*` stands for any text, also for none."""
    name = canonical(name)
    first, *middle = canonical(pattern).split("*")
    if not middle:
        return name == first
    *middle, last = middle
    if len(name) < len(first) + len(last):
        return False
    if not (name.startswith(first) and name.endswith(last)):
        return False
    place, end = len(first), len(name) - len(last)
    for part in middle:
        place = name.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return True


class Patterns:
    """Several patterns, as `matches` reads them; `name in patterns` if any matches.

    Those without a `*` are looked up, however many there are.
    """

    def __init__(self, patterns: Iterable[str]):
        patterns = list(patterns)
        self._names = {canonical(pattern) for pattern in patterns if "*" not in pattern}
        self._others = [pattern for pattern in patterns if "*" in pattern]

    def __contains__(self, name: str) -> bool:
        return canonical(name) in self._names or any(
            matches(name, pattern) for pattern in self._others
        )


def below_their_folder(lists: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Paths of several lists, from the deepest folder that holds all of them.

    Args:
        lists: of paths, one at least.
    """
    whole = [[os.path.abspath(path) for path in paths] for paths in lists]
    common = os.path.commonpath([os.path.dirname(path) for paths in whole for path in paths])
    return [tuple(os.path.relpath(path, common) for path in paths) for paths in whole]


def expand(pattern: str | os.PathLike) -> list[str]:
    """The files and folders that a path stands for, sorted; `*` is text within one name.

    As in a shell, a `*` that begins a name finds no hidden ones. A name that does not exist as it
    is spelled finds the one whose accents are composed in the other way.
    """
    path = pathlib.Path(pattern)
    paths = [path.anchor]
    for part in path.parts[bool(path.anchor) :]:
        paths = [os.path.join(parent, name) for parent in paths for name in _names(parent, part)]
    return sorted(paths)


def _names(parent: str, part: str) -> list[str]:
    if "*" not in part and os.path.lexists(os.path.join(parent, part)):
        return [part]
    try:
        names = os.listdir(parent or ".")
    except OSError:
        return []  # no folder, or one that nobody may look into
    return [
        name
        for name in names
        if matches(name, part) and (part.startswith(".") or not name.startswith("."))
    ]
