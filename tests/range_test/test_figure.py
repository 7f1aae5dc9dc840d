"""The picture of a range test."""

import dataclasses

import numpy as np
import pytest

from anneal.range_test import (
    RULES,
    RangeTestCurve,
    RangeTestPoint,
    agreement,
    curve_from_columns,
)
from anneal.range_test.figure import draw_range_test, plot_range_test

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
def test_same_curves_give_the_same_bytes(sweep):
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


def without_accuracy(shift=0.0):
    """Return a curve of a task that has a loss alone, which explodes at the end."""
    losses = np.interp(LRS, [0, 0.003, 0.008, 0.018, 0.021], [2.0, 2.0, 0.5, 0.6, 90.0]) + shift
    points = [
        RangeTestPoint(update=i, lr=lr, accuracy_pct=None, held_out_loss=loss, train_loss=loss)
        for i, (lr, loss) in enumerate(zip(LRS, losses.tolist(), strict=True))
    ]
    return RangeTestCurve(points=tuple(points))


@pytest.mark.parametrize("shift", [0.0, -3.0])
def test_curve_without_accuracy_shows_the_held_out_loss(shift):
    curve = without_accuracy(shift)
    upper, lower, marks = plot_range_test(curve).axes
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("held-out loss", "training loss")
    assert list(upper.lines[0].get_ydata()) == [point.held_out_loss for point in curve.points]
    floor = min(0.0, 0.5 + shift)
    assert upper.get_ylim() == pytest.approx((floor, floor + 1.5 * (2.0 + shift - floor)))
    assert marks.get_yticklabels()[0].get_text() == "valley"


def test_curve_with_accuracy_is_plotted_with_smiths_bounds():
    upper, lower, marks = plot_range_test(sweeps([10, 10, 80, 82])).axes
    assert (upper.get_ylabel(), lower.get_ylabel()) == (
        "held-out accuracy, %",
        "training loss, nats",
    )
    assert marks.get_yticklabels()[0].get_text() == "smith"
    with pytest.raises(ValueError, match="rule must be one of"):
        plot_range_test(without_accuracy(), rule="smit")
