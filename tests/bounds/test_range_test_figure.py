"""The picture of a range test."""

import numpy as np
import pytest

from anneal.bounds import RULES, agreement, curve_from_columns
from anneal.range_test_figure import draw_range_test

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


def drawn(curves, path, rule="smith"):
    readings = {name: agreement([read(c) for c in curves]) for name, read in RULES.items()}
    draw_range_test(curves, readings, rule=rule, title="digits", path=path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["svg", "png"])
@pytest.mark.parametrize("sweep", ["linear", "exponential"])
def test_the_same_curves_give_the_same_bytes(tmp_path, kind, sweep):
    curves = sweeps([10, 10, 80, 82], sweep)
    first = drawn(curves, tmp_path / f"first.{kind}")
    assert drawn(curves, tmp_path / f"second.{kind}") == first
    assert len(first) > 10_000


def test_other_curves_and_another_rule_give_another_picture(tmp_path):
    curves = sweeps([10, 10, 80, 82])
    pictures = {
        drawn(curves, tmp_path / "a.svg"),
        drawn(curves, tmp_path / "b.svg", rule="minimum"),
        drawn(curves[:1], tmp_path / "c.svg"),
        drawn(sweeps([10, 10, 10, 10]), tmp_path / "d.svg"),  # an abstention
    }
    assert len(pictures) == 4


def test_what_cannot_be_drawn_is_refused(tmp_path):
    curves = sweeps([10, 10, 80, 82])
    with pytest.raises(ValueError, match=r"must end in \.svg or \.png"):
        drawn(curves, tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="rule must be one of"):
        drawn(curves, tmp_path / "a.svg", rule="smit")
    with pytest.raises(ValueError, match="one kind of sweep"):
        drawn(curves + sweeps([10, 10, 80, 82], "exponential"), tmp_path / "a.svg")
