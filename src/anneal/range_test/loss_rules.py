"""Rules that read bounds off the training loss: minimum, steepest, valley."""

import bisect
import math
from dataclasses import dataclass

import numpy as np

from anneal.range_test.curve import RangeTestCurve
from anneal.range_test.noise import (
    FALL_SHARE,
    FALL_SIGMAS,
    RISE_SIGMAS,
    Values,
    has_trend,
    noise_of,
    smooth,
)
from anneal.range_test.suggestion import (
    FEWEST_POINTS,
    Remedy,
    Suggestion,
    abstain,
    abstain_too_short,
)

MINIMUM_DIVISOR = 10.0  # the loss is least at the edge of divergence; a decade below is custom
MAX_OVER_BASE = 4.0  # Smith 1506.01186v6, section 3.3: "set base_lr to 1/3 or 1/4 of max_lr"
STEEPEST_REACH = math.log(2.0)  # of the fitted line, each way: a factor of two in the rate
STEEPEST_END_SHARE = 0.9  # a last slope this near to the steepest may well be followed by steeper
VALLEY_PART = 2 / 3


def minimum(curve: RangeTestCurve) -> Suggestion:
    """Take a tenth of the rate at which the smoothed training loss is least.

    The oldest habit with loss curves (fastai's first range tests): the loss is least just before it
    diverges, so the rate there is too large and a decade below is taken. One number is no pair;
    base_lr is a quarter of it (Smith, 1506.01186v6, section 3.3: "1/3 or 1/4 of max_lr").

    It abstains when the loss never rises again after its minimum: the minimum is then the end of
    the sweep or of the training, and not a property of the rate.
    """
    read = _read_losses("minimum", curve)
    if isinstance(read, Suggestion):
        return read
    least = float(read.lrs[read.least])
    if not read.has_risen:
        return abstain(
            "minimum",
            f"the training loss does not rise again after {read.smoothed[read.least]:.3g} at "
            f"{least:.3g}: its minimum lies beyond {read.lrs[-1]:.3g}",
            Remedy.HIGHER_RATES,
        )
    return _pair(
        "minimum",
        least / MINIMUM_DIVISOR,
        f"the smoothed training loss is least ({read.smoothed[read.least]:.3g}) at {least:.3g}; "
        f"max_lr is a tenth of that",
    )


def steepest(curve: RangeTestCurve) -> Suggestion:
    """Take the rate at which the smoothed training loss falls fastest against the log of the rate.

    The slope is that of a straight line through all points within a factor of two of the rate, so
    the spacing of the points does not matter. (Differences by index, as common tools take them,
    move the answer when the same curve is measured on another grid.) base_lr is a quarter of it.

    It abstains when the fall is fastest at the end of the sweep.
    """
    read = _read_losses("steepest", curve)
    if isinstance(read, Suggestion):
        return read
    logs = np.log(read.lrs)
    slopes = np.full(len(logs), np.inf)
    for i in range(1, read.least + 1):
        near = np.abs(logs - logs[i]) <= STEEPEST_REACH * (1 + 1e-9)
        near[max(0, i - 1) : i + 2] = True
        near &= np.arange(len(logs)) <= read.least
        slopes[i] = np.polyfit(logs[near], read.smoothed[near], 1)[0]
    at = int(np.argmin(slopes))
    if slopes[-1] <= STEEPEST_END_SHARE * slopes[at] and curve.diverged_at is None:
        return abstain(
            "steepest",
            f"the training loss still falls at {read.lrs[-1]:.3g}, the last rate, as fast as "
            f"anywhere",
            Remedy.HIGHER_RATES,
        )
    return _pair(
        "steepest",
        float(read.lrs[at]),
        f"the smoothed training loss falls fastest at {read.lrs[at]:.3g}, by "
        f"{-slopes[at] * math.log(10):.3g} for each factor of ten in the rate",
    )


def valley(curve: RangeTestCurve) -> Suggestion:
    """Take the rate two thirds of the way, in log rate, through the longest fall of the loss.

    The idea of fastai's default suggestion, in our own form: the longest fall is the longest
    sequence of points, not necessarily neighbours, of ever smaller smoothed loss, so a bump does
    not end it. Two thirds are counted in the logarithm of the rate and not in points, so the answer
    does not depend on the grid. base_lr is a quarter of it.

    It abstains when the fall continues to the end of the sweep: its length is then unknown.
    """
    read = _read_losses("valley", curve)
    if isinstance(read, Suggestion):
        return read
    fall = _longest_fall(read.smoothed)
    first, last = float(read.lrs[fall[0]]), float(read.lrs[fall[-1]])
    if fall[-1] == len(read.lrs) - 1 and curve.diverged_at is None:
        return abstain(
            "valley",
            f"the training loss still falls at {last:.3g}, the last rate",
            Remedy.HIGHER_RATES,
        )
    inside = math.exp(math.log(first) + VALLEY_PART * (math.log(last) - math.log(first)))
    return _pair(
        "valley",
        inside,
        f"the longest fall of the smoothed training loss goes from {first:.3g} to {last:.3g} "
        f"({read.smoothed[fall[0]]:.3g} to {read.smoothed[fall[-1]]:.3g}); two thirds of the way, "
        f"in log rate, is {inside:.3g}",
    )


@dataclass(frozen=True, kw_only=True)
class _Losses:
    """Training losses against positive rates, smoothed; where they are least and if they rise."""

    lrs: Values
    smoothed: Values
    least: int
    has_risen: bool  # after the least one


def _read_losses(rule: str, curve: RangeTestCurve) -> _Losses | Suggestion:
    """Return the smoothed losses that the three rules read, or their abstention."""
    pairs = [(p.lr, p.train_loss) for p in curve.points if p.lr > 0 and p.train_loss is not None]
    if len(pairs) < FEWEST_POINTS:
        return abstain_too_short(rule, curve, len(pairs))
    lrs, losses = np.array(pairs, dtype=np.float64).T
    smoothed = smooth(losses)
    least = int(np.argmin(smoothed))
    fall = float(smoothed[: least + 1].max() - smoothed[least])
    # In logarithms: a loss that explodes at the end would hide the trend of all points before.
    if not has_trend(np.log(losses) if (losses > 0).all() else losses):
        return abstain(
            rule,
            f"the training loss stays between {losses.min():.3g} and {losses.max():.3g}, flat or "
            "no clearer than noise",
        )
    # Of the falling part only: a loss that explodes at the end is rough, but that is no noise.
    noise = noise_of(losses[: max(least + 1, FEWEST_POINTS)])
    if fall <= RISE_SIGMAS * noise:
        return abstain(
            rule,
            f"the training loss does not fall: {fall:.2g} down are no more than {RISE_SIGMAS:g} "
            f"times the noise of {noise:.2g}",
        )
    again = float(smoothed[least:].max() - smoothed[least])
    has_risen = curve.diverged_at is not None or again >= max(
        FALL_SHARE * fall, FALL_SIGMAS * noise
    )
    return _Losses(lrs=lrs, smoothed=smoothed, least=least, has_risen=has_risen)


def _longest_fall(values: Values) -> list[int]:
    """Return the indices of the longest strictly falling subsequence; of several, one that is.

    >>> _longest_fall(np.array([5.0, 4.0, 6.0, 3.0, 7.0]))
    [0, 1, 3]
    """
    lowest: list[float] = []  # [k]: the largest last value, negated, of a fall of k + 1 points
    ends: list[int] = []
    before: list[int | None] = []
    for i, value in enumerate(-values):
        length = bisect.bisect_left(lowest, value)
        before.append(ends[length - 1] if length else None)
        lowest[length : length + 1] = [float(value)]
        ends[length : length + 1] = [i]
    at: int | None = ends[-1]
    fall = []
    while at is not None:
        fall.append(at)
        at = before[at]
    return fall[::-1]


def _pair(rule: str, max_lr: float, reason: str) -> Suggestion:
    return Suggestion(
        rule=rule,
        base_lr=max_lr / MAX_OVER_BASE,
        max_lr=max_lr,
        reason=f"{reason}; base_lr is a quarter of max_lr",
    )
