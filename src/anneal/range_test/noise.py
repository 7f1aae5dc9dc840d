"""Noise and trend of a measured curve."""

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# White noise leaves the ratio of squared steps to squared deviations this many standard deviations
# below its mean once in 200 curves.
TREND_SIGMAS = 2.58
RISE_SIGMAS = 4.0  # noise alone spreads 20 points over about 4 standard deviations
FALL_SIGMAS = 3.0  # a fall is looked for after the top only, so in fewer places
FALL_SHARE = 0.1  # of the rise: a tenth is where a signal is commonly said to have changed


def smooth(values: Values) -> Values:
    """Average each point with half of each neighbour: symmetric, so that no rate moves.

    An exponential average lags by its time constant and moves every rate that is read upwards.
    """
    padded = np.concatenate([values[:1], values, values[-1:]])
    smoothed: Values = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return smoothed


def noise_of(values: Values) -> float:
    """Return the standard deviation of white noise with the same median second difference.

    Second differences take straight lines out; the median is not moved by a collapse.
    """
    return float(np.median(np.abs(np.diff(values, 2)))) / 0.6745 / math.sqrt(6.0)


def sampling_noise(accuracies: Values, num_images: int | None) -> float:
    """Return the standard error of the first point's accuracy (0..100) for that many images."""
    if num_images is None:
        return 0.0
    share = min(max(float(accuracies[0]) / 100, 1 / num_images), 1 - 1 / num_images)
    return 100 * math.sqrt(share * (1 - share) / num_images)


def has_trend(values: Values) -> bool:
    """Return whether a curve differs from white noise, by von Neumann's ratio.

    Squared steps over squared deviations from the mean are 2 for noise, with standard deviation
    2 sqrt((n - 2) / (n^2 - 1)), and near 0 for a curve that the points follow.
    """
    n = len(values)
    deviations = float(((values - values.mean()) ** 2).sum())
    if deviations <= (1e-9 * float(np.abs(values).max())) ** 2 * n:
        return False
    ratio = float((np.diff(values) ** 2).sum()) / deviations
    return (2.0 - ratio) / (2.0 * math.sqrt((n - 2) / (n * n - 1))) >= TREND_SIGMAS
