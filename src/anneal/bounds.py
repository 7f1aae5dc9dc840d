"""From the curve of a range test to a pair of bounds, and from the pair to a scheduler (PURE).

Four rules read a curve: Smith's own, from the accuracy, and three that people know from the loss.
Each gives a (base, max) pair with its reason in words, or abstains and says why: a curve that was
not swept far enough, or says nothing, must not turn into a number.

The rules look at differences of accuracy relative to the whole rise, and at differences of loss
relative to the whole fall, so neither the unit nor the number of classes matters to them.
"""

import bisect
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Sweep = Literal["linear", "exponential"]

FEWEST_POINTS = 8  # three straight pieces have five unknowns; fewer points fit anything
# White noise leaves the ratio of squared steps to squared deviations this many standard deviations
# below its mean once in 200 curves.
TREND_SIGMAS = 2.58
RISE_SIGMAS = 4.0  # noise alone spreads 20 points over about 4 standard deviations
FALL_SIGMAS = 3.0  # a fall is looked for after the top only, so in fewer places
FALL_SHARE = 0.1  # of the rise: a tenth is where a signal is commonly said to have changed
START_SHARE = 0.1  # the same tenth, at the foot of the rise (a "10-90 rise time" starts there)
COLLAPSE_SHARE = 0.5  # below half of the rise the net has broken down: no part of "no longer rises"
COLLAPSING_SHARE = 0.75  # a point below this, just before the breakdown, is on its way into it
SLOW_SHARE = 1 / 3  # of its slope: a rise that goes on faster than this has not slowed visibly
END_SHARE = 0.05  # of the rise: what the last third of a sweep may add to a curve that has settled
# Even noise is this much rougher on one side of some point in 1 of 250 noisy rises (simulated with
# 15 to 41 points; with a ratio of 4 and 5 points it is 1 of 15).
RAGGED_RATIO = 8.0
RAGGED_POINTS = 6
RAGGED_SHARE = 0.05  # of the rise: rougher than before is still smooth to the eye below this
MINIMUM_DIVISOR = 10.0  # the loss is least at the edge of divergence; a decade below is custom
MAX_OVER_BASE = 4.0  # Smith 1506.01186v6, section 3.3: "set base_lr to 1/3 or 1/4 of max_lr"
STEEPEST_REACH = math.log(2.0)  # of the fitted line, each way: a factor of two in the rate
STEEPEST_END_SHARE = 0.9  # a last slope this near to the steepest may well be followed by steeper
VALLEY_PART = 2 / 3
DISAGREEMENT = 2.0  # section 3.3: the best rate is "usually within a factor of two" of the largest


@dataclass(frozen=True, kw_only=True)
class RangeTestPoint:
    """One measured point of a sweep.

    Args:
        update: updates made; 0 is the untouched model.
        lr: rate of the last of them; 0.0 at update 0, where none was made.
        accuracy_pct: on the held-out training images, 0..100.
        held_out_loss: on the same images, nats; None where it is not known.
        train_loss: mean over the updates since the point before, nats; None at update 0.
    """

    update: int
    lr: float
    accuracy_pct: float
    held_out_loss: float | None = None
    train_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class RangeTestCurve:
    """One sweep of the rate.

    Args:
        points: by rising rate.
        sweep: how the rates were spread over the updates.
        diverged_at: index of the update whose loss was the first that is no finite number (as many
            updates had been made by then), or None. The sweep ended there.
        diverged_lr: rate of the update made just before that one, the one to blame.
        num_images: held-out images; None where it is not known (a curve read from a figure).

    Raises:
        ValueError: the rates do not rise from point to point, or a measured number is not finite.
    """

    points: tuple[RangeTestPoint, ...]
    sweep: Sweep = "linear"
    diverged_at: int | None = None
    diverged_lr: float | None = None
    num_images: int | None = None

    def __post_init__(self) -> None:
        for point in self.points:
            numbers = (point.lr, point.accuracy_pct, point.held_out_loss, point.train_loss)
            if not all(math.isfinite(number) for number in numbers if number is not None):
                raise ValueError(f"every number of a point must be finite, got {point}")
            if point.lr < 0:
                raise ValueError(f"lr must not be negative, got {point.lr}")
        for before, after in zip(self.points, self.points[1:], strict=False):
            if after.lr <= before.lr:
                raise ValueError(
                    f"lr must rise from point to point, got {after.lr} after {before.lr}"
                )

    def describe(self) -> dict[str, Any]:
        """Return the curve as plain data; :func:`read_curve` is the way back."""
        return {**dataclasses.asdict(self), "points": [dataclasses.asdict(p) for p in self.points]}


def read_curve(plain: Mapping[str, Any]) -> RangeTestCurve:
    """Return the curve that ``describe`` was asked of, also after a journey through JSON."""
    points = tuple(RangeTestPoint(**point) for point in plain["points"])
    return RangeTestCurve(**{**plain, "points": points})


def curve_from_columns(
    *,
    lrs: Sequence[float],
    accuracies_pct: Sequence[float],
    train_losses: Sequence[float] | None = None,
    sweep: Sweep = "linear",
) -> RangeTestCurve:
    """Return a curve from columns of numbers, such as a figure of a paper read by eye.

    >>> curve_from_columns(lrs=[0.0, 0.1], accuracies_pct=[10.0, 20.0]).points[1].accuracy_pct
    20.0

    Raises:
        ValueError: the columns differ in length, or are no curve.
    """
    losses = [None] * len(lrs) if train_losses is None else train_losses
    if not len(lrs) == len(accuracies_pct) == len(losses):
        raise ValueError(
            "columns must be equally long, got "
            f"{len(lrs)} rates, {len(accuracies_pct)} accuracies and {len(losses)} losses"
        )
    return RangeTestCurve(
        points=tuple(
            RangeTestPoint(update=i, lr=lr, accuracy_pct=accuracy, train_loss=loss)
            for i, (lr, accuracy, loss) in enumerate(zip(lrs, accuracies_pct, losses, strict=True))
        ),
        sweep=sweep,
    )


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a rule says of one curve: a pair and its reason, or no pair and the reason for that.

    Args:
        rule: a key of :data:`RULES`.
        base_lr, max_lr: the pair, 0 < base < max; both None when the rule abstains.
        reason: one sentence with its numbers.
    """

    rule: str
    base_lr: float | None
    max_lr: float | None
    reason: str

    @property
    def found(self) -> bool:
        """Whether there is a pair."""
        return self.base_lr is not None and self.max_lr is not None


# Smith's rule


def smith(curve: RangeTestCurve) -> Suggestion:
    """Read the bounds from the accuracy (Smith, 1506.01186v6, section 3.3).

    "Note the learning rate value when the accuracy starts to increase and when the accuracy slows,
    becomes ragged, or starts to fall": the first is base_lr, the second max_lr. In numbers: three
    straight pieces are fitted to the curve by least squares, *nothing yet - rising - no longer
    rising*, of which the last may be flat, ragged or falling but not steeper than a third of the
    rise. The two corners are the bounds. Before the fit, the curve is cut where it breaks down
    below half of its rise, since a collapse would pull the corner towards itself. Where the
    roughness jumps earlier than the slope changes, max_lr is there.

    The pieces are fitted over the rate of a linear sweep and over its logarithm for an exponential
    one: over updates, in both cases. A curve that rises from its first point on has no first
    corner; base_lr is then the first measured rate at which the fit has risen by a tenth.

    It abstains when there are fewer than 8 points, when the curve is flat or no clearer than noise,
    and when it still rises at its end: max_lr then lies beyond the sweep.

    >>> accuracies = [10, 10, 40, 70, 72, 73, 72, 71, 60, 40]
    >>> found = smith(curve_from_columns(lrs=range(10), accuracies_pct=accuracies))
    >>> found.base_lr, found.max_lr
    (1.0, 3.0)
    """
    points = [p for p in curve.points if curve.sweep == "linear" or p.lr > 0]
    if len(points) < FEWEST_POINTS:
        return _abstain("smith", _too_short(curve, len(points)))
    lrs = np.array([p.lr for p in points], dtype=np.float64)
    accuracies = np.array([p.accuracy_pct for p in points], dtype=np.float64)
    noise = max(_noise(accuracies), _sampling_noise(accuracies, curve.num_images))
    spread = f"between {accuracies.min():.3g} and {accuracies.max():.3g} %"
    if not _has_trend(accuracies):
        return _abstain("smith", f"the accuracy stays {spread}, flat or no clearer than noise")
    smoothed = _smooth(accuracies)
    top = int(np.argmax(smoothed))
    whole = _before_collapse(accuracies, smoothed, top)
    x = lrs if curve.sweep == "linear" else np.log(lrs)
    x = (x - x[0]) / (x[-1] - x[0])
    fit = _fit_three_pieces(x[:whole], accuracies[:whole])
    if fit is None or fit.rise < RISE_SIGMAS * noise:
        risen = 0.0 if fit is None else fit.rise
        return _abstain(
            "smith",
            f"the accuracy does not rise: it stays {spread}, and {risen:.2g} points up are less "
            f"than {RISE_SIGMAS:g} times the noise of {noise:.2g}",
        )
    base = _start_of_rise(lrs, x, fit)
    fall = float(smoothed[top] - smoothed[top:].min())
    has_fallen = fall >= max(FALL_SHARE * fit.rise, FALL_SIGMAS * noise)
    ragged = _turns_ragged(accuracies[:whole], fit)
    corner = fit.end if ragged is None else min(fit.end, ragged)
    starts = f"the accuracy starts to rise at {base:.3g}"
    if not has_fallen and curve.diverged_at is None and ragged is None:
        added = _added_by_last_third(x, accuracies) / fit.rise
        if corner == len(lrs) - 1 or added > END_SHARE:
            return _abstain(
                "smith",
                f"{starts} and still rises at {lrs[-1]:.3g}, the last rate (the last third of the "
                f"sweep added {added:.0%} of the rise): max_lr lies beyond, sweep further",
            )
    if base >= lrs[corner]:
        return _abstain(
            "smith",
            f"the whole rise, {fit.rise:.3g} points, lies between two measured rates "
            f"({lrs[fit.start]:.3g} and {lrs[corner]:.3g}): measure more densely",
        )
    if ragged is not None and ragged < fit.end:
        then = "turns ragged"
    elif fit.end == whole - 1 and not has_fallen:
        then = "is last measured"
    elif fit.end == whole - 1:
        then = "starts to fall"
    elif fit.slope_after < 0:
        then = "stops rising"
    else:
        then = f"slows to {fit.slope_after:.0%} of its slope"
    if curve.diverged_at is not None:
        ending = f"; the loss is no finite number from {curve.diverged_lr:.3g} on"
    elif has_fallen:
        ending = f"; it falls by {fall:.3g} points after its top at {lrs[top]:.3g}"
    else:
        ending = ""
    level = fit.level + fit.rise
    return Suggestion(
        rule="smith",
        base_lr=base,
        max_lr=float(lrs[corner]),
        reason=f"{starts} (from {fit.level:.3g} %) and {then} at {lrs[corner]:.3g} "
        f"(near {level:.3g} %){ending}",
    )


@dataclass(frozen=True, kw_only=True)
class _ThreePieces:
    """Nothing yet, rising, no longer rising: points of the corners and what lies between them."""

    start: int
    end: int
    level: float  # before the rise
    rise: float  # from corner to corner
    slope_after: float  # relative to the slope of the rise


def _fit_three_pieces(x: Values, y: Values) -> _ThreePieces | None:
    """Return the best fit over all pairs of corners at measured points; None if nothing rises.

    Least squares with the hinges max(0, x - corner): all pairs at once, through the sums of
    products of hinges. The last corner may be the last point: then there is no third piece.
    """
    if len(x) < 2:
        return None
    centred = y - y.mean()
    hinges = np.clip(x[None, :] - x[:, None], 0.0, None)  # (corner, point)
    hinges = hinges - hinges.mean(axis=1, keepdims=True)  # takes the constant out of the fit
    products = hinges @ hinges.T
    with_y = hinges @ centred
    first, second = np.triu_indices(len(x), k=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b, c = products[first, first], products[first, second], products[second, second]
        p, q = with_y[first], with_y[second]
        no_third = second == len(x) - 1
        determinant = np.where(no_third, 1.0, a * c - b * b)
        slope = np.where(no_third, p / a, (p * c - q * b) / determinant)
        bend = np.where(no_third, 0.0, (q * a - p * b) / determinant)
        residual = centred @ centred - slope * p - bend * q
    allowed = (slope > 0) & (no_third | (slope + bend <= SLOW_SHARE * slope))
    allowed &= np.isfinite(residual)
    if not allowed.any():
        return None
    best = int(np.argmin(np.where(allowed, residual, np.inf)))
    start, end = int(first[best]), int(second[best])
    raw_means = [np.clip(x - x[corner], 0.0, None).mean() for corner in (start, end)]
    return _ThreePieces(
        start=start,
        end=end,
        level=float(y.mean() - slope[best] * raw_means[0] - bend[best] * raw_means[1]),
        rise=float(slope[best] * (x[end] - x[start])),
        slope_after=float((slope[best] + bend[best]) / slope[best]),
    )


def _start_of_rise(lrs: Values, x: Values, fit: _ThreePieces) -> float:
    """Return the corner's rate, or the first measured rate where a cornerless fit has risen."""
    if fit.start > 0 and lrs[fit.start] > 0:
        return float(lrs[fit.start])
    risen = (x - x[fit.start]) / (x[fit.end] - x[fit.start])
    return float(lrs[(risen >= START_SHARE) & (lrs > 0)][0])


def _before_collapse(accuracies: Values, smoothed: Values, top: int) -> int:
    """Return how many points there are before the curve breaks down after its top."""
    low = smoothed[: top + 1].min()
    rise = smoothed[top] - low
    broken = np.minimum(accuracies, smoothed) < low + COLLAPSE_SHARE * rise
    broken[: top + 1] = False
    if not broken.any():
        return len(smoothed)
    end = int(np.argmax(broken))
    while end > top + 1 and accuracies[end - 1] < low + COLLAPSING_SHARE * rise:
        end -= 1
    return end


def _turns_ragged(accuracies: Values, fit: _ThreePieces) -> int | None:
    """Return the point from which the curve is much rougher than before, if there is one.

    Medians decide whether it is; where, is the split that makes two levels of roughness most likely
    (of exponentially spread sizes).
    """
    sizes = np.abs(np.diff(accuracies, 2))  # [i] is centred on point i + 1
    sizes = np.maximum(sizes, 1e-9 * fit.rise)
    best: tuple[float, int] | None = None
    for cut in range(fit.start + RAGGED_POINTS, len(sizes) - RAGGED_POINTS + 1):
        before, after = sizes[fit.start : cut], sizes[cut:]
        rougher = max(RAGGED_RATIO * np.median(before), RAGGED_SHARE * fit.rise)
        if np.median(after) < rougher:
            continue
        unlikely = len(before) * math.log(before.mean()) + len(after) * math.log(after.mean())
        if best is None or unlikely < best[0]:
            best = (unlikely, cut + 1)
    return None if best is None else best[1]


def _added_by_last_third(x: Values, accuracies: Values) -> float:
    """Return how much a straight line through the last third of the sweep rises."""
    last = x >= 2 / 3
    if last.sum() < 3:
        last = np.arange(len(x)) >= len(x) - 3
    slope = float(np.polyfit(x[last], accuracies[last], 1)[0])
    return slope * float(x[-1] - x[last][0])


# Rules that read the loss


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
        return _abstain(
            "minimum",
            f"the training loss does not rise again after {read.smoothed[read.least]:.3g} at "
            f"{least:.3g}: its minimum lies beyond {read.lrs[-1]:.3g}, sweep further",
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
        return _abstain(
            "steepest",
            f"the training loss still falls at {read.lrs[-1]:.3g}, the last rate, as fast as "
            f"anywhere: sweep further",
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

    It abstains when the fall goes on to the end of the sweep: its length is then not known.
    """
    read = _read_losses("valley", curve)
    if isinstance(read, Suggestion):
        return read
    fall = _longest_fall(read.smoothed)
    first, last = float(read.lrs[fall[0]]), float(read.lrs[fall[-1]])
    if fall[-1] == len(read.lrs) - 1 and curve.diverged_at is None:
        return _abstain(
            "valley",
            f"the training loss still falls at {last:.3g}, the last rate: sweep further",
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
    """Return what the three rules share, or the abstention that they share."""
    pairs = [(p.lr, p.train_loss) for p in curve.points if p.lr > 0 and p.train_loss is not None]
    if len(pairs) < FEWEST_POINTS:
        return _abstain(rule, _too_short(curve, len(pairs)))
    lrs, losses = np.array(pairs, dtype=np.float64).T
    smoothed = _smooth(losses)
    least = int(np.argmin(smoothed))
    fall = float(smoothed[: least + 1].max() - smoothed[least])
    # In logarithms: a loss that explodes at the end would hide the trend of all points before.
    if not _has_trend(np.log(losses) if (losses > 0).all() else losses):
        return _abstain(
            rule,
            f"the training loss stays between {losses.min():.3g} and {losses.max():.3g}, flat or "
            "no clearer than noise",
        )
    # Of the falling part only: a loss that explodes at the end is rough, but that is no noise.
    noise = _noise(losses[: max(least + 1, FEWEST_POINTS)])
    if fall <= RISE_SIGMAS * noise:
        return _abstain(
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


# What all rules share


def _smooth(values: Values) -> Values:
    """Average each point with half of each neighbour: symmetric, so that no rate moves.

    An exponential average lags by its time constant and moves every rate that is read upwards.
    """
    padded = np.concatenate([values[:1], values, values[-1:]])
    smoothed: Values = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return smoothed


def _noise(values: Values) -> float:
    """Return the standard deviation of white noise with the same median second difference.

    Second differences take straight lines out; the median is not moved by a collapse.
    """
    return float(np.median(np.abs(np.diff(values, 2)))) / 0.6745 / math.sqrt(6.0)


def _sampling_noise(accuracies: Values, num_images: int | None) -> float:
    """Return how far the accuracy of the first point (0..100) strays with that many images."""
    if num_images is None:
        return 0.0
    share = min(max(float(accuracies[0]) / 100, 1 / num_images), 1 - 1 / num_images)
    return 100 * math.sqrt(share * (1 - share) / num_images)


def _has_trend(values: Values) -> bool:
    """Tell a curve from white noise by its steps (von Neumann's ratio).

    Squared steps over squared deviations from the mean are 2 for noise, with standard deviation
    2 sqrt((n - 2) / (n^2 - 1)), and near 0 for a curve that the points follow.
    """
    n = len(values)
    deviations = float(((values - values.mean()) ** 2).sum())
    if deviations <= (1e-9 * float(np.abs(values).max())) ** 2 * n:
        return False
    ratio = float((np.diff(values) ** 2).sum()) / deviations
    return (2.0 - ratio) / (2.0 * math.sqrt((n - 2) / (n * n - 1))) >= TREND_SIGMAS


def _too_short(curve: RangeTestCurve, count: int) -> str:
    early = (
        f": the loss is no finite number from {curve.diverged_lr:.3g} on, sweep lower rates"
        if curve.diverged_at is not None
        else ""
    )
    return f"{count} points are too few, a reading needs {FEWEST_POINTS}{early}"


def _abstain(rule: str, reason: str) -> Suggestion:
    return Suggestion(rule=rule, base_lr=None, max_lr=None, reason=reason)


def _pair(rule: str, max_lr: float, reason: str) -> Suggestion:
    return Suggestion(
        rule=rule,
        base_lr=max_lr / MAX_OVER_BASE,
        max_lr=max_lr,
        reason=f"{reason}; base_lr is a quarter of max_lr",
    )


RULES: dict[str, Callable[[RangeTestCurve], Suggestion]] = {
    "smith": smith,
    "minimum": minimum,
    "steepest": steepest,
    "valley": valley,
}


def suggest(curve: RangeTestCurve) -> dict[str, Suggestion]:
    """Return what every rule says of one curve, by the rule's name."""
    return {name: rule(curve) for name, rule in RULES.items()}


# Several seeds


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What one rule says over several seeds.

    Args:
        rule: a key of :data:`RULES`.
        num_seeds: sweeps that were read.
        num_found: how many of them gave a pair.
        base_lr, max_lr: the medians, in log rate, of those pairs; None when fewer than half of the
            seeds gave one.
        base_spread, max_spread: largest over smallest among the pairs, >= 1; None without any.
        reason: one sentence with its numbers.
    """

    rule: str
    num_seeds: int
    num_found: int
    base_lr: float | None
    max_lr: float | None
    base_spread: float | None
    max_spread: float | None
    reason: str

    @property
    def found(self) -> bool:
        """Whether there is a pair."""
        return self.base_lr is not None and self.max_lr is not None


def agreement(suggestions: Sequence[Suggestion]) -> Agreement:
    """Combine what one rule says of several seeds.

    The pair is the median of the seeds' pairs and not a reading of their mean curve: one odd seed
    does not move it, the corners of single curves are sharper than those of their mean, and spread
    and pair come from the same numbers. The median is taken in log rate: of two seeds it is the
    geometric mean, since rates differ by factors. Fewer than half of the seeds are no majority.

    >>> read = [Suggestion(rule="smith", base_lr=b, max_lr=m, reason="") for b, m in
    ...         [(0.001, 0.005), (0.001, 0.006), (0.002, 0.012)]]
    >>> both = agreement(read)
    >>> both.base_lr, both.max_lr, both.base_spread, round(both.max_spread, 3)
    (0.001, 0.006, 2.0, 2.4)

    Raises:
        ValueError: there is no suggestion, or they are of different rules.
    """
    rules = {suggestion.rule for suggestion in suggestions}
    if len(rules) != 1:
        raise ValueError(f"suggestions must be of one rule, got {sorted(rules) or 'none'}")
    bases = sorted(s.base_lr for s in suggestions if s.base_lr is not None)
    maxima = sorted(s.max_lr for s in suggestions if s.max_lr is not None)
    n, found = len(suggestions), len(maxima)
    base_lr = max_lr = None
    if 2 * found < n or not found:
        why = next(s.reason for s in suggestions if not s.found)
        reason = f"{found} of {n} seeds give a pair, fewer than half; the first says: {why}"
        if n == 1:
            reason = why
    else:
        base_lr, max_lr = _geometric_median(bases), _geometric_median(maxima)
        reason = f"{found} of {n} seeds give a pair; the medians are {base_lr:.3g} and {max_lr:.3g}"
        if n == 1:
            reason = suggestions[0].reason
        elif not base_lr < max_lr:
            reason = f"the seeds contradict each other: {reason}"
            base_lr = max_lr = None
        elif found > 1:
            wide = max(bases[-1] / bases[0], maxima[-1] / maxima[0]) > DISAGREEMENT
            reason += (
                f"; base_lr spreads by a factor of {bases[-1] / bases[0]:.2g}, max_lr by "
                f"{maxima[-1] / maxima[0]:.2g}" + (": they disagree, add seeds" if wide else "")
            )
    return Agreement(
        rule=rules.pop(),
        num_seeds=n,
        num_found=found,
        base_lr=base_lr,
        max_lr=max_lr,
        base_spread=bases[-1] / bases[0] if bases else None,
        max_spread=maxima[-1] / maxima[0] if maxima else None,
        reason=reason,
    )


def _geometric_median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return math.sqrt(ordered[middle - 1] * ordered[middle])


# From a pair to a scheduler's keywords

Role = Literal["base", "max", "with base", "with max"]

# Which bound each keyword takes. "with base" and "with max" keep their ratio to the keyword that
# takes that bound. A keyword that is not named here (a length, a factor, a floor) stays.
_ROLES: dict[str, dict[str, Role]] = {
    # Rates that are held for long take the lower bound, as every fixed row of Smith's does: "just
    # the lower bound was used for base_lr for the fixed policy" (1506.01186v6, Table 3); 0.001 of
    # 0.001-0.006 and 0.01 of 0.01-0.015 with their drops (Table 1), 0.1 of 0.1-0.3 (Table 4).
    "constant": {"lr": "base"},
    "step_decay": {"initial_lr": "base"},
    # Rates that fall from the first update on see their first value only then: they start at the
    # upper bound, as CLR's "decay" policy does (section 4.1.1).
    "exponential": {"initial_lr": "max"},
    "inverse": {"initial_lr": "max"},
    "polynomial": {"initial_lr": "max"},
    "linear_decay": {"base_lr": "base", "max_lr": "max"},
    # Cycles run between the bounds: what the range test is for (section 3.3).
    "triangular": {"base_lr": "base", "max_lr": "max"},
    "triangular2": {"base_lr": "base", "max_lr": "max"},
    "welch": {"base_lr": "base", "max_lr": "max"},
    "hann": {"base_lr": "base", "max_lr": "max"},
    "exp_range": {"base_lr": "base", "max_lr": "max"},
    # Annealing goes down to its own floor, 0 in SGDR (1608.03983v5, section 4.1): that is not where
    # learning starts but where it ends, so the lower bound is no reading of it.
    "cosine": {"max_lr": "max"},
    "cosine_restarts": {"max_lr": "max"},
    # 1cycle climbs between the bounds; its last rate lies far below them by design (1803.09820,
    # section 4), as far below base_lr as before.
    "one_cycle": {"base_lr": "base", "max_lr": "max", "final_lr": "with base"},
    "warmup_stable_decay": {"max_lr": "max", "final_lr": "with max"},
}

_REFUSED = {
    "one_cycle_momentum": "it sets a momentum and no rate",
    "linear_ramp": "it is the sweep that finds bounds, not a use of them",
    "exponential_ramp": "it is the sweep that finds bounds, not a use of them",
}


def apply_bounds(
    name: str, arguments: Mapping[str, Any], base_lr: float, max_lr: float
) -> dict[str, Any]:
    """Put a pair of bounds into a scheduler's arguments, as YAML has them.

    ``staged``: the first stage gets the bounds, later ones are scaled as it is, each keeping its
    ratio to the first (Smith, Table 2, divides both bounds by 10 at each stage). ``warmup``: the
    schedule that it leads to gets the bounds, ``first_lr`` keeps its ratio to that schedule's
    highest keyword, since a warm-up starts below the bounds by design.

    >>> apply_bounds("triangular", {"base_lr": 1, "max_lr": 2, "half_cycle": "4 epochs"}, 0.1, 0.6)
    {'base_lr': 0.1, 'max_lr': 0.6, 'half_cycle': '4 epochs'}

    Args:
        name: of a function in ``anneal.schedules``.
        arguments: its arguments without the name; left as they are.
        base_lr: lower bound, > 0.
        max_lr: upper bound, > base_lr.

    Raises:
        ValueError: the pair is no pair, the scheduler is unknown or has no use for bounds, or a
            rate that must keep a ratio has none to keep.
    """
    if not (math.isfinite(max_lr) and 0 < base_lr < max_lr):
        raise ValueError(f"bounds must be 0 < base_lr < max_lr, got {base_lr} and {max_lr}")
    if name == "staged":
        return _apply_to_stages(arguments, base_lr, max_lr)
    if name == "warmup":
        return _apply_to_warmup(arguments, base_lr, max_lr)
    if name in _REFUSED:
        raise ValueError(f"{name} takes no bounds: {_REFUSED[name]}")
    if name not in _ROLES:
        known = ", ".join(sorted([*_ROLES, "staged", "warmup"]))
        raise ValueError(f"scheduler must be one that takes bounds ({known}), got {name!r}")
    bounds: dict[Role, float] = {"base": base_lr, "max": max_lr}
    changed = dict(arguments)
    for keyword, role in _ROLES[name].items():
        if role in bounds:
            changed[keyword] = bounds[role]
            continue
        follows: Role = "base" if role == "with base" else "max"
        leader = next(k for k, r in _ROLES[name].items() if r == follows)
        ratio = _ratio(
            arguments.get(keyword), arguments.get(leader), f"{name}.{keyword}", f"{name}.{leader}"
        )
        changed[keyword] = ratio * bounds[follows]
    floor = arguments.get("min_lr", 0.0)
    if isinstance(floor, int | float) and floor > max_lr:
        raise ValueError(f"{name}.min_lr must be at most max_lr = {max_lr:g}, got {floor:g}")
    return changed


def _apply_to_stages(arguments: Mapping[str, Any], base_lr: float, max_lr: float) -> dict[str, Any]:
    stages = arguments.get("stages")
    if not isinstance(stages, Sequence) or isinstance(stages, str) or not stages:
        raise ValueError(f"staged.stages must be a list of stages, got {stages!r}")
    name, inner = _named_section(stages[0], "staged.stages[0]")
    first = apply_bounds(name, inner, base_lr, max_lr)
    factors = _factors(name, before=inner, after=first, where="staged.stages[0].schedule")
    changed = [{**stages[0], "schedule": {"name": name, **first}}]
    for i, stage in enumerate(stages[1:], start=1):
        name, inner = _named_section(stage, f"staged.stages[{i}]")
        section = {"name": name, **_scale(name, inner, factors, f"staged.stages[{i}].schedule")}
        changed.append({**stage, "schedule": section})
    return {**arguments, "stages": changed}


def _apply_to_warmup(arguments: Mapping[str, Any], base_lr: float, max_lr: float) -> dict[str, Any]:
    name, inner = _named_section(arguments, "warmup")
    changed = apply_bounds(name, inner, base_lr, max_lr)
    before, after = _highest(name, inner), _highest(name, changed)
    ratio = _ratio(arguments.get("first_lr"), before, "warmup.first_lr", "the schedule's peak")
    assert after is not None
    return {**arguments, "first_lr": ratio * after, "schedule": {"name": name, **changed}}


def _scale(
    name: str, arguments: Mapping[str, Any], factors: Mapping[str, float], where: str
) -> dict[str, Any]:
    """Multiply each rate of a later stage as the same bound of the first stage was multiplied."""
    if name not in _ROLES:
        raise ValueError(f"{where}: only plain schedules can follow in stages, got {name!r}")
    changed = dict(arguments)
    for keyword, role in _ROLES[name].items():
        bound = role.removeprefix("with ")
        # A first stage that has only one of the bounds (a constant rate) scales both alike.
        factor = factors.get(bound, next(iter(factors.values())))
        changed[keyword] = _number(arguments.get(keyword), f"{where}.{keyword}") * factor
    if changed.get("base_lr", 0.0) > changed.get("max_lr", math.inf):
        raise ValueError(
            f"{where}: with these bounds base_lr would be above max_lr "
            f"({changed['base_lr']:g} and {changed['max_lr']:g})"
        )
    return changed


def _factors(
    name: str, *, before: Mapping[str, Any], after: Mapping[str, Any], where: str
) -> dict[str, float]:
    """Return by how much each bound of a schedule was multiplied."""
    if name not in _ROLES:
        raise ValueError(f"{where}: the first stage must be a plain schedule, got {name!r}")
    return {
        role: after[keyword] / _positive(before.get(keyword), f"{where}.{keyword}")
        for keyword, role in _ROLES[name].items()
        if role in ("base", "max")
    }


def _highest(name: str, arguments: Mapping[str, Any]) -> float | None:
    """Return the keyword that takes the upper bound, or the lower where there is no upper one."""
    if name in ("staged", "warmup"):
        raise ValueError(f"warmup.schedule must be a plain schedule to take bounds, got {name!r}")
    roles = {role: keyword for keyword, role in _ROLES[name].items()}
    value = arguments.get(roles.get("max", roles.get("base", "")))
    return float(value) if isinstance(value, int | float) else None


def _named_section(section: object, where: str) -> tuple[str, dict[str, Any]]:
    inner = section.get("schedule") if isinstance(section, Mapping) else None
    if not isinstance(inner, Mapping) or "name" not in inner:
        raise ValueError(f"{where}.schedule must be a scheduler section with a name, got {inner!r}")
    arguments = dict(inner)
    return str(arguments.pop("name")), arguments


def _ratio(value: object, leader: object, name: str, leader_name: str) -> float:
    return _number(value, name) / _positive(leader, leader_name)


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, so that its ratio can be kept, got {value!r}")
    return float(value)


def _positive(value: object, name: str) -> float:
    number = _number(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be positive, so that ratios to it exist, got {value!r}")
    return number
