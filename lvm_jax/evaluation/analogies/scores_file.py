"""The scores of tasks as a JSON file."""

import json
import pathlib
from collections.abc import Sequence

from lvm_jax import atomic, configs
from lvm_jax.evaluation.analogies.asking import AnalogyConfig
from lvm_jax.evaluation.analogies.scores import TaskResult
from lvm_jax.images import ImageConfig

# 2: the values of every prompt, and a verdict in place of "learned".
VERSION = 2


def write(
    path: pathlib.Path,
    results: Sequence[TaskResult],
    asked: AnalogyConfig,
    image_config: ImageConfig,
) -> None:
    """Writes every number of some results, and how they were made.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    content = {
        "version": VERSION,
        "evaluation": configs.to_dict(asked),
        "image_config": configs.to_dict(image_config),
        "tasks": [result.to_json() for result in results],
    }
    atomic.write_json(path, content, parents=True)


def read(path: str | pathlib.Path) -> tuple[TaskResult, ...]:
    """The results in a file, without pictures.

    Raises:
        ValueError: no such file, or one of another version or kind; names it.
    """
    path = pathlib.Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise ValueError(
            f"{path} has version={version} of scores, this code reads {VERSION}; evaluate again"
        )
    return tuple(TaskResult.from_json(task) for task in content["tasks"])
