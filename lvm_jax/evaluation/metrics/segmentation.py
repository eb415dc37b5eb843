"""Label maps: intersection over union of classes, share of right pixels.

All numbers come from a confusion matrix, so that those of one picture and of many pictures pooled
are computed alike: matrices add up.

Legend: H height, W width in pixels; N labels.
"""

import numpy as np


def confusion(
    labels_HW: np.ndarray, truth_HW: np.ndarray, num_labels: int, ignored: int = -1
) -> np.ndarray:
    """How many pixels of each true label got each label: int64 [N, N], rows are the truth.

    Args:
        labels_HW: integers in 0..N-1, the answer.
        truth_HW: the same of the truth; other numbers only where `ignored`.
        num_labels: N.
        ignored: pixels whose true label is this count for nothing; -1 for none.

    Raises:
        ValueError: shapes that differ, or a label outside of 0..N-1.
    """
    if labels_HW.shape != truth_HW.shape:
        raise ValueError(f"labels {labels_HW.shape} and truth {truth_HW.shape} differ in shape")
    counted = truth_HW != ignored
    answer, truth = labels_HW[counted].astype(np.int64), truth_HW[counted].astype(np.int64)
    for numbers in (answer, truth):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < num_labels:
            raise ValueError(
                f"labels {numbers.min()}..{numbers.max()} do not lie in 0..{num_labels - 1}"
            )
    counts = np.bincount(truth * num_labels + answer, minlength=num_labels**2)
    return counts.reshape(num_labels, num_labels)


def iou(confusion_NN: np.ndarray) -> np.ndarray:
    """Intersection over union of every class: float64 [N]; nan for one in neither picture."""
    hits_N = np.diagonal(confusion_NN).astype(np.float64)
    union_N = confusion_NN.sum(0) + confusion_NN.sum(1) - hits_N
    return np.divide(hits_N, union_N, out=np.full(len(hits_N), np.nan), where=union_N > 0)


def mean_iou(confusion_NN: np.ndarray, *, background: bool = True) -> float:
    """The mean of `iou` over the classes that the answer or the truth has.

    Args:
        confusion_NN: of one picture, or the sum of those of many.
        background: whether label 0 is a class like the others.

    Returns:
        A share in [0, 1]; nan if there is no such class.
    """
    iou_N = iou(confusion_NN)[0 if background else 1 :]
    present = iou_N[~np.isnan(iou_N)]
    return float(present.mean()) if present.size else float("nan")


def pixel_accuracy(confusion_NN: np.ndarray) -> float:
    """Share of counted pixels with the right label; nan if none is counted."""
    total = int(confusion_NN.sum())
    return float(np.trace(confusion_NN) / total) if total else float("nan")
