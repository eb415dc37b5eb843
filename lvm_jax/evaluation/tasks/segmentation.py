"""Label maps in colors: mean intersection over union, of every picture and of all pooled.

Legend: S side in pixels, N labels.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from lvm_jax.configs import ConfigError, Field
from lvm_jax.evaluation.metrics import segmentation
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks import color_lists
from lvm_jax.evaluation.tasks.measured import MeasuredTask
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind
from lvm_jax.pictures import palette

MIOU = Metric(
    name="miou",
    unit="",
    better="higher",
    per_example=True,
    about="Intersection over union, mean over the classes that the answer or the truth has.",
)
ACCURACY = Metric(
    name="pixel_accuracy",
    unit="",
    better="higher",
    per_example=True,
    about="Share of the pixels with the right label.",
)
POOLED = Metric(
    name="pooled_miou",
    unit="",
    better="higher",
    per_example=False,
    about="Mean intersection over union of one confusion matrix for all examples.",
)
# A truth is drawn in other colors if more than half of its pixels are this far (Euclidean, in
# 0..255) from all of the task's. Black ones say nothing about it.
_FAR, _MOST_FAR, _DARK = 64.0, 0.5, 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationOptions:
    """How labels are drawn.

    Attributes:
        num_labels: N, the background included; their colors are those of `palette.colors`, in which
            sentences of kind label_map and segmentation are drawn.
        colors: of every label instead, for pictures drawn by others, such as "black/red/#00ff80".
        background: whether label 0 is a class like the others.
    """

    num_labels: int = 2
    colors: str = ""
    background: bool = True

    def __post_init__(self):
        if not 2 <= self.num_labels <= palette.MOST_LABELS:
            raise ConfigError(
                Field("num_labels"), f"={self.num_labels} must lie in 2..{palette.MOST_LABELS}"
            )
        self.drawn_colors  # noqa: B018  refuses bad colors

    @property
    def drawn_colors(self) -> np.ndarray:
        """The colors: uint8 [N, 3]."""
        if self.colors:
            return color_lists.read("colors", self.colors, self.num_labels)
        return palette.colors(self.num_labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation(MeasuredTask):
    """A pixel has the label whose color is nearest to its own.

    Attributes:
        options: how labels are drawn.
    """

    options: SegmentationOptions
    metrics: tuple[Metric, ...] = (MIOU, ACCURACY, POOLED)

    @functools.cached_property
    def _colors(self) -> np.ndarray:
        return self.options.drawn_colors

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`.

        Raises:
            ConfigError: the truth is drawn in other colors.
        """
        example = super().example(seed, index)
        drawn = example.answer[example.answer.max(-1) > _DARK].astype(int)
        nearest = self._colors[palette.nearest(drawn[None], self._colors)[0]].astype(int)
        is_far = np.linalg.norm(drawn - nearest, axis=-1) > _FAR
        # Some are far where colors meet in a picture that was made smaller.
        if len(drawn) and is_far.mean() > _MOST_FAR:
            raise ConfigError(
                Field("num_labels"),
                f"={self.options.num_labels} and colors={self.options.colors!r}: the true answer "
                f"to {'; '.join(example.keys[-1:]) or self.name} is drawn in other colors",
            )
        return example

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]."""
        labels, truth = (palette.nearest(p, self._colors) for p in (picture, example.answer))
        confusion_NN = segmentation.confusion(labels, truth, self.options.num_labels)
        values = {
            MIOU.name: segmentation.mean_iou(confusion_NN, background=self.options.background),
            ACCURACY.name: segmentation.pixel_accuracy(confusion_NN),
        }
        return Measured(values=values, tally=confusion_NN.ravel().astype(np.float64))

    def summarize(self, tally: np.ndarray) -> Mapping[str, float]:
        """Of one confusion matrix."""
        total_NN = tally.reshape(self.options.num_labels, -1)
        return {POOLED.name: segmentation.mean_iou(total_NN, background=self.options.background)}


def _build(examples: Examples, options: SegmentationOptions) -> Segmentation:
    return Segmentation(examples=examples, options=options)


KIND = TaskKind(
    name="segmentation",
    options=SegmentationOptions,
    build=_build,
    about="label maps in colors: mean intersection over union, pixel accuracy",
)
