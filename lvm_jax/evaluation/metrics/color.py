"""Squared errors of colors in the units that others report them in.

Legend: H height, W width in pixels; C red, green, blue.
"""

import numpy as np

from lvm_jax.measures import fidelity

# What ImageNet's pixels in [0, 1] vary by, as torchvision's networks take them.
IMAGENET_STD_C = np.array([0.229, 0.224, 0.225])


def lvm_mse(picture: np.ndarray, truth: np.ndarray) -> float:
    """The squared error in [0, 1] units, summed over the channels and averaged over the pixels.

    That is three times `fidelity.mse`; LVM's own script reports it (`batch_generation.py`).

    Args:
        picture, truth: uint8 or floats in [0, 1], [H, W, 3].
    """
    return 3.0 * float(fidelity.mse(picture, truth))


def imagenet_mse(picture: np.ndarray, truth: np.ndarray) -> float:
    """The mean squared error of pixels normalised by ImageNet's mean and standard deviation.

    Visual prompting reports it (Bar et al. 2022, `evaluate/evaluate_colorization.py`), and LVM's
    paper beside it.

    Args:
        picture, truth: uint8 [H, W, 3].
    """
    difference_HWC = (picture.astype(np.float64) - truth.astype(np.float64)) / 255.0
    return float(np.square(difference_HWC / IMAGENET_STD_C).mean())
