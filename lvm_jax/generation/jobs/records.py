"""What is kept beside an output: how it was made, so that it is made once and never mixed up.

`OUTPUT.json` has the settings of the job and the checksum of every file that it wrote. It is
written when these files are whole, just before they get their names: a file that agrees with it is
done, and one that does not was interrupted, made with other settings, or is somebody else's.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lvm_jax import atomic, configs, trees
from lvm_jax.generation.jobs import outputs
from lvm_jax.generation.jobs.job import Job, Picture
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.tokenizer.codec import Tokenizer

FORMAT = 1
_SETTINGS = "settings"


def path(job: Job) -> pathlib.Path:
    """Where the record of a job is."""
    return job.path.with_name(f"{job.path.name}.json")


def model_fingerprint(model: LanguageModel) -> str:
    """SHA-256 of a model's sizes and of a few numbers of each layer, which any training alters."""
    hashed = hashlib.sha256(json.dumps(configs.to_dict(model.config), sort_keys=True).encode())
    for name, array in sorted(trees.flatten(model.params).items()):
        hashed.update(f"{name} {array.dtype} {array.shape}".encode())
        if jax.default_backend() == "cpu":
            array = np.asarray(array)  # no copy there, and its slices need no program
        # The last row of one layer, and a number of every layer.
        hashed.update(np.asarray(array[(0,) * (array.ndim - 1)]).tobytes())
        hashed.update(np.asarray(array[(..., *(0,) * (array.ndim - 1))]).tobytes())
    return hashed.hexdigest()


def settings(job: Job, model: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """All that an answer and its files depend on.

    Args:
        job: which.
        model: its fingerprint.
        tokenizer: the model's.

    Raises:
        ValueError: a picture cannot be read.
    """
    answer = configs.to_dict(job.answer)
    del answer["batch_size"]  # changes nothing
    return {
        "model": model,
        "tokenizer": tokenizer.fingerprint,
        "images": [_identity(picture, job) for picture in job.images],
        "targets": [_identity(picture, job) for picture in job.targets],
        "layout": job.layout,
        "answer": answer,
        "reading": configs.to_dict(job.reading),
        "drawing": configs.to_dict(job.drawing),
    }


def _identity(picture: Picture, job: Job) -> str:
    try:
        state = os.stat(picture.path)
        digest = _file_digest(picture.path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"{job.where}: cannot read {picture.path}: {error.strerror}") from error
    return digest if picture.frame < 0 else f"{digest}#{picture.frame}"


@functools.lru_cache(2**16)
def _file_digest(name: str, size: int, changed: int) -> str:
    del size, changed
    return _digest(name)


def is_done(job: Job, wanted: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Whether all files of a job are there, as it would make them.

    Args:
        job: which.
        wanted: its settings.
        overwrite: files that are there and are not so may be replaced.

    Raises:
        ValueError: there are, and they must not; says what differs.
    """
    there = [file for file in outputs.paths(job) if file.exists()]
    kept = _read(job)
    if kept is None:
        if there and not overwrite:
            raise ValueError(
                f"{job.where}: {there[0]} is there, and no {path(job)} says how it was made; move "
                "it away, choose another output, or give --overwrite"
            )
        return False
    if difference := _difference(kept.get(_SETTINGS), wanted):
        if there and not overwrite:
            raise ValueError(
                f"{job.where}: {there[0]} was made with other settings ({difference}); choose "
                "another output, or give --overwrite"
            )
        return False
    digests = kept.get("files", {})
    changed = [file for file in there if digests.get(_name(job, file)) != _digest(file)]
    if changed and not overwrite:
        raise ValueError(
            f"{job.where}: {changed[0]} is not what {path(job)} says: it was changed since; move "
            "it away, or give --overwrite"
        )
    # What is missing was interrupted or taken away.
    return not changed and len(there) == len(outputs.paths(job))


def _read(job: Job) -> dict[str, Any] | None:
    try:
        value = json.loads(path(job).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return value if isinstance(value, dict) and value.get("format") == FORMAT else None


def _difference(kept: Any, wanted: Mapping[str, Any]) -> str:
    """The first value that differs, such as "answer.seed=1, now 2"; "" if none does."""
    now = json.loads(json.dumps(wanted))  # tuples come back from a file as lists
    for path, before, after in configs.differences(kept, now, _SETTINGS):
        name = path.removeprefix(f"{_SETTINGS}.")
        if name in ("model", "tokenizer"):
            return f"another {name}"
        return f"other {name}" if name in ("images", "targets") else f"{name}={before}, now {after}"
    return ""


def write(
    job: Job, wanted: Mapping[str, Any], files: Mapping[pathlib.Path, outputs.Write], facts: Any
) -> None:
    """Writes the files of a job and its record; all are whole or not there.

    Args:
        job: which.
        wanted: its settings.
        files: what writes each file.
        facts: more for the record, which no settings are.

    Raises:
        WriteError: the disk does not take them.
    """
    earlier = _read(job) or {}
    with contextlib.ExitStack() as stack:
        digests = {}
        for file, write_file in files.items():
            partial = stack.enter_context(atomic.writing(file, parents=True))
            write_file(partial)
            digests[_name(job, file)] = _digest(partial)
        named = [{"path": p.name or p.path, "frame": p.frame} for p in job.images]
        record = {
            "format": FORMAT,
            "images": named,
            **facts,
            _SETTINGS: dict(wanted),
            "files": digests,
        }
        atomic.write_json(path(job), record, indent=1)
    # More candidates or a longer clip of before left more files.
    for name in earlier.get("files", {}).keys() - digests.keys():
        stays_inside = not os.path.isabs(name) and ".." not in pathlib.PurePath(name).parts
        with contextlib.suppress(OSError):
            if stays_inside:
                (job.path.parent / name).unlink()


def _name(job: Job, file: pathlib.Path) -> str:
    return file.relative_to(job.path.parent).as_posix()


def _digest(file: str | pathlib.Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
