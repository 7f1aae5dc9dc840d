"""Power computation: the number of runs that would settle a verdict or tell two rows apart.

How likely a fresh set of n runs settles it is worked out under these assumptions: the true mean and
spread are the ones at hand (seen, or expected), values spread normally about the mean (ratios:
their logarithms), and no run diverges. A mean of three runs is itself uncertain, so that the answer
is advice on the size of the next campaign and no promise.
"""

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import special

from anneal.results.equivalence import Tolerance, level_for, place
from anneal.results.network_prior import NetworkPrior, spread
from anneal.results.statistics import FEWEST_FLIPS, FEWEST_RUNS, flips_depth, subset_means

CHANCE = 0.8
CONFIDENCE = 0.95  # of the interval that tells two rows apart
MOST_RUNS = 200  # beyond it, more seeds are no advice
_SPREADS, _MEANS = 50, 80  # equally likely samples of a size: within 0.005 of the integral
_MOST_DRAWN_FLIPS = 10  # pairs; from there on Student's t has the power of sign flips within 0.03
_DRAWS = 2000  # known to 0.009 at a chance of 0.8

Numbers = NDArray[np.float64]


def runs_to_verdict(
    *,
    mean: float,
    sd: float,
    tolerance: Tolerance,
    prior: NetworkPrior | None = None,
    units: float = 1.0,
    chance: float = CHANCE,
) -> int | None:
    """Return the smallest number of runs that the rule of verdicts settles with such a chance.

    >>> runs_to_verdict(mean=0.0, sd=1.0, tolerance=Tolerance(low=-2.0, high=2.0))
    4

    Args:
        mean: where the true one is taken to be.
        sd: spread of single runs, pairs or logarithms about it.
        tolerance: what the interval has to be inside, or wholly outside.
        prior: what the network tells about the spread.
        units: how many times the network's usual variance is expected.
        chance: in (0, 1).

    Returns:
        The number of runs in all, at least 3; None when 200 would not do.
    """
    for n in range(FEWEST_RUNS, MOST_RUNS + 1):
        found = chance_of_verdict(
            n, mean=mean, sd=sd, tolerance=tolerance, prior=prior, units=units
        )
        if found >= chance:
            return n
    return None


def chance_of_verdict(
    n: int,
    *,
    mean: float,
    sd: float,
    tolerance: Tolerance,
    prior: NetworkPrior | None = None,
    units: float = 1.0,
) -> float:
    """Return the chance that n runs are called reproduced, lower or higher.

    The rule itself is applied to 4,000 equally likely samples: quantiles of the mean, and of the
    spread. Arguments as :func:`runs_to_verdict`.
    """
    means, variances = _samples(n)
    seen = spread(sd**2 * variances, n, prior, units=units)
    assert seen is not None
    where = place(mean + sd * means, *seen, n, tolerance=tolerance, level=level_for(n))
    return float(np.mean(where.inside | where.lower | where.higher))


@functools.cache
def _samples(n: int) -> tuple[Numbers, Numbers]:
    """Return means and variances of n standard normal values: each with each, equally likely."""
    of_means, of_spreads = ((np.arange(size) + 0.5) / size for size in (_MEANS, _SPREADS))
    means = special.ndtri(of_means) / np.sqrt(n)
    variances = special.chdtri(n - 1, 1 - of_spreads) / (n - 1)
    grid = np.meshgrid(means, variances)
    return grid[0].ravel(), grid[1].ravel()


def pairs_to_tell_apart(*, mean: float, sd: float, chance: float = CHANCE) -> int | None:
    """Return the smallest number of pairs whose 95 % interval excludes 0 with such a chance.

    The interval is :func:`anneal.results.statistics.paired_interval`'s.

    >>> pairs_to_tell_apart(mean=1.0, sd=0.5)
    5

    Args:
        mean: where the true difference is taken to be.
        sd: spread of single differences about it, not negative.
        chance: in (0, 1).

    Returns:
        The number of pairs in all, at least 3; None when 200 would not do.
    """
    enough = np.flatnonzero(chances_to_tell_apart(mean=mean, sd=sd) >= chance)
    return FEWEST_RUNS + int(enough[0]) if enough.size else None


def chances_to_tell_apart(*, mean: float, sd: float) -> Numbers:
    """Return the chance for 3, 4, ... 200 pairs, one for each number.

    For Student's t it is exact but for a sum in the place of an integral over the spread (a
    noncentral t, for which scipy gives NaN where the chance is near 1). For sign flips of six to
    ten pairs it is counted over 2,000 seeded samples.

    Raises:
        ValueError: ``sd`` is negative.
    """
    if not sd >= 0:
        raise ValueError(f"sd must not be negative, got {sd}")
    if sd == 0:
        return np.full(MOST_RUNS + 1 - FEWEST_RUNS, float(mean != 0))
    away = -mean / sd
    halves = _half_widths()
    roots = np.sqrt(_numbers_of_runs())
    below = special.ndtr((away - halves) * roots)
    above = special.ndtr(-(away + halves) * roots)
    chances = np.asarray((below + above).mean(axis=1), dtype=np.float64)
    for n in range(FEWEST_FLIPS, _MOST_DRAWN_FLIPS + 1):
        lows, highs = _drawn_ends(n)
        chances[n - FEWEST_RUNS] = np.mean((highs < away) | (away < lows))
    return chances


def _numbers_of_runs() -> Numbers:
    """Return 3, 4, ... 200 as a column."""
    return np.arange(FEWEST_RUNS, MOST_RUNS + 1, dtype=np.float64)[:, None]


@functools.cache
def _half_widths() -> Numbers:
    """Return Student's half-widths for a spread of 1: numbers of runs x equally likely samples."""
    n = _numbers_of_runs()
    middles = (np.arange(_SPREADS) + 0.5) / _SPREADS
    spreads = np.sqrt(special.chdtri(n - 1, 1 - middles) / (n - 1))
    found = special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2) * spreads / np.sqrt(n)
    return np.asarray(found, dtype=np.float64)


@functools.cache
def _drawn_ends(n: int) -> tuple[Numbers, Numbers]:
    """Return both ends of the sign-flip interval of n standard normal pairs, for seeded samples."""
    samples = np.random.default_rng(n).standard_normal((_DRAWS, n))
    means = np.sort(subset_means(samples), axis=1)
    depth = flips_depth(n, confidence=CONFIDENCE)
    return means[:, depth - 1], means[:, -depth]
