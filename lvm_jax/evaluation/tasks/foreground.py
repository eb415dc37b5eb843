"""One thing, white on black: foreground segmentation and single-object detection.

As visual prompting measures them, see `metrics.foreground`. Detection first replaces the answer's
largest white component by its filled bounding box.

Legend: S side in pixels, s side at which answers are compared.
"""

import dataclasses

import numpy as np

from lvm_jax import images
from lvm_jax.configs import require_at_least
from lvm_jax.evaluation.metrics import foreground
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.measured import MeasuredTask
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind

IOU = Metric(
    name="iou",
    unit="",
    better="higher",
    per_example=True,
    about="Intersection over union of white pixels, mean over the episodes (what visual prompting "
    "calls mIoU).",
)
ACCURACY = Metric(
    name="pixel_accuracy",
    unit="",
    better="higher",
    per_example=True,
    about="Share of the pixels that are white, or black, as they should be.",
)
# In `Example.truth`: bool [s, s], the mask as an episode's own files give it.
MASK = "mask"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForegroundOptions:
    """Where answers are compared.

    Attributes:
        side: pixels per side to which answers are resized first; 111 is visual prompting's.
    """

    side: int = foreground.SIDE

    def __post_init__(self):
        require_at_least(self, 1, "side")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foreground(MeasuredTask):
    """White pixels against black ones.

    Attributes:
        options: where answers are compared.
        is_detection: whether answers become boxes.
    """

    options: ForegroundOptions
    is_detection: bool
    metrics: tuple[Metric, ...] = (IOU, ACCURACY)

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]."""
        mask_ss = self._mask(picture)
        if self.is_detection:
            mask_ss = foreground.largest_box(mask_ss)
        truth_ss = example.truth.get(MASK)
        if truth_ss is None or truth_ss.shape != mask_ss.shape:
            truth_ss = self._mask(example.answer)
        values = {
            IOU.name: foreground.iou(mask_ss, truth_ss),
            ACCURACY.name: foreground.accuracy(mask_ss, truth_ss),
        }
        return Measured(values=values)

    def _mask(self, picture: np.ndarray) -> np.ndarray:
        return foreground.snap(images.squash(picture, self.options.side))


def _segmentation(examples: Examples, options: ForegroundOptions) -> Foreground:
    return Foreground(examples=examples, options=options, is_detection=False)


def _detection(examples: Examples, options: ForegroundOptions) -> Foreground:
    return Foreground(examples=examples, options=options, is_detection=True)


KINDS = (
    TaskKind(
        name="foreground",
        options=ForegroundOptions,
        build=_segmentation,
        about="a thing, white on black: intersection over union as visual prompting measures it",
    ),
    TaskKind(
        name="detection",
        options=ForegroundOptions,
        build=_detection,
        about="a thing's box, filled white on black: the same, after boxing the answer",
    ),
)
