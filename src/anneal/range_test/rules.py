"""Registry of the rules that read bounds off a curve."""

from collections.abc import Callable

from anneal.range_test.curve import RangeTestCurve
from anneal.range_test.loss_rules import minimum, steepest, valley
from anneal.range_test.smith import smith
from anneal.range_test.suggestion import Suggestion

RULES: dict[str, Callable[[RangeTestCurve], Suggestion]] = {
    "smith": smith,
    "minimum": minimum,
    "steepest": steepest,
    "valley": valley,
}


def suggest(curve: RangeTestCurve) -> dict[str, Suggestion]:
    """Return the suggestion of every rule for one curve, by the rule's name."""
    return {name: rule(curve) for name, rule in RULES.items()}
