"""Wording of the reasons for a verdict."""

import math
from collections.abc import Mapping

from anneal.claims.estimate import Estimate
from anneal.claims.over_subjects import MedianEstimate
from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.results.metrics import find_metric
from anneal.results.power import CHANCE, MOST_RUNS


def measured_words(claim: Claim, mean: float, n: int, *, has_unit: bool) -> str:
    """Return what was measured beside the paper's number, short enough for a sentence.

    Args:
        claim: what the paper says.
        mean: of our runs, on the claim's own scale.
        n: runs, pairs of runs, or subjects.
        has_unit: whether a value is said with its unit.
    """
    metric = find_metric(claim.metric)
    if isinstance(claim, SpeedClaim):
        return f"{mean:.2f} of the updates against {claim.ratio:.3g}, {_count(n, 'pair')}"
    if isinstance(claim, OrderClaim):
        ahead = f"{abs(mean):.{metric.decimals}f}{_points(claim)}"
        return f"{ahead} {'better' if mean >= 0 else 'worse'}, {_counted(claim, n, 'pair')}"
    numbers = f"{mean:.{metric.decimals}f} against {claim.value:g}"
    if has_unit and metric.unit:
        numbers += f" {metric.unit}"
    return f"{numbers}, {_counted(claim, n, 'run')}"


def estimate_words(claim: Claim, seen: Estimate | MedianEstimate, confidence: float | None) -> str:
    """Return what was measured beside the paper's number, and how sure it is."""
    mean = math.exp(seen.mean) if isinstance(claim, SpeedClaim) else seen.mean
    words = measured_words(claim, mean, seen.n, has_unit=False)
    if isinstance(claim, ValueClaim):
        away = mean - claim.value
        side = "above" if away >= 0 else "below"
        distance = f"{abs(away):.{find_metric(claim.metric).decimals}f}{_points(claim)}"
        words = f"{distance} {side} the paper ({words})"
    if confidence is None:
        return words
    inside = (
        _margin_words(claim.margin, _points(claim))
        if isinstance(claim, OrderClaim)
        else f"within {claim.tolerance:g}"
    )
    return f"{words}; {sure_words(confidence)} that it is {inside}"


def _counted(claim: OrderClaim | ValueClaim, n: int, one: str) -> str:
    return f"median of {_count(n, 'subject')}" if claim.subjects == "median" else _count(n, one)


def _points(claim: Claim) -> str:
    return " points" if find_metric(claim.metric).unit == "%" else ""


def _margin_words(margin: float, unit: str) -> str:
    if margin == 0:
        return "better"
    how = "better by more than" if margin > 0 else "not worse by more than"
    return f"{how} {abs(margin):g}{unit}"


def sure_words(confidence: float) -> str:
    """Return a confidence in words.

    >>> sure_words(0.284), sure_words(0.9999), sure_words(0.0)
    ('28 % sure', 'more than 99 % sure', 'less than 1 % sure')
    """
    if confidence > 0.99:
        return "more than 99 % sure"
    return "less than 1 % sure" if confidence < 0.01 else f"{100 * confidence:.0f} % sure"


def power_words(more: int | None) -> str:
    """Return how many more runs would settle a verdict; None when no reasonable number would."""
    chance = f"with a chance of {100 * CHANCE:.0f} %"
    if more is None:
        return f"even {MOST_RUNS} seeds would not settle it {chance}, so close is it to the edge"
    return f"{more} more seed{'s' * (more > 1)} would settle it {chance}"


def sensitivity_words(flips: Mapping[str, str]) -> str:
    """Return what the verdict would be with the network's variance ``halved`` or ``doubled``.

    >>> sensitivity_words({"doubled": "too close to call"})
    "with the network's usual variance doubled it would be too close to call"
    """
    changes = (f"{how} it would be {verdict}" for how, verdict in flips.items())
    words = ", ".join(changes)
    return f"with the network's usual variance {words}" if words else ""


def _count(n: int, of: str) -> str:
    return f"{n} {of}{'s' * (n != 1)}"
