"""Colors of gray pictures: squared errors in the units of others, PSNR, and LPIPS with weights.

Legend: S side in pixels.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from lvm_jax import images
from lvm_jax.configs import ConfigError, Field, within
from lvm_jax.evaluation.metrics import color
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.measured import MeasuredTask
from lvm_jax.evaluation.tasks.pixels import MSE, PSNR
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind
from lvm_jax.measures import fidelity, perceptual, perceptual_weights
from lvm_jax.measures.perceptual import PerceptualConfig

LVM_MSE = Metric(
    name="lvm_mse",
    unit="",
    better="lower",
    per_example=True,
    about="Squared error in [0, 1] summed over channels, as LVM's script reports it: 3 x MSE.",
)
IMAGENET_MSE = Metric(
    name="imagenet_mse",
    unit="",
    better="lower",
    per_example=True,
    about="Mean squared error of ImageNet-normalised pixels, as visual prompting reports it.",
)
LPIPS = Metric(
    name="lpips",
    unit="",
    better="lower",
    per_example=True,
    about="Perceptual distance of Zhang et al. 2018 with VGG16.",
)
# In `Example.truth`: uint8, the true picture at another size, to which answers are resized.
TRUTH = "picture"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorizationOptions:
    """What is measured besides errors of pixels.

    Attributes:
        vgg16_weights: torchvision's file; with it LPIPS is measured too.
        lpips_weights: the lpips package's file for vgg; "" if the other one holds these as well.
    """

    vgg16_weights: str = ""
    lpips_weights: str = ""

    def __post_init__(self):
        if self.lpips_weights and not self.vgg16_weights:
            raise ConfigError(Field("vgg16_weights"), " is empty, and LPIPS needs it")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Colorization(MeasuredTask):
    """Pictures against pictures.

    Attributes:
        distance: LPIPS of two float32 [1, S, S, 3] in [0, 1]; None without weights.
    """

    distance: Callable[[np.ndarray, np.ndarray], Any] | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        always = MSE, LVM_MSE, IMAGENET_MSE, PSNR
        return always if self.distance is None else (*always, LPIPS)

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]."""
        truth = example.truth.get(TRUTH, example.answer)
        if truth.shape != picture.shape:
            picture = images.squash(picture, len(truth))
        error = float(fidelity.mse(picture, truth))
        values = {
            MSE.name: error,
            LVM_MSE.name: color.lvm_mse(picture, truth),
            IMAGENET_MSE.name: color.imagenet_mse(picture, truth),
            PSNR.name: float(fidelity.decibels(error)),
        }
        if self.distance is not None:
            pair = (images.to_float(image)[None] for image in (picture, truth))
            values[LPIPS.name] = float(self.distance(*pair)[0])
        return Measured(values=values)


def _build(examples: Examples, options: ColorizationOptions) -> Colorization:
    files = [file for file in (options.vgg16_weights, options.lpips_weights) if file]
    if not files:
        return Colorization(examples=examples)
    config = PerceptualConfig(network="lpips_vgg16")
    with within("", perceptual_weights="vgg16_weights"):
        params = perceptual_weights.load(config, files)
    distance = jax.jit(functools.partial(perceptual.distance, config))
    return Colorization(examples=examples, distance=functools.partial(distance, params))


KIND = TaskKind(
    name="colorization",
    options=ColorizationOptions,
    build=_build,
    about="colors of gray pictures: squared errors in three units, PSNR, LPIPS with weights",
)
