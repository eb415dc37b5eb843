"""Pictures, label maps, depths and normals of scikit-image's photographs, for tests and goldens.

All of them are made in whole numbers or from few exact operations, so that they are the same
everywhere.
"""

import numpy as np
import skimage.data

SIDE = 96
NUM_LABELS = 6


def photograph(name: str = "astronaut") -> np.ndarray:
    """A corner-to-corner sample of a photograph: uint8 [96, 96, 3]."""
    whole = getattr(skimage.data, name)()
    places = [np.arange(SIDE) * side // SIDE for side in whole.shape[:2]]
    return np.ascontiguousarray(whole[places[0][:, None], places[1], :3])


def gray(picture: np.ndarray) -> np.ndarray:
    """int64 [H, W] in 0..255."""
    return picture.astype(np.int64).sum(-1) // 3


def labels() -> tuple[np.ndarray, np.ndarray]:
    """An answer and a truth that mostly agree: int64 [96, 96]; label 5 is only in the answer."""
    truth = np.minimum(gray(photograph()) * 5 // 256, 4)
    answer = np.roll(truth, 3, axis=1)
    answer[:10, :10] = 5
    return answer, truth


def depths() -> tuple[np.ndarray, np.ndarray]:
    """An answer and a truth: float64 [96, 96], 1 to 6."""
    truth = 1 + gray(photograph()) / 51
    return 1 + gray(photograph("coffee")) / 51, truth


def mask(name: str, threshold: int = 110) -> np.ndarray:
    """What is bright in a photograph: bool [96, 96]."""
    return gray(photograph(name)) > threshold


def fold_list() -> list[tuple[str, int]]:
    """Names and classes like those of a fold of Pascal-5i: 47 pictures of the classes 6 to 10."""
    return [(f"2007_{number:06d}", 6 + number * number % 5) for number in range(47)]
