"""How far two sets of pictures are from each other, by the features of each picture: FID and KID.

Papers: Heusel et al. 2017 (FID); Binkowski et al. 2018 (KID).

Letters: N pictures, D features, R directions in which they vary, M pictures of a subset.
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

FEWEST_FOR_FID = 2048
"""With fewer pictures than features covariances lack directions, and FID comes out too large."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and covariance of features.

    Attributes:
        num: N, at least 2; None where a file does not say.
        mean: float64 [D].
        covariance: float64 [D, D], divided by N - 1.
        root: float64 [D, N], F with F F' = covariance; where pictures are fewer than features it is
            known without taking the covariance apart. None otherwise.
    """

    num: int | None
    mean: np.ndarray
    covariance: np.ndarray
    root: np.ndarray | None = None


def moments(batches: Iterable[np.ndarray]) -> Moments:
    """Mean and covariance over all batches, which are never held together.

    Args:
        batches: floats [N, D] each; at least two pictures in all.

    Raises:
        ValueError: fewer than two.
    """
    num, mean_D, scatter_DD = 0, np.zeros(()), np.zeros(())
    few: list[np.ndarray] | None = []
    for batch_ND in batches:
        x_ND = np.asarray(batch_ND, np.float64)
        few = None if few is None or num + len(x_ND) >= x_ND.shape[1] else [*few, x_ND]
        own_D = x_ND.mean(axis=0)
        # About the batch's own mean: sums of squares about zero would lose the last digits.
        centered_ND = x_ND - own_D
        shift_D = own_D - mean_D
        total = num + len(x_ND)
        between = num * len(x_ND) / total
        scatter_DD = scatter_DD + centered_ND.T @ centered_ND + between * np.outer(shift_D, shift_D)
        mean_D = mean_D + shift_D * (len(x_ND) / total)
        num = total
    if num < 2:
        raise ValueError(f"{num} pictures have no covariance; it takes two at least")
    root_DN = None if few is None else (np.concatenate(few) - mean_D).T / math.sqrt(num - 1)
    return Moments(num=num, mean=mean_D, covariance=scatter_DD / (num - 1), root=root_DN)


def fid(one: Moments, other: Moments) -> float:
    """The Frechet distance of two normal distributions with these moments; 0 for equal ones.

    The trace of the root of the product of covariances F F' and G G' is the sum of the singular
    values of F' G. So it needs no root of a matrix that may have none, and covariances that lack
    directions, as those of few pictures do, cost no digits.
    """
    shift_D = one.mean - other.mean
    first_DR, second_DR = _root(one), _root(other)
    overlap = np.linalg.svd(first_DR.T @ second_DR, compute_uv=False).sum()
    variances = np.trace(one.covariance) + np.trace(other.covariance)
    return max(0.0, float(shift_D @ shift_D + variances - 2.0 * overlap))


def _root(moments: Moments) -> Float[np.ndarray, "D R"]:
    """F with F F' = covariance."""
    if moments.root is not None:
        return moments.root
    try:
        return np.linalg.cholesky(moments.covariance)
    except np.linalg.LinAlgError:  # a feature that no picture has, say; this takes much longer
        values_D, vectors_DD = np.linalg.eigh(moments.covariance)
        return vectors_DD * np.sqrt(np.maximum(values_D, 0.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """A KID.

    Attributes:
        mean: over subsets; may fall below 0, where the truth is near it.
        deviation: of single subsets, which papers put behind their KID.
        standard_error: of the mean. Subsets share pictures, so it does not fall below what the
            number of pictures allows, however many subsets are drawn.
        num_subsets, subset_size: how it was found.
    """

    mean: float
    deviation: float
    standard_error: float
    num_subsets: int
    subset_size: int


def largest_subset(num_pictures: int) -> int:
    """The most pictures of a subset for which `kid` knows its standard error."""
    return num_pictures // 2


def kid(
    one_ND: Float[np.ndarray, "N D"],
    other_ND: Float[np.ndarray, "N2 D"],
    *,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> KernelDistance:
    """The kernel distance of two sets: mean of the unbiased estimates of random subsets.

    Args:
        one_ND, other_ND: float32 features.
        num_subsets: drawn, at least 2.
        subset_size: M pictures of each set, without repetition; at most half of the smaller one.
        seed: of the draws.

    Raises:
        ValueError: a number that does not fit the sets.
    """
    fewest = min(len(one_ND), len(other_ND))
    if num_subsets < 2 or not 2 <= subset_size <= largest_subset(fewest):
        raise ValueError(
            f"{num_subsets} subsets of {subset_size} pictures do not fit {fewest}: it takes two "
            f"subsets of 2..{largest_subset(fewest)}"
        )
    rng = np.random.default_rng(seed)
    draw = lambda x_ND: x_ND[rng.choice(len(x_ND), subset_size, replace=False)]
    values = [squared_discrepancy(draw(one_ND), draw(other_ND)) for _ in range(num_subsets)]
    deviation = float(np.std(values, ddof=1))
    # The variance of a subset's estimate falls with 1/M, and to that of all pictures at M = N: what
    # subsets of the same pictures differ by is the difference of the two.
    shared = subset_size / (fewest - subset_size)
    return KernelDistance(
        mean=float(np.mean(values)),
        deviation=deviation,
        standard_error=deviation * math.sqrt(shared + 1.0 / num_subsets),
        num_subsets=num_subsets,
        subset_size=subset_size,
    )


def squared_discrepancy(one_ND: np.ndarray, other_ND: np.ndarray) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy of two sets of one size.

    Its kernel is (x.y / D + 1)^3, and no picture is compared with itself.
    """
    num, dim = one_ND.shape

    def kernel(x_ND: np.ndarray, y_ND: np.ndarray) -> np.ndarray:
        # Products in float32, of which there are most; sums that nearly cancel in float64.
        return ((x_ND @ y_ND.T).astype(np.float64) / dim + 1.0) ** 3

    def within(x_ND: np.ndarray) -> float:
        kernel_NN = kernel(x_ND, x_ND)
        return (kernel_NN.sum() - np.trace(kernel_NN)) / (num * (num - 1))

    return within(one_ND) + within(other_ND) - 2.0 * kernel(one_ND, other_ND).mean()
