"""Protocols of others by name: which examples, and the task that measures them."""

import dataclasses
from collections.abc import Callable
from typing import Any

from lvm_jax.evaluation.tasks.imagenet_colors import ImageNetColors, ImageNetOptions
from lvm_jax.evaluation.tasks.task import Examples
from lvm_jax.evaluation.tasks.voc_episodes import VocExamples, VocOptions
from lvm_jax.pictures.loader import SquareLoader


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeKind:
    """Examples that a protocol prescribes.

    Attributes:
        name: what asks for it.
        task: the kind of task in `registry.KINDS` that measures them.
        options: frozen dataclass of what the user gives; its docstring explains every field.
        build: a name, an instance of `options` and what reads pictures -> the examples.
        about: one line for --help.
    """

    name: str
    task: str
    options: type[Any]
    build: Callable[[str, Any, SquareLoader], Examples]
    about: str


def _segmentation(name: str, options: VocOptions, loader: SquareLoader) -> VocExamples:
    return VocExamples(name=name, options=options, kind="segmentation", loader=loader)


def _detection(name: str, options: VocOptions, loader: SquareLoader) -> VocExamples:
    return VocExamples(name=name, options=options, kind="detection", loader=loader)


def _colors(name: str, options: ImageNetOptions, loader: SquareLoader) -> ImageNetColors:
    return ImageNetColors(name=name, options=options, loader=loader)


_ALL = (
    EpisodeKind(
        name="pascal_segmentation",
        task="foreground",
        options=VocOptions,
        build=_segmentation,
        about="Pascal-5i foreground segmentation as in visual prompting",
    ),
    EpisodeKind(
        name="pascal_detection",
        task="detection",
        options=VocOptions,
        build=_detection,
        about="single-object detection on Pascal VOC as in visual prompting",
    ),
    EpisodeKind(
        name="imagenet_colorization",
        task="colorization",
        options=ImageNetOptions,
        build=_colors,
        about="colorization of ImageNet's validation pictures as in visual prompting",
    ),
)
EPISODES: dict[str, EpisodeKind] = {kind.name: kind for kind in _ALL}
