"""The picture of a range test."""

import dataclasses

import numpy as np
import pytest

from anneal.range_test import RULES, agreement, curve_from_columns
from anneal.range_test.figure import draw_range_test

LRS = list(np.linspace(0.001, 0.021, 21))


def sweeps(levels, sweep="linear"):
    noise = np.random.default_rng(0).normal(0, 0.5, (2, 21))
    accuracies = np.interp(LRS, [0, 0.003, 0.008, 0.021], levels)
    losses = list(np.interp(LRS, [0, 0.008, 0.016, 0.021], [2.3, 0.5, 0.4, 90.0]))
    return [
        curve_from_columns(
            lrs=LRS, accuracies_pct=list(accuracies + row), train_losses=losses, sweep=sweep
        )
        for row in noise
    ]


def drawn(curves, rule="smith"):
    readings = {name: agreement([read(c) for c in curves]) for name, read in RULES.items()}
    return draw_range_test(curves, readings, rule=rule, title="digits")


@pytest.mark.parametrize("sweep", ["linear", "exponential"])
def test_the_same_curves_give_the_same_bytes(sweep):
    curves = sweeps([10, 10, 80, 82], sweep)
    first = drawn(curves)
    assert drawn(curves) == first
    assert first.startswith("<?xml")
    assert len(first) > 10_000


def test_other_curves_and_another_rule_give_another_picture():
    curves = sweeps([10, 10, 80, 82])
    pictures = {
        drawn(curves),
        drawn(curves, rule="minimum"),
        drawn(curves[:1]),
        drawn(sweeps([10, 10, 10, 10])),  # an abstention
        drawn([dataclasses.replace(curves[0], diverged_at=21, diverged_lr=0.0211), curves[1]]),
    }
    assert len(pictures) == 5


def test_what_cannot_be_drawn_is_refused():
    curves = sweeps([10, 10, 80, 82])
    with pytest.raises(ValueError, match="rule must be one of"):
        drawn(curves, rule="smit")
    with pytest.raises(ValueError, match="one kind of sweep"):
        drawn(curves + sweeps([10, 10, 80, 82], "exponential"))
