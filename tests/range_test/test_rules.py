"""Rules that read a (base, max) pair off the curve of a range test."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anneal.range_test import (
    RULES,
    RangeTestCurve,
    RangeTestPoint,
    agreement,
    curve_from_columns,
    minimum,
    read_curve,
    smith,
    steepest,
    suggest,
    valley,
)

# CLR (1506.01186v6), figure 3, digitised to +-0.005; one point for each 0.001.
FIG_3_LRS = [i / 1000 for i in range(21)]
FIG_3_PCT = [
    10.0, 15.8, 31.2, 33.2, 37.8, 42.3, 41.4, 42.2, 48.4, 42.4, 46.2,
    49.5, 49.6, 42.6, 50.9, 40.0, 42.6, 39.5, 45.4, 43.2, 32.8,
]  # fmt: skip
# Figure 7 (AlexNet), read by eye: the paper starts at 0.006 and sees a drop "above 0.015".
FIG_7 = (
    [0.0, 0.006, 0.010, 0.014, 0.017, 0.019, 0.025, 0.030, 0.040],
    [0.0, 0.0, 13.0, 22.0, 24.5, 24.5, 20.0, 15.5, 11.0],
)
# Shapes over rates 0..0.02: corners as (rate, accuracy), the true base and max.
SHAPES = {
    "plateau": ([0, 0.003, 0.008, 0.02], [10, 10, 80, 82], 0.003, 0.008),
    "plateau and collapse": ([0, 0.001, 0.005, 0.012, 0.013, 0.02], [10, 10, 90, 95, 10, 10],
                             0.001, 0.005),
    "late start": ([0, 0.01, 0.014, 0.017, 0.018, 0.02], [10, 10, 60, 62, 10, 10], 0.01, 0.014),
    "up and down": ([0, 0.003, 0.012, 0.02], [10, 10, 80, 30], 0.003, 0.012),
}  # fmt: skip
EVER_RISING = {
    "line": lambda x: x,
    "late line": lambda x: np.clip(2 * x - 1, 0, None),
    "root": np.sqrt,
    "logarithm": lambda x: np.log1p(10 * x) / np.log(11),
    "parabola": np.square,
}


def accuracy_curve(lrs, accuracies, **more):
    return curve_from_columns(lrs=list(lrs), accuracies_pct=list(accuracies), **more)


def loss_curve(lrs, losses, **more):
    return curve_from_columns(
        lrs=list(lrs), accuracies_pct=[10.0] * len(lrs), train_losses=list(losses), **more
    )


def test_smith_reads_figure_3_within_one_grid_point():
    found = smith(accuracy_curve(FIG_3_LRS, FIG_3_PCT))
    assert found.base_lr == pytest.approx(0.001, abs=0.00101)
    assert found.base_lr > 0
    assert found.max_lr == pytest.approx(0.006, abs=0.00101)
    assert "starts to rise" in found.reason


@pytest.mark.parametrize("seed", range(20))
def test_smith_reads_figure_3_also_with_other_reading_errors(seed):
    # +-0.5 points is the error of digitising; noise of 0.5 points on top of it stays within it
    noise = np.random.default_rng(seed).normal(0, 0.5, 21)
    found = smith(accuracy_curve(FIG_3_LRS, FIG_3_PCT + noise))
    assert found.base_lr == pytest.approx(0.001, abs=0.00101)
    assert found.max_lr == pytest.approx(0.006, abs=0.00101)


def test_smith_reads_figure_7_where_the_paper_does():
    found = smith(accuracy_curve(*FIG_7))
    assert found.base_lr == 0.006
    assert 0.014 <= found.max_lr <= 0.017


@pytest.mark.parametrize("points", [21, 41, 81])
@pytest.mark.parametrize("name", SHAPES)
def test_smith_finds_the_corners_of_typical_shapes_on_any_grid(name, points):
    corners, levels, base, largest = SHAPES[name]
    lrs = np.linspace(0, 0.02, points)
    step = lrs[1]
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(0, 1.0, points)
        found = smith(accuracy_curve(lrs, np.interp(lrs, corners, levels) + noise))
        assert found.base_lr == pytest.approx(base, abs=1.01 * step), (seed, found)
        assert found.max_lr == pytest.approx(largest, abs=1.01 * step + 0.0005), (seed, found)


@pytest.mark.parametrize("level", [0.0, 10.0, 100.0])
def test_smith_abstains_on_a_flat_curve(level):
    found = smith(accuracy_curve(FIG_3_LRS, [level] * 21))
    assert (found.base_lr, found.max_lr) == (None, None)
    assert "flat" in found.reason


@pytest.mark.parametrize("points", [10, 21, 60])
def test_smith_abstains_on_a_flat_noisy_curve(points):
    lrs = np.linspace(0, 0.02, points)
    noise = np.random.default_rng(0).normal(10, 1, (100, points))
    found = [smith(accuracy_curve(lrs, row)) for row in noise]
    # measured over 2,000 curves: at most 0.4 % are read
    assert sum(s.found for s in found) <= 1
    assert all("flat" in s.reason or "not rise" in s.reason for s in found if not s.found)


def test_smith_calls_what_fifty_images_cannot_tell_from_chance_flat():
    accuracies = np.interp(FIG_3_LRS, [0, 0.005, 0.01, 0.02], [10, 10, 14, 14])
    points = tuple(
        RangeTestPoint(update=i, lr=lr, accuracy_pct=float(accuracy))
        for i, (lr, accuracy) in enumerate(zip(FIG_3_LRS, accuracies, strict=True))
    )
    assert smith(RangeTestCurve(points=points, num_images=50_000)).found
    assert "does not rise" in smith(RangeTestCurve(points=points, num_images=50)).reason


@pytest.mark.parametrize("points", [10, 21, 41])
@pytest.mark.parametrize("shape", EVER_RISING)
def test_smith_abstains_on_an_ever_rising_curve(shape, points):
    x = np.linspace(0, 1, points)
    found = smith(accuracy_curve(0.02 * x, 10 + 60 * EVER_RISING[shape](x)))
    assert (found.base_lr, found.max_lr) == (None, None)
    assert "still rises at 0.02" in found.reason
    assert "sweep further" in found.reason


@pytest.mark.parametrize("points", [10, 21, 41])
@pytest.mark.parametrize("shape", EVER_RISING)
def test_smith_abstains_on_an_ever_rising_noisy_curve(shape, points):
    x = np.linspace(0, 1, points)
    rng = np.random.default_rng(1)
    rows = [10 + 60 * EVER_RISING[shape](x) + rng.normal(0, 0.6, points) for _ in range(60)]
    # measured over 400 curves each: at most 2.5 % are read, where noise settles the last third
    assert sum(smith(accuracy_curve(0.02 * x, row)).found for row in rows) <= 2


def test_smith_abstains_on_a_falling_curve():
    lrs = np.linspace(0, 0.02, 21)
    found = smith(accuracy_curve(lrs, 60 - 2000 * lrs))
    assert not found.found
    assert "does not rise" in found.reason


def test_smith_abstains_on_too_few_points():
    found = smith(accuracy_curve(FIG_3_LRS[:7], FIG_3_PCT[:7]))
    assert not found.found
    assert "too few" in found.reason


def test_smith_abstains_when_the_whole_rise_lies_between_two_points():
    accuracies = [10.0] + [90.0] * 14 + [50.0] * 6
    found = smith(accuracy_curve(FIG_3_LRS, accuracies))
    assert not found.found
    assert "more densely" in found.reason


def test_smith_sees_where_a_steady_rise_turns_ragged():
    lrs = np.linspace(0, 0.02, 41)
    noise = np.random.default_rng(3).normal(0, 1, 41) * np.where(lrs > 0.012, 3.0, 0.05)
    found = smith(accuracy_curve(lrs, 10 + 50 * lrs / 0.02 + noise))
    assert found.max_lr == pytest.approx(0.0125, abs=0.0015)
    assert "ragged" in found.reason


def test_divergence_is_a_fall_so_that_a_rise_up_to_it_has_an_end():
    points = tuple(
        RangeTestPoint(update=20 * i, lr=0.001 * i, accuracy_pct=10.0 + 4 * i) for i in range(15)
    )
    rising = RangeTestCurve(points=points)
    diverged = RangeTestCurve(points=points, diverged_at=295, diverged_lr=0.0147)
    assert not smith(rising).found
    assert smith(diverged).max_lr == pytest.approx(0.014)
    assert "no finite number from 0.0147 on" in smith(diverged).reason


def test_smith_reads_an_exponential_sweep_over_the_logarithm_of_the_rate():
    lrs = np.geomspace(1e-5, 1, 51)
    accuracies = np.interp(np.log10(lrs), [-5, -3, -1, -0.4, -0.2, 0], [10, 10, 90, 91, 10, 10])
    found = smith(accuracy_curve(lrs, accuracies, sweep="exponential"))
    assert found.base_lr == pytest.approx(1e-3, rel=0.3)
    assert found.max_lr == pytest.approx(1e-1, rel=0.3)


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-50, 50))
def test_smith_does_not_depend_on_the_unit_of_accuracy(scale, shift):
    reference = smith(accuracy_curve(FIG_3_LRS, FIG_3_PCT))
    scaled = smith(accuracy_curve(FIG_3_LRS, [scale * (a + shift) for a in FIG_3_PCT]))
    assert (scaled.base_lr, scaled.max_lr) == (reference.base_lr, reference.max_lr)


@given(factor=st.floats(1e-4, 1e4), name=st.sampled_from(sorted(RULES)))
def test_every_rule_scales_with_the_rate(factor, name):
    lrs = np.linspace(0.001, 0.02, 20)
    losses = np.interp(lrs, [0, 0.005, 0.012, 0.02], [2.3, 2.0, 0.5, 3.0])
    accuracies = np.interp(lrs, [0, 0.004, 0.012, 0.02], [10, 10, 70, 20])

    def read(by):
        columns = {"accuracies_pct": list(accuracies), "train_losses": list(losses)}
        return RULES[name](curve_from_columns(lrs=list(by * lrs), **columns))

    assert read(1.0).found
    assert read(factor).base_lr == pytest.approx(factor * read(1.0).base_lr, rel=1e-9)
    assert read(factor).max_lr == pytest.approx(factor * read(1.0).max_lr, rel=1e-9)


@given(
    accuracies=st.lists(st.floats(0, 100), min_size=0, max_size=40),
    losses=st.lists(st.floats(0, 1e6), min_size=40, max_size=40),
    sweep=st.sampled_from(["linear", "exponential"]),
)
def test_every_rule_gives_an_ordered_pair_or_none_and_a_reason(accuracies, losses, sweep):
    lrs = [1e-4 * 1.2**i for i in range(len(accuracies))]
    curve = curve_from_columns(
        lrs=lrs, accuracies_pct=accuracies, train_losses=losses[: len(lrs)], sweep=sweep
    )
    for name, found in suggest(curve).items():
        assert found.rule == name
        assert found.reason
        if found.found:
            assert 0 < found.base_lr < found.max_lr
        else:
            assert (found.base_lr, found.max_lr) == (None, None)


# loss rules: a loss that falls along a smooth step in log rate and explodes above 0.3

DENSE = np.geomspace(1e-5, 1, 101)


def typical_loss(lrs):
    fall = 2.3 - 1.8 / (1 + np.exp(-(np.log10(lrs) + 2) * 4))
    return fall + np.where(lrs > 0.3, 8 * (np.log10(lrs) - np.log10(0.3)), 0)


def test_minimum_is_a_tenth_of_the_rate_of_least_loss():
    found = minimum(loss_curve(DENSE, typical_loss(DENSE)))
    assert found.max_lr == pytest.approx(0.03, rel=0.2)
    assert found.base_lr == found.max_lr / 4
    assert "tenth" in found.reason


def test_steepest_is_where_the_loss_falls_fastest_in_log_rate():
    found = steepest(loss_curve(DENSE, typical_loss(DENSE)))
    assert found.max_lr == pytest.approx(0.01, rel=0.15)


def test_steepest_does_not_depend_on_the_spacing_of_the_points():
    # gradients by index move with the grid: the complaint about common learning-rate finders
    dense_at_the_end = np.sort(np.concatenate([DENSE[::4], np.linspace(0.105, 0.29, 40)]))
    for lrs in (DENSE, DENSE[::3], dense_at_the_end):
        found = steepest(loss_curve(lrs, typical_loss(lrs)))
        assert found.max_lr == pytest.approx(0.01, rel=0.25)


def test_valley_is_two_thirds_through_the_longest_fall_in_log_rate():
    lrs = np.geomspace(1e-4, 1, 41)
    losses = np.interp(np.log10(lrs), [-4, -3.5, -0.5, 0], [2.0, 2.3, 0.3, 4.0])
    found = valley(loss_curve(lrs, losses))
    assert np.log10(found.max_lr) == pytest.approx(-1.5, abs=0.1)


def test_valley_steps_over_a_bump():
    lrs = np.geomspace(1e-4, 1, 41)
    losses = np.interp(np.log10(lrs), [-4, -3.5, -0.5, 0], [2.0, 2.3, 0.3, 4.0])
    losses[18] += 0.5
    found = valley(loss_curve(lrs, losses))
    assert np.log10(found.max_lr) == pytest.approx(-1.5, abs=0.1)


@pytest.mark.parametrize("rule", [minimum, steepest, valley])
def test_loss_rules_abstain_on_flat_falling_and_rising_curves(rule):
    rng = np.random.default_rng(0)
    x = np.linspace(0.001, 0.02, 20)
    assert "flat" in rule(loss_curve(x, [2.3] * 20)).reason
    assert "flat" in rule(loss_curve(x, 2.3 + rng.normal(0, 0.01, 20))).reason
    assert "sweep further" in rule(loss_curve(x, 2.3 - 50 * x + rng.normal(0, 0.01, 20))).reason
    assert "does not fall" in rule(loss_curve(x, 2.3 + 50 * x)).reason
    assert "too few" in rule(loss_curve(x[:5], 2.3 - 50 * x[:5])).reason
    assert not rule(accuracy_curve(FIG_3_LRS, FIG_3_PCT)).found  # no losses


# agreement over seeds


def found_pair(base, largest):
    return smith(accuracy_curve(FIG_3_LRS, FIG_3_PCT)).__class__(
        rule="smith", base_lr=base, max_lr=largest, reason="read"
    )


ABSTAINED = smith(accuracy_curve(FIG_3_LRS, [10.0] * 21))


def test_agreement_is_the_median_so_that_one_odd_seed_does_not_move_it():
    both = agreement([found_pair(0.001, 0.006), found_pair(0.001, 0.005), found_pair(0.004, 0.1)])
    assert (both.base_lr, both.max_lr) == (0.001, 0.006)
    assert both.max_spread == pytest.approx(20)
    assert "disagree" in both.reason


def test_agreement_of_two_seeds_is_their_geometric_mean():
    both = agreement([found_pair(0.001, 0.004), found_pair(0.004, 0.016)])
    assert both.base_lr == pytest.approx(0.002)
    assert both.max_lr == pytest.approx(0.008)


@pytest.mark.parametrize(
    ("found", "seeds", "expected"), [(0, 1, False), (1, 3, False), (1, 2, True), (2, 3, True)]
)
def test_agreement_needs_half_of_the_seeds(found, seeds, expected):
    read = [found_pair(0.001, 0.006)] * found + [ABSTAINED] * (seeds - found)
    both = agreement(read)
    assert both.found is expected
    assert (both.num_found, both.num_seeds) == (found, seeds)
    if not expected:
        assert "flat" in both.reason


def test_agreement_refuses_different_rules():
    flat = accuracy_curve(FIG_3_LRS, [10.0] * 21)
    with pytest.raises(ValueError, match="of one rule"):
        agreement([smith(flat), minimum(flat)])
    with pytest.raises(ValueError, match="of one rule"):
        agreement([])


# curves


def test_curve_survives_json():
    curve = RangeTestCurve(
        points=(
            RangeTestPoint(update=0, lr=0.0, accuracy_pct=10.0),
            RangeTestPoint(update=5, lr=0.1, accuracy_pct=12.5, held_out_loss=2.0, train_loss=2.1),
        ),
        diverged_at=9,
        diverged_lr=0.2,
        num_images=80,
    )
    assert read_curve(json.loads(json.dumps(curve.describe()))) == curve


@pytest.mark.parametrize(
    ("lrs", "accuracies", "message"),
    [
        ([0.1, 0.1], [1.0, 2.0], "must rise"),
        ([0.2, 0.1], [1.0, 2.0], "must rise"),
        ([-0.1, 0.1], [1.0, 2.0], "negative"),
        ([0.1, 0.2], [1.0, float("nan")], "finite"),
        ([0.1], [1.0, 2.0], "equally long"),
    ],
)
def test_what_is_no_curve_is_refused(lrs, accuracies, message):
    with pytest.raises(ValueError, match=message):
        accuracy_curve(lrs, accuracies)
