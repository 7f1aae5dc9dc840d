"""A rule's suggestion for one curve: bounds, or the reason for none."""

from dataclasses import dataclass
from enum import StrEnum

from anneal.range_test.curve import RangeTestCurve

FEWEST_POINTS = 8  # three straight pieces have five unknowns; fewer points fit anything


class Remedy(StrEnum):
    """What to change after an abstention; the value ends the sentence that says why."""

    HIGHER_RATES = "sweep further"
    LOWER_RATES = "sweep lower rates"
    MORE_POINTS = "measure more densely"
    MORE_SEEDS = "add seeds"


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One rule's reading of one curve: bounds or an abstention, with the reason.

    Args:
        rule: a key of ``RULES``.
        base_lr, max_lr: the pair, 0 < base < max; both None when the rule abstains.
        reason: one sentence with its numbers.
        remedy: what would help where the rule abstains; None where it cannot say.
    """

    rule: str
    base_lr: float | None
    max_lr: float | None
    reason: str
    remedy: Remedy | None = None

    @property
    def found(self) -> bool:
        """Whether the rule gives bounds."""
        return self.base_lr is not None and self.max_lr is not None


def abstain(rule: str, reason: str, remedy: Remedy | None = None) -> Suggestion:
    """Return an abstention with its reason and remedy."""
    if remedy is not None:
        reason = f"{reason}, {remedy}"
    return Suggestion(rule=rule, base_lr=None, max_lr=None, reason=reason, remedy=remedy)


def abstain_too_short(rule: str, curve: RangeTestCurve, count: int) -> Suggestion:
    """Return the abstention of a rule that can read only ``count`` points."""
    reason = f"{count} points are too few, a reading needs {FEWEST_POINTS}"
    if curve.diverged_at is None:
        return abstain(rule, reason, Remedy.MORE_POINTS)
    early = f"the loss is no finite number from {curve.diverged_lr:.3g} on"
    return abstain(rule, f"{reason}: {early}", Remedy.LOWER_RATES)
