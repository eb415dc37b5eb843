"""Names of tasks -> what makes them of examples. A new task is a file and a row here."""

from collections.abc import Mapping
from typing import Any

from lvm_jax import configs
from lvm_jax.evaluation.tasks import (
    colorization,
    depth,
    edges,
    foreground,
    frames,
    inpainting,
    keypoints,
    normals,
    pixels,
    segmentation,
)
from lvm_jax.evaluation.tasks.task import Examples, Task, TaskKind

_ALL: tuple[TaskKind, ...] = (
    pixels.KIND,
    segmentation.KIND,
    *foreground.KINDS,
    colorization.KIND,
    depth.KIND,
    normals.KIND,
    edges.KIND,
    inpainting.KIND,
    keypoints.KIND,
    frames.KIND,
)
KINDS: dict[str, TaskKind] = {kind.name: kind for kind in _ALL}


def build(name: str, examples: Examples, options: Mapping[str, Any], where: str = "") -> Task:
    """A task of some examples.

    Args:
        name: of its kind.
        examples: what is asked; the task takes their name.
        options: fields of the kind's options.
        where: what errors call `options`.

    Raises:
        ConfigError: no such kind, an unknown option or a bad value; names it.
    """
    if name not in KINDS:
        raise configs.ConfigError(
            configs.Field("task"), f"={name!r} is no task; use one of {', '.join(KINDS)}"
        )
    kind = KINDS[name]
    return kind.build(examples, configs.build(kind.options, options, where))
