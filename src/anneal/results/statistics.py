"""Statistics over few runs: intervals of means, paired differences, ratios, predictions.

Student's t serves at every number of runs: it is exact for normally spread seeds, while the
bootstrap of ten runs is too narrow (a test measures both coverages). Pairs are judged by exact sign
flips from six of them, since fewer have no flip pattern rarer than 2.5 % on a side.
"""

import dataclasses
import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
FEWEST_RUNS = 3  # for a verdict (docs/verdicts.md)
FEWEST_FLIPS = 6  # 2 of 2**6 patterns are 3.1 %; 2 of 2**5 would be 6.3 %
MOST_FLIPS = 16  # 65,535 subsets; with more pairs Student's t is as good and no enumeration


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and the interval that would hold the true one in ``confidence`` of repetitions.

    Args:
        mean: of the values (for ratios: the geometric mean).
        low, high: ends of the interval; None when one value alone gives none.
        n: how many values.
        sd: their spread with n - 1 (for ratios: of the logarithms); None for one value.
        method: how the ends were found, in words.
        confidence: in (0, 1).
        is_ratio: whether ``mean`` is a geometric one, so that its ends are not equally far from it.
        is_median: whether ``mean`` is a median, likewise.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    sd: float | None
    method: str
    confidence: float = CONFIDENCE
    is_ratio: bool = False
    is_median: bool = False

    @property
    def half_width(self) -> float | None:
        """Half of the interval's length; None when there is no interval."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2


def student_half_width(*, sd: float, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the half-width of Student's t interval of a mean.

    >>> round(student_half_width(sd=1.0, n=3), 3)  # 4.303 / sqrt(3)
    2.484

    Raises:
        ValueError: fewer than two values, a negative spread, or a confidence outside (0, 1).
    """
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}")
    if not sd >= 0:
        raise ValueError(f"sd must not be negative, got {sd}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    return _student_quantile(confidence, n - 1) * sd / math.sqrt(n)


@functools.cache
def _student_quantile(confidence: float, degrees: int) -> float:
    """Return the value that Student's t exceeds in size with probability 1 - ``confidence``."""
    return float(stats.t.ppf(0.5 + confidence / 2, degrees))


def mean_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of independent runs with its Student's t interval.

    >>> found = mean_interval([81.0, 82.0, 83.0])
    >>> found.mean, round(found.low, 2), round(found.high, 2)
    (82.0, 79.52, 84.48)

    Args:
        values: one for each run, finite, at least one.
        confidence: in (0, 1).

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    _check_finite(values)
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(
            mean=mean,
            low=None,
            high=None,
            n=1,
            sd=None,
            method="a single run",
            confidence=confidence,
        )
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = student_half_width(sd=sd, n=n, confidence=confidence)
    return Interval(
        mean=mean,
        low=mean - half,
        high=mean + half,
        n=n,
        sd=sd,
        method="Student's t",
        confidence=confidence,
    )


def paired_interval(differences: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of differences paired by seed, with its interval.

    Below six pairs it is Student's t. From six to sixteen it is the interval that inverts the exact
    sign-flip test: flipping a subset leaves the sum as large exactly when the subset's mean is not
    above the hypothesis, so the ends are order statistics of the 2^n - 1 subset means (Hartigan
    1969, "Using subsample values as typical values"). It assumes only that differences spread
    evenly about their centre, and holds at least ``confidence``.

    >>> found = paired_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    >>> found.low, found.high, found.method
    (1.0, 6.0, 'exact sign flips')

    Raises:
        ValueError: there is no difference, or one is not finite.
    """
    simple = mean_interval(differences, confidence=confidence)
    depth = flips_depth(len(differences), confidence=confidence)
    if depth < 1:
        return simple
    means = np.sort(subset_means(np.asarray(differences, dtype=np.float64)))
    return dataclasses.replace(
        simple,
        low=float(means[depth - 1]),
        high=float(means[-depth]),
        method="exact sign flips",
    )


def flips_depth(n: int, *, confidence: float = CONFIDENCE) -> int:
    """Return which of the ordered subset means, from either end, bounds the sign-flip interval.

    That is how many of the 2^n patterns of signs each side gives away; 0 where Student's t serves:
    with too few pairs for this confidence, or with so many that it is as good.

    >>> [flips_depth(n) for n in (5, 6, 8, 17)], flips_depth(7, confidence=0.99)
    ([0, 1, 6, 0], 0)
    """
    if not FEWEST_FLIPS <= n <= MOST_FLIPS:
        return 0
    return math.floor((1 - confidence) / 2 * 2.0**n + 1e-9)


def subset_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of all 2^n - 1 subsets that are not empty, in no particular order.

    Args:
        values: of shape (..., n).

    Returns:
        Of shape (..., 2^n - 1).
    """
    sums, sizes = np.zeros((*values.shape[:-1], 1)), np.zeros(1)
    for i in range(values.shape[-1]):
        sums = np.concatenate([sums, sums + values[..., i : i + 1]], axis=-1)
        sizes = np.concatenate([sizes, sizes + 1])
    return np.asarray(sums[..., 1:] / sizes[1:], dtype=np.float64)


def median_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Return the median of independent values with the order statistics that hold the true one.

    The k-th lowest and the k-th highest value are the ends of the exact sign test, turned round:
    they hold the median of any distribution with at least ``confidence``, and k is the largest that
    does. Nothing is assumed of how values spread, as the means of sign flips and the bootstrap do.

    >>> found = median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 90.0], confidence=0.9)
    >>> found.mean, found.low, found.high
    (5.0, 2.0, 8.0)

    Args:
        values: one for each subject, finite, at least one.
        confidence: in (0, 1).

    Returns:
        The median in the place of the mean; without ends where there are too few values.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    _check_finite(values)
    ordered, n = sorted(values), len(values)
    depth = median_depth(n, confidence=confidence)
    return Interval(
        mean=statistics.median(ordered),
        low=ordered[depth - 1] if depth else None,
        high=ordered[-depth] if depth else None,
        n=n,
        sd=None,
        method="exact sign test of the median" if depth else "a median without an interval",
        confidence=confidence,
        is_median=True,
    )


def median_depth(n: int, *, confidence: float = CONFIDENCE) -> int:
    """Return which of n ordered values, from either end, bounds the interval of their median.

    >>> [median_depth(n, confidence=0.9) for n in (4, 5, 9, 14)]  # 0: none does
    [0, 1, 2, 4]
    """
    below = stats.binom.cdf(np.arange(n // 2), n, 0.5)  # fewer than k of n values on one side
    return int((2 * below <= 1 - confidence + 1e-9).sum())


def ratio_interval(ratios: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Return the geometric mean of ratios paired by seed, with its interval.

    >>> round(ratio_interval([0.5, 2.0]).mean, 12)
    1.0

    Raises:
        ValueError: there is no ratio, or one is not positive and finite.
    """
    for ratio in ratios:
        if not (ratio > 0 and math.isfinite(ratio)):
            raise ValueError(f"ratios must be positive and finite, got {ratio}")
    logs = paired_interval([math.log(ratio) for ratio in ratios], confidence=confidence)
    return dataclasses.replace(
        logs,
        mean=math.exp(logs.mean),
        low=None if logs.low is None else math.exp(logs.low),
        high=None if logs.high is None else math.exp(logs.high),
        method=f"{logs.method} of the logarithms",
        is_ratio=True,
    )


def prediction_interval(
    values: Sequence[float], *, num_ahead: int = 1, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Return between which two numbers the mean of ``num_ahead`` further runs would fall.

    The interval of a mean says where the mean of endless runs is; a single run of somebody else
    scatters about it as ours do, so that its place is mean +- t * sd * sqrt(1/k + 1/n) with k =
    ``num_ahead`` (normal spread; the other's runs taken to be like ours).

    >>> low, high = prediction_interval([81.0, 82.0, 83.0])
    >>> round(low, 2), round(high, 2)  # 4.303 * sqrt(1 + 1/3)
    (77.03, 86.97)

    Returns:
        Both ends; None for a single value, which has no spread.
    """
    found = mean_interval(values, confidence=confidence)
    if found.sd is None:
        return None
    widened = found.sd * math.sqrt(1 / num_ahead + 1 / found.n)
    half = _student_quantile(confidence, found.n - 1) * widened
    return found.mean - half, found.mean + half


def _check_finite(values: Sequence[float]) -> None:
    if not values:
        raise ValueError("an interval needs at least one value, got none")
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"values must be finite, got {value}")
