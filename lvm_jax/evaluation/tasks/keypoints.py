"""Skeletons: the share of joints that are drawn in the right place (PCK).

Legend: S side in pixels, K joints.
"""

import dataclasses
import functools

import numpy as np

from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.evaluation.metrics import keypoints
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks import color_lists
from lvm_jax.evaluation.tasks.measured import MeasuredTask
from lvm_jax.evaluation.tasks.references import KEYPOINTS
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind
from lvm_jax.pictures import drawings

PCK = Metric(
    name="pck",
    unit="",
    better="higher",
    per_example=True,
    about="Share of the joints within alpha times the longer side of the body from their place.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeypointsOptions:
    """How bodies are drawn and compared.

    Attributes:
        num_joints: K, of a body; their colors are those of sentences of kind keypoints.
        num_limbs: of a body, drawn in darker colors; 0 for none.
        colors: of every joint instead, for pictures drawn by others, such as "red/lime/#0000ff".
        alpha: how far a joint may be, as a share of the longer side of the box around the joints.
    """

    num_joints: int = 17
    num_limbs: int = 19
    colors: str = ""
    alpha: float = 0.1

    def __post_init__(self):
        require_at_least(self, 1, "num_joints")
        require_at_least(self, 0, "num_limbs", "alpha")
        self.drawn_colors  # noqa: B018  refuses bad colors

    @property
    def drawn_colors(self) -> np.ndarray:
        """The colors of the joints: uint8 [K, 3]."""
        if self.colors:
            return color_lists.read("colors", self.colors, self.num_joints)
        drawn = [drawings.joint_color(n, self.num_joints) for n in range(self.num_joints)]
        return np.array(drawn, np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keypoints(MeasuredTask):
    """Blobs of the joints' colors against the true joints of one body.

    Attributes:
        options: how bodies are drawn and compared.
    """

    options: KeypointsOptions
    metrics: tuple[Metric, ...] = (PCK,)

    @functools.cached_property
    def _joints(self) -> np.ndarray:
        return self.options.drawn_colors

    @functools.cached_property
    def _others(self) -> np.ndarray:
        """Limbs, and black behind them."""
        count = self.options.num_limbs
        limbs = [drawings.limb_color(number, count) for number in range(count)]
        return np.array([*limbs, (0, 0, 0)], np.uint8)

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`.

        Raises:
            ConfigError: bodies have other numbers of joints.
        """
        example = super().example(seed, index)
        joints = len(example.truth.get(KEYPOINTS, self.options.drawn_colors))
        if joints != self.options.num_joints:
            raise ConfigError(
                Field("num_joints"),
                f"={self.options.num_joints}, but bodies of {self.name} have {joints}",
            )
        return example

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]; no score if several bodies are drawn, or none."""
        truth_K2 = example.truth.get(KEYPOINTS)
        if truth_K2 is None:
            truth_K2 = self._locate(example.answer)
        tolerance = self.options.alpha * keypoints.extent(truth_K2)
        pck = keypoints.pck(self._locate(picture), truth_K2, tolerance)
        return Measured(values={PCK.name: pck})

    def _locate(self, picture: np.ndarray) -> np.ndarray:
        return keypoints.locate(picture, self._joints, self._others)


def _build(examples: Examples, options: KeypointsOptions) -> Keypoints:
    return Keypoints(examples=examples, options=options)


KIND = TaskKind(
    name="keypoints",
    options=KeypointsOptions,
    build=_build,
    about="joints of a body as dots of their colors: share in the right place (PCK)",
)
