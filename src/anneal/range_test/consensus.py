"""Consensus of one rule over several seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from anneal.range_test.suggestion import Remedy, Suggestion

# Smith 1506.01186v6, section 3.3: the best rate is "usually within a factor of two" of the largest.
DISAGREEMENT = 2.0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Consensus of one rule over several seeds.

    Args:
        rule: a key of ``RULES``.
        num_seeds: sweeps that were read.
        num_found: how many of them gave a pair.
        base_lr, max_lr: the medians, in log rate, of those pairs; None when fewer than half of the
            seeds gave one.
        base_spread, max_spread: largest over smallest among the pairs, >= 1; None without any.
        reason: one sentence with its numbers.
        remedy: what would help where the rule abstains; None where it cannot say.
    """

    rule: str
    num_seeds: int
    num_found: int
    base_lr: float | None
    max_lr: float | None
    base_spread: float | None
    max_spread: float | None
    reason: str
    remedy: Remedy | None = None

    @property
    def found(self) -> bool:
        """Whether the seeds agree on bounds."""
        return self.base_lr is not None and self.max_lr is not None


def agreement(suggestions: Sequence[Suggestion]) -> Agreement:
    """Combine the suggestions of one rule over several seeds.

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
    base_lr = max_lr = remedy = None
    if 2 * found < n or not found:
        first = next(s for s in suggestions if not s.found)
        remedy = first.remedy
        reason = first.reason
        if n > 1:
            reason = f"{found} of {n} seeds give a pair, fewer than half; the first says: {reason}"
    else:
        base_lr, max_lr = _geometric_median(bases), _geometric_median(maxima)
        reason = f"{found} of {n} seeds give a pair; the medians are {base_lr:.3g} and {max_lr:.3g}"
        if n == 1:
            reason = suggestions[0].reason
        elif not base_lr < max_lr:
            reason = f"the seeds contradict each other: {reason}"
            base_lr = max_lr = None
            remedy = Remedy.MORE_SEEDS
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
        remedy=remedy,
    )


def _geometric_median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return math.sqrt(ordered[middle - 1] * ordered[middle])
