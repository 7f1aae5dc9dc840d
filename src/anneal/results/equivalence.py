"""Place of a measured mean: inside a tolerance, wholly below it, or wholly above it.

Five percent are risked on each side: the two-sided 90 % interval is what two one-sided tests at 5 %
amount to (Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power
approach"). One or two runs are held to 95 %.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from anneal.results.statistics import FEWEST_RUNS

LEVEL = 0.90  # two-sided, so 5 % a side
LEVEL_OF_FEW = 0.95  # with one or two runs
GUARD_LEVEL = 0.95

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Between what the true mean has to be.

    Args:
        low, high: ends; infinite where there is none.
        is_open: whether ``low`` itself is outside: for an order, whose margin must be exceeded.
        paper: the paper's number where it is a draw; nothing is called lower or higher that it
            might differ from by chance. None: without this guard.
        paper_runs: how many runs it is as good as the mean of.
    """

    low: float
    high: float
    is_open: bool = False
    paper: float | None = None
    paper_runs: float = math.inf


@dataclass(frozen=True)
class Place:
    """Where an interval is; none of them: it straddles an end, or the paper's chance covers it."""

    inside: bool | NDArray[np.bool_]
    lower: bool | NDArray[np.bool_]
    higher: bool | NDArray[np.bool_]


def level_for(n: int, *, num_readings: int | None = None) -> float:
    """Return the two-sided level of an interval over n values.

    >>> level_for(3), level_for(1), round(level_for(3, num_readings=4), 3)
    (0.9, 0.95, 0.975)

    Args:
        n: number of values.
        num_readings: of a claim, where one of them is judged; None for the literal one.
    """
    level = LEVEL if n >= FEWEST_RUNS else LEVEL_OF_FEW
    return level if num_readings is None else 1 - (1 - level) / num_readings


def quantile(level: float, df: float | Numbers) -> float | Numbers:
    """Return what Student's t exceeds in size with probability 1 - ``level``."""
    found: float | Numbers = special.stdtrit(df, 0.5 + level / 2)
    return found


def half_width(
    variance: float | Numbers, df: float | Numbers, n: int, *, level: float
) -> float | Numbers:
    """Return half the length of the interval of a mean of n values."""
    return quantile(level, df) * np.sqrt(variance / n)


def place(
    mean: float | Numbers,
    variance: float | Numbers,
    df: float | Numbers,
    n: int,
    *,
    tolerance: Tolerance,
    level: float,
) -> Place:
    """Return where the interval of a mean is; arrays in, arrays out."""
    half = half_width(variance, df, n, level=level)
    low, high = mean - half, mean + half
    above_low = low > tolerance.low if tolerance.is_open else low >= tolerance.low
    inside = above_low & (high <= tolerance.high)
    lower, higher = high < tolerance.low, low > tolerance.high
    if tolerance.paper is not None:
        chance = np.sqrt(variance * (1 / tolerance.paper_runs + 1 / n))
        differs = np.abs(mean - tolerance.paper) > quantile(GUARD_LEVEL, df) * chance
        lower, higher = lower & differs, higher & differs
    return Place(inside, lower, higher)


def confidence_inside(
    mean: float, variance: float, df: float, n: int, *, tolerance: Tolerance
) -> float:
    """Return how sure it is that the true mean is within a tolerance, in 0..1."""
    if variance == 0:
        return float(place(mean, variance, df, n, tolerance=tolerance, level=LEVEL).inside)
    error = math.sqrt(variance / n)
    ends = ((end - mean) / error for end in (tolerance.low, tolerance.high))
    below, above = (float(special.stdtr(df, end)) for end in ends)
    return above - below
