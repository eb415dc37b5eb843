"""Weights in several files: which they are, by an index or by their numbered names."""

import json
import pathlib
import re

from lvm_jax import configs

SUFFIX = ".index.json"
_NUMBERED = re.compile(r"(.+)-(\d{5,})-of-(\d{5,})(\.safetensors|\.bin)")


def read(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """The index of a folder of shards: name of an array -> the file that it is in.

    Raises:
        ValueError: it is no index, or names a file that is not beside it.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{path} is no index of weights: it has no weight_map; copy it again")
    for name, file in files.items():
        if not isinstance(file, str) or pathlib.PurePath(file).name != file:
            raise ValueError(f"{path} says that {name} is in {file!r}, which is no file's name")
    absent = sorted({file for file in files.values() if not (path.parent / file).is_file()})
    if absent:
        first = next(name for name, file in files.items() if file == absent[0])
        raise ValueError(
            f"{path} names {len(absent)} files that are not there: {_named(absent)} (of {first} "
            "and others); copy them, too"
        )
    return {name: path.parent / file for name, file in files.items()}


def numbered(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files called NAME-00001-of-00003.safetensors and so on, of which none is missing.

    Raises:
        ValueError: some are missing, or they belong to several wholes.
    """
    matches = [match for file in folder.iterdir() if (match := _NUMBERED.fullmatch(file.name))]
    wholes = {(match[1], match[3], match[4]) for match in matches}
    if not wholes:
        return []
    if len(wholes) > 1:
        raise ValueError(f"{folder} holds shards of {len(wholes)} models; name an index file")
    ((stem, count, suffix),) = wholes
    digits = len(count)
    names = [f"{stem}-{n:0{digits}d}-of-{count}{suffix}" for n in range(1, int(count) + 1)]
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise ValueError(f"{folder} lacks {len(absent)} shards: {_named(absent)}; copy them, too")
    return [folder / name for name in names]


def _named(absent: list[str]) -> str:
    return ", ".join(configs.first_few(absent, 3))
