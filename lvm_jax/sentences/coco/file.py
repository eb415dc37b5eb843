"""Files in the form of COCO: pictures, what is in them, and their classes.

One JSON file lists pictures (`images`), what is in them (`annotations`) and its classes
(`categories`).
"""

import collections
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from lvm_jax import file_kinds, file_names

_SIZES = {"height": int, "width": int}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coco:
    """A file, by what it lists.

    Attributes:
        path: the file.
        images: key (name without extension) -> entry.
        annotations: id of an image -> entries, in the order of the file.
        categories: id -> entry, by rising id.
    """

    path: str
    images: Mapping[str, Mapping[str, Any]]
    annotations: Mapping[int, Sequence[Mapping[str, Any]]]
    categories: Mapping[int, Mapping[str, Any]]


def read(path: str | os.PathLike) -> Coco:
    """Reads a file; its latest content is kept for the next source that reads it.

    Raises:
        ValueError: no such file, no JSON, or entries that lack what they need; named.
    """
    path = os.fspath(path)
    try:
        state = os.stat(path)
    except OSError as error:
        raise _no_file(path, error) from error
    return _read(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _read(path: str, size: int, changed: int) -> Coco:
    del size, changed
    values = _parse(path)
    _require(path, "images", values["images"], {"id": int, "file_name": str} | _SIZES)
    _require(path, "categories", values["categories"], {"id": int, "name": str})
    _require(path, "annotations", values["annotations"], {"image_id": int, "category_id": int})
    for part, field in (("images", "id"), ("categories", "id"), ("categories", "name")):
        _require_different(path, part, values[part], field)
    categories = {entry["id"]: entry for entry in values["categories"]}
    return Coco(
        path=path,
        images=_images(path, values["images"]),
        annotations=_annotations(path, values, categories),
        categories=dict(sorted(categories.items())),
    )


def _parse(path: str) -> dict[str, list[Any]]:
    try:
        values = json.loads(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise _no_file(path, error) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(
            f"annotations {path} are no JSON: {reason}; give a COCO-style JSON file"
        ) from error
    if not isinstance(values, dict) or not all(
        isinstance(values.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise ValueError(
            f"annotations {path} need lists images, annotations and categories; give a COCO-style "
            "JSON file"
        )
    return values


def _images(path: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    images: dict[str, Any] = {}
    taken: set[str] = set()
    for number, entry in enumerate(entries):
        if min(entry["height"], entry["width"]) < 1:
            raise ValueError(
                f"annotations {path}: images[{number}] has height={entry['height']} and "
                f"width={entry['width']}; give the pixels of {entry['file_name']!r}"
            )
        name = pathlib.PurePosixPath(entry["file_name"])
        if not name.name:
            raise ValueError(
                f"annotations {path}: images[{number}] has file_name={entry['file_name']!r}; give "
                "the name of a file, relative to the folder of the images"
            )
        key = file_kinds.without_extension(name.as_posix())
        if file_names.canonical(key) in taken:
            raise ValueError(
                f"annotations {path}: two images are called {key!r}; names without extension must "
                "be unique"
            )
        taken.add(file_names.canonical(key))
        images[key] = entry
    return images


def _annotations(
    path: str, values: Mapping[str, Sequence[Any]], categories: Mapping[int, Any]
) -> dict[int, list[Any]]:
    known = {entry["id"] for entry in values["images"]}
    annotations: dict[int, list[Any]] = {}
    for entry in values["annotations"]:
        if entry["image_id"] not in known or entry["category_id"] not in categories:
            raise ValueError(
                f"annotations {path}: annotation {entry.get('id')} is of image "
                f"{entry['image_id']} and category {entry['category_id']}; list both, or remove it"
            )
        annotations.setdefault(entry["image_id"], []).append(entry)
    return annotations


def _no_file(path: str, error: OSError) -> ValueError:
    return ValueError(f"annotations {path}: {error.strerror}; give a COCO-style JSON file")


def _require(path: str, part: str, entries: Sequence[Any], fields: Mapping[str, type]) -> None:
    for number, entry in enumerate(entries):
        for field, kind in fields.items():
            if not isinstance(entry, dict) or type(entry.get(field)) is not kind:
                raise ValueError(
                    f"annotations {path}: {part}[{number}] needs {field} of type {kind.__name__}; "
                    "correct the file"
                )


def _require_different(path: str, part: str, entries: Sequence[Any], field: str) -> None:
    for value, count in collections.Counter(entry[field] for entry in entries).items():
        if count > 1:
            raise ValueError(
                f"annotations {path}: {count} {part} have the {field} {value!r}; make them differ"
            )


def are_numbers(values: Any) -> bool:
    """Whether a value of a file is a list of numbers that can be coordinates."""
    return isinstance(values, list) and all(
        type(value) in (int, float) and abs(value) < 1e6 for value in values
    )
