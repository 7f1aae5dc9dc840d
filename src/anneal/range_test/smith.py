"""Smith's rule: bounds from the accuracy."""

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
    sampling_noise,
    smooth,
)
from anneal.range_test.suggestion import (
    FEWEST_POINTS,
    Remedy,
    Suggestion,
    abstain,
    abstain_too_short,
)

START_SHARE = 0.1  # FALL_SHARE's tenth, at the foot of the rise (a "10-90 rise time" starts there)
COLLAPSE_SHARE = 0.5  # below half of the rise the net has broken down: no part of "no longer rises"
COLLAPSING_SHARE = 0.75  # a point below this, just before the breakdown, is on its way into it
SLOW_SHARE = 1 / 3  # of its slope: a rise that goes on faster than this has not slowed visibly
END_SHARE = 0.05  # of the rise: what the last third of a sweep may add to a curve that has settled
# Even noise is this much rougher on one side of some point in 1 of 250 noisy rises (simulated with
# 15 to 41 points; with a ratio of 4 and 5 points it is 1 of 15).
RAGGED_RATIO = 8.0
RAGGED_POINTS = 6
RAGGED_SHARE = 0.05  # of the rise: rougher than before is still smooth to the eye below this


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

    It abstains when the task has no accuracy, when there are fewer than 8 points, when the curve is
    flat or no clearer than noise, and when it still rises at its end: max_lr then lies beyond the
    sweep.

    >>> from anneal.range_test import curve_from_columns
    >>> accuracies = [10, 10, 40, 70, 72, 73, 72, 71, 60, 40]
    >>> found = smith(curve_from_columns(lrs=range(10), accuracies_pct=accuracies))
    >>> found.base_lr, found.max_lr
    (1.0, 3.0)
    """
    points = [p for p in curve.points if curve.sweep == "linear" or p.lr > 0]
    if any(point.accuracy_pct is None for point in points):
        return abstain("smith", "the task has no accuracy: read the loss (minimum, valley)")
    if len(points) < FEWEST_POINTS:
        return abstain_too_short("smith", curve, len(points))
    lrs = np.array([p.lr for p in points], dtype=np.float64)
    accuracies = np.array([p.accuracy_pct for p in points], dtype=np.float64)
    noise = max(noise_of(accuracies), sampling_noise(accuracies, curve.num_images))
    spread = f"between {accuracies.min():.3g} and {accuracies.max():.3g} %"
    if not has_trend(accuracies):
        return abstain("smith", f"the accuracy stays {spread}, flat or no clearer than noise")
    smoothed = smooth(accuracies)
    top = int(np.argmax(smoothed))
    whole = _before_collapse(accuracies, smoothed, top)
    x = lrs if curve.sweep == "linear" else np.log(lrs)
    x = (x - x[0]) / (x[-1] - x[0])
    fit = _fit_three_pieces(x[:whole], accuracies[:whole])
    if fit is None or fit.rise < RISE_SIGMAS * noise:
        risen = 0.0 if fit is None else fit.rise
        return abstain(
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
            return abstain(
                "smith",
                f"{starts} and still rises at {lrs[-1]:.3g}, the last rate (the last third of the "
                f"sweep added {added:.0%} of the rise): max_lr lies beyond",
                Remedy.HIGHER_RATES,
            )
    if base >= lrs[corner]:
        return abstain(
            "smith",
            f"the whole rise, {fit.rise:.3g} points, lies between two measured rates "
            f"({lrs[fit.start]:.3g} and {lrs[corner]:.3g})",
            Remedy.MORE_POINTS,
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
    """Fit of three lines: flat, rising, flat or falling; indices of its corners."""

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
    """Return the number of points before the curve collapses after its maximum."""
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
    """Return the index from which the curve is much noisier than before, or None.

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
