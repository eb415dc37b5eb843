"""One thing against its background, drawn white on black, as visual prompting measures it.

Source: Bar et al. 2022, in its code (amirbar/visual_prompting, `evaluate/`): answers are seen at
111 x 111 pixels, every pixel counts as white or black, whichever is nearer, and the score is the
mean over episodes of the intersection over union of one episode. For detection the largest white
component is first replaced by its filled bounding box.

Legend: H height, W width in pixels.
"""

import numpy as np
import skimage.measure

# Half of a 224-pixel canvas of four pictures, less a pixel between them.
SIDE = 111


def snap(picture: np.ndarray) -> np.ndarray:
    """The pixels that are nearer to white than to black: uint8 [H, W, 3] -> bool [H, W]."""
    # The squared distances to the two differ by 2 * 255 * (half of the range - the sum).
    return 2 * picture.astype(np.int64).sum(-1) > 3 * 255


def iou(mask_HW: np.ndarray, truth_HW: np.ndarray) -> float:
    """Intersection over union of two bool [H, W]; nan if both are empty."""
    union = int((mask_HW | truth_HW).sum())
    return float((mask_HW & truth_HW).sum() / union) if union else float("nan")


def accuracy(mask_HW: np.ndarray, truth_HW: np.ndarray) -> float:
    """Share of the pixels on which two bool [H, W] agree."""
    return float((mask_HW == truth_HW).mean())


def largest_box(mask_HW: np.ndarray) -> np.ndarray:
    """The filled bounding box of the largest component, whose pixels touch by sides or corners.

    Args:
        mask_HW: bool [H, W].

    Returns:
        bool [H, W]; empty for an empty mask. Of equally large components the last one counts, in
        the order in which rows are read.
    """
    parts_HW = skimage.measure.label(mask_HW, connectivity=2)
    sizes = np.bincount(parts_HW.ravel())[1:]
    box_HW = np.zeros(mask_HW.shape, bool)
    if sizes.size:
        part = sizes.size - int(np.argmax(sizes[::-1]))
        rows, columns = np.nonzero(parts_HW == part)
        box_HW[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return box_HW
