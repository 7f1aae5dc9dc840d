"""Power computation: the number of runs that would settle a verdict.

A verdict is settled when the whole interval lies on one side of every edge. How likely that is for
a fresh set of n runs is worked out under these assumptions: the true mean and spread are the ones
at hand (seen, or expected by the claim), values spread normally about the mean (ratios: their
logarithms), no run diverges, and as many claims are judged together as now. A mean of three runs is
itself uncertain, so that the answer is advice on the size of the next campaign and no promise.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from anneal.results.statistics import (
    FEWEST_FLIPS,
    FEWEST_RUNS,
    flips_depth,
    joint_confidence,
    subset_means,
)

CHANCE = 0.8
MOST_RUNS = 200  # beyond it, more seeds are no advice
_SPREADS = 50  # equally likely values of the sample's spread for an integral: within 0.001
_MOST_DRAWN_FLIPS = 10  # pairs; from there on Student's t has the power of sign flips within 0.03
_DRAWS = 2000  # known to 0.009 at a chance of 0.8

Numbers = NDArray[np.float64]


def runs_to_settle(
    *,
    mean: float,
    sd: float,
    edges: Sequence[float],
    num_together: int = 1,
    paired: bool = False,
    chance: float = CHANCE,
) -> int | None:
    """Return the smallest number of runs that settles a verdict with a chance of ``chance``.

    >>> runs_to_settle(mean=0.0, sd=1.0, edges=[-2.0, 2.0])
    5
    >>> runs_to_settle(mean=0.0, sd=1.0, edges=[-2.0, 2.0], num_together=5)
    8

    Args:
        mean: where the true one is taken to be.
        sd: spread of single runs or pairs about it, not negative.
        edges: what the interval must not straddle; for ratios their logarithms, as ``mean``.
        num_together: claims judged together.
        paired: whether sign flips make the interval where there are enough pairs.
        chance: in (0, 1).

    Returns:
        The number of runs in all, at least 3; None when 200 would not do.
    """
    enough = np.flatnonzero(
        chances_to_settle(mean=mean, sd=sd, edges=edges, num_together=num_together, paired=paired)
        >= chance
    )
    return FEWEST_RUNS + int(enough[0]) if enough.size else None


def chances_to_settle(
    *,
    mean: float,
    sd: float,
    edges: Sequence[float],
    num_together: int = 1,
    paired: bool = False,
) -> Numbers:
    """Return the chance that a verdict is settled with 3, 4, ... 200 runs, one for each number.

    For Student's t it is exact but for a sum in the place of an integral over the spread, which
    between two edges has no closed form (with one edge it is a noncentral t, for which scipy gives
    NaN where the chance is near 1). For sign flips of six to ten pairs it is counted over 2,000
    seeded samples. Arguments as :func:`runs_to_settle`.

    Raises:
        ValueError: ``sd`` is negative, or there is no edge.
    """
    if not sd >= 0:
        raise ValueError(f"sd must not be negative, got {sd}")
    if not edges:
        raise ValueError("edges must hold at least one number")
    if sd == 0:
        return np.full(MOST_RUNS + 1 - FEWEST_RUNS, float(mean not in edges))
    away = [-np.inf, *((edge - mean) / sd for edge in sorted(edges)), np.inf]
    sides = list(itertools.pairwise(away))
    halves = _half_widths(joint_confidence(num_together))
    roots = np.sqrt(_numbers_of_runs())
    chances = np.zeros(len(halves))
    for low, high in sides:
        inside = special.ndtr((high - halves) * roots) - special.ndtr((low + halves) * roots)
        chances += np.maximum(inside, 0).mean(axis=1)
    if paired:
        for n in range(FEWEST_FLIPS, _MOST_DRAWN_FLIPS + 1):
            lows, highs = _drawn_ends(n, num_together)
            settled = [(low < lows) & (highs < high) for low, high in sides]
            chances[n - FEWEST_RUNS] = np.any(settled, axis=0).mean()
    return chances


def _numbers_of_runs() -> Numbers:
    """Return 3, 4, ... 200 as a column."""
    return np.arange(FEWEST_RUNS, MOST_RUNS + 1, dtype=np.float64)[:, None]


@functools.cache
def _half_widths(confidence: float) -> Numbers:
    """Return Student's half-widths for a spread of 1: numbers of runs x equally likely samples."""
    n = _numbers_of_runs()
    middles = (np.arange(_SPREADS) + 0.5) / _SPREADS
    spreads = np.sqrt(special.chdtri(n - 1, 1 - middles) / (n - 1))
    found = special.stdtrit(n - 1, 0.5 + confidence / 2) * spreads / np.sqrt(n)
    return np.asarray(found, dtype=np.float64)


@functools.cache
def _drawn_ends(n: int, num_together: int) -> tuple[Numbers, Numbers]:
    """Return both ends of the joint interval of n standard normal pairs, for seeded samples.

    The interval is ``joint_interval(paired_interval, ...)``, all samples at once.
    """
    samples = np.random.default_rng(n).standard_normal((_DRAWS, n))
    means = np.sort(subset_means(samples), axis=1)
    centre, spread = samples.mean(axis=1), samples.std(axis=1, ddof=1)
    lows, highs = [], []
    for confidence in {joint_confidence(1), joint_confidence(num_together)}:
        depth = flips_depth(n, confidence=confidence)
        half = special.stdtrit(n - 1, 0.5 + confidence / 2) * spread / np.sqrt(n)
        lows.append(means[:, depth - 1] if depth else centre - half)
        highs.append(means[:, -depth] if depth else centre + half)
    return np.min(lows, axis=0), np.max(highs, axis=0)
