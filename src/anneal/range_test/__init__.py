"""The LR range test: sweep, curve, and the rules that read bounds off it.

Four rules read a curve: Smith's own, from the accuracy, and three that people know from the loss.
Each gives a (base, max) pair with its reason in words, or abstains and says why: a curve that was
not swept far enough, or says nothing, must not turn into a number.

The rules look at differences of accuracy relative to the whole rise, and at differences of loss
relative to the whole fall, so neither the unit nor the number of classes matters to them.
"""

from anneal.range_test.consensus import Agreement, agreement
from anneal.range_test.curve import (
    RangeTestCurve,
    RangeTestPoint,
    SweepKind,
    curve_from_columns,
    read_curve,
)
from anneal.range_test.loss_rules import minimum, steepest, valley
from anneal.range_test.rules import RULES, suggest
from anneal.range_test.smith import smith
from anneal.range_test.suggestion import Suggestion

__all__ = [
    "RULES",
    "Agreement",
    "RangeTestCurve",
    "RangeTestPoint",
    "Suggestion",
    "SweepKind",
    "agreement",
    "curve_from_columns",
    "minimum",
    "read_curve",
    "smith",
    "steepest",
    "suggest",
    "valley",
]
