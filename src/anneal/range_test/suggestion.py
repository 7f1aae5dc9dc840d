"""What a rule says of one curve: a pair of bounds, or why there is none (PURE)."""

from dataclasses import dataclass

from anneal.range_test.curve import RangeTestCurve

FEWEST_POINTS = 8  # three straight pieces have five unknowns; fewer points fit anything


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a rule says of one curve: a pair and its reason, or no pair and the reason for that.

    Args:
        rule: a key of ``RULES``.
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


def abstain(rule: str, reason: str) -> Suggestion:
    """Return that a rule gives no pair, and why."""
    return Suggestion(rule=rule, base_lr=None, max_lr=None, reason=reason)


def too_short(curve: RangeTestCurve, count: int) -> str:
    """Return the reason to abstain when only ``count`` points can be read."""
    early = (
        f": the loss is no finite number from {curve.diverged_lr:.3g} on, sweep lower rates"
        if curve.diverged_at is not None
        else ""
    )
    return f"{count} points are too few, a reading needs {FEWEST_POINTS}{early}"
