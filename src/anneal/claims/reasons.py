"""Wording of the reasons for a verdict."""

import math
from collections.abc import Mapping

from anneal.claims.estimate import Estimate
from anneal.claims.over_subjects import MedianEstimate
from anneal.claims.schema import Claim, OrderClaim, SpeedClaim
from anneal.results.metrics import find_metric
from anneal.results.power import CHANCE, MOST_RUNS


def estimate_words(claim: Claim, seen: Estimate | MedianEstimate, confidence: float | None) -> str:
    """Return what was measured beside the paper's number, and how sure it is."""
    metric = find_metric(claim.metric)
    points = " points" if metric.unit == "%" else ""
    decimals = metric.decimals
    sure = "" if confidence is None else f"; {sure_words(confidence)}"
    unit = "subject" if isinstance(seen, MedianEstimate) else None
    if isinstance(claim, SpeedClaim):
        ratio = math.exp(seen.mean)
        words = f"{ratio:.2f} of the updates against {claim.ratio:.3g}, {_count(seen.n, 'pair')}"
        return f"{words}{sure} that it is within {claim.tolerance:g}" if sure else words
    if isinstance(claim, OrderClaim):
        ahead = f"{abs(seen.mean):.{decimals}f}{points}"
        words = (
            f"{ahead} {'better' if seen.mean >= 0 else 'worse'}, {_count(seen.n, unit or 'pair')}"
        )
        return f"{words}{sure} that it is {_margin_words(claim.margin, points)}" if sure else words
    away = seen.mean - claim.value
    side = "above" if away >= 0 else "below"
    numbers = f"{seen.mean:.{decimals}f} against {claim.value:g}, {_count(seen.n, unit or 'run')}"
    words = f"{abs(away):.{decimals}f}{points} {side} the paper ({numbers})"
    return f"{words}{sure} that it is within {claim.tolerance:g}" if sure else words


def _margin_words(margin: float, unit: str) -> str:
    if margin == 0:
        return "better"
    how = "better by more than" if margin > 0 else "not worse by more than"
    return f"{how} {abs(margin):g}{unit}"


def sure_words(confidence: float) -> str:
    """Return a confidence as a reader takes it.

    >>> sure_words(0.284), sure_words(0.9999), sure_words(0.0)
    ('28 % sure', 'more than 99 % sure', 'less than 1 % sure')
    """
    if confidence > 0.99:
        return "more than 99 % sure"
    return "less than 1 % sure" if confidence < 0.01 else f"{100 * confidence:.0f} % sure"


def power_words(more: int | None) -> str:
    """Return how many more runs would settle a verdict; None: no reasonable number."""
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
