"""Errors of means, and laws through points, with intervals.

Legend: n points, B samples of a bootstrap, E exponents that are tried.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import numpy as np

NUM_SAMPLES = 2000
INTERVAL = (2.5, 97.5)


def clustered_error(values: np.ndarray, clusters: Sequence[Hashable]) -> float:
    """Standard error of a mean whose values come in clusters that may vary together.

    Each cluster counts as one, by the sum of its deviations (the sandwich estimate); with clusters
    of one value it is the usual standard error.

    Args:
        values: float64 [n].
        clusters: of each value, [n].

    Returns:
        The error; infinite for fewer than two clusters.
    """
    numbers = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    count = len(numbers)
    if count < 2:
        return float("inf")
    of_value = np.array([numbers[name] for name in clusters])
    sums = np.bincount(of_value, weights=values - values.mean())
    return float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(values))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Law:
    """y = constant + factor * x^-exponent.

    Attributes:
        factor, exponent, constant: of the law.
        interval: of the exponent, 95%; None where it was not asked for.
        residuals: y less the law, [n] in the unit of y.
    """

    factor: float
    exponent: float
    constant: float
    interval: tuple[float, float] | None
    residuals: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The y of some x."""
        return self.constant + self.factor * np.asarray(x, np.float64) ** -self.exponent


Fit = Callable[[np.ndarray, np.ndarray], Law]


def fit(x: np.ndarray, y: np.ndarray) -> Law:
    """The power law through points: least squares of the logarithms.

    Args:
        x, y: positive, [n]; at least two different x.
    """
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    law = Law(
        factor=float(np.exp(intercept)),
        exponent=float(-slope),
        constant=0.0,
        interval=None,
        residuals=np.zeros(0),
    )
    return dataclasses.replace(law, residuals=np.asarray(y) - law(x))


def fit_with_constant(x: np.ndarray, y: np.ndarray) -> Law:
    """The same with a constant of at least 0 that is left at any x: least squares of y.

    For every exponent of a fine grid factor and constant follow by linear least squares, which
    finds the best of all, whatever it begins with.

    Args:
        x, y: positive, [n]; at least three different x.
    """
    # x near 1 keeps powers of the same size.
    scale = np.exp(np.mean(np.log(x)))
    exponents_E = np.geomspace(0.005, 3.0, 1200)
    powers_En = (np.asarray(x) / scale) ** -exponents_E[:, None]
    means_E = powers_En.mean(axis=1)
    centered_En = powers_En - means_E[:, None]
    factors_E = centered_En @ y / np.sum(centered_En**2, axis=1)
    constants_E = np.mean(y) - factors_E * means_E
    through_nothing_E = powers_En @ y / np.sum(powers_En**2, axis=1)
    below_E = constants_E < 0
    factors_E = np.where(below_E, through_nothing_E, factors_E)
    constants_E = np.where(below_E, 0.0, constants_E)
    residuals_En = y - constants_E[:, None] - factors_E[:, None] * powers_En
    best = int(np.argmin(np.sum(residuals_En**2, axis=1)))
    return Law(
        factor=float(factors_E[best] * scale ** exponents_E[best]),
        exponent=float(exponents_E[best]),
        constant=float(constants_E[best]),
        interval=None,
        residuals=residuals_En[best],
    )


def with_interval(
    law: Fit,
    x: np.ndarray,
    y: np.ndarray,
    samples: np.ndarray,
) -> Law:
    """A law with an interval of its exponent.

    Args:
        law: such as `fit`.
        x, y: [n].
        samples: float64 [B, n], other values that y might have had.
    """
    exponents = [law(x, sample).exponent for sample in samples]
    low, high = np.percentile(exponents, INTERVAL)
    return dataclasses.replace(law(x, y), interval=(float(low), float(high)))


def resampled_seeds(
    y: np.ndarray, groups: Sequence[Hashable], rng: np.random.Generator, number: int = NUM_SAMPLES
) -> np.ndarray:
    """Values that runs might have had with other seeds: float64 [B, n].

    Around the mean of its group every run gets one of the deviations that runs of all groups have
    from their own mean, as those of one run alone tell nothing.

    Args:
        y: [n], of runs.
        groups: of each run; its runs differ in their seed alone.
        rng: draws.
        number: B.
    """
    means, deviations = np.empty(len(y)), []
    for group in dict.fromkeys(groups):
        own = np.array([each == group for each in groups])
        means[own] = y[own].mean()
        count = int(own.sum())
        if count > 1:
            # As far as those from the true mean are, which is not known.
            deviations += list((y[own] - y[own].mean()) * np.sqrt(count / (count - 1)))
    drawn = rng.choice(deviations or [0.0], (number, len(y)))
    return means + drawn


def resampled_clusters(
    clusters: Sequence[Hashable], rng: np.random.Generator, number: int = NUM_SAMPLES
) -> np.ndarray:
    """Weights of prompts, as if other things had been asked about: float64 [B, n], rows sum to 1.

    Args:
        clusters: the thing of each prompt.
        rng: draws.
        number: B.
    """
    names = list(dict.fromkeys(clusters))
    of_prompt = np.array([names.index(name) for name in clusters])
    drawn = rng.integers(0, len(names), (number, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
    weights = counts[:, of_prompt].astype(np.float64)
    return weights / weights.sum(axis=1, keepdims=True)
