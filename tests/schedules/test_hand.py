"""Hand layer: tiny integers that a reader can check in the head; index 0, peak, last index."""

import pytest

from anneal.schedules import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    exp_range,
    exponential,
    exponential_ramp,
    hann,
    held,
    inverse,
    linear_decay,
    linear_ramp,
    lowered,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    staged,
    step_decay,
    triangular,
    triangular2,
    warmup,
    warmup_stable_decay,
    welch,
)

CASES = {
    "constant": (constant(lr=0.5), [0.5, 0.5, 0.5]),
    "step decay drops at the milestones": (
        step_decay(initial_lr=100.0, milestones=[1, 4], factor=0.5),
        [100, 50, 50, 50, 25, 25],
    ),
    "exponential": (exponential(initial_lr=16.0, gamma=0.25), [16, 4, 1, 0.25]),
    "inverse": (inverse(initial_lr=60.0, gamma=1.0, power=1.0), [60, 30, 20, 15, 12, 10]),
    "polynomial of power 1 holds its last value": (
        polynomial(initial_lr=4.0, power=1.0, total_steps=4),
        [4, 3, 2, 1, 1, 1],
    ),
    "polynomial of one update": (polynomial(initial_lr=4.0, power=2.0, total_steps=1), [4, 4]),
    "linear decay": (linear_decay(max_lr=7.0, base_lr=1.0, half_cycle_steps=3), [7, 5, 3, 1, 1]),
    "triangular": (
        triangular(base_lr=0.0, max_lr=3.0, half_cycle_steps=3),
        [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0],
    ),
    "triangular of half cycle 1": (
        triangular(base_lr=1.0, max_lr=2.0, half_cycle_steps=1),
        [1, 2, 1, 2, 1],
    ),
    "triangular of the Caffe patch: peaks at 1, 1/2, 1/3": (
        triangular(base_lr=0.0, max_lr=12.0, half_cycle_steps=2, divide_by_cycle=True),
        [0, 6, 12, 6, 0, 3, 6, 3, 0, 2, 4, 2, 0],
    ),
    "triangular2: peaks at 1, 1/2, 1/4": (
        triangular2(base_lr=0.0, max_lr=16.0, half_cycle_steps=2),
        [0, 8, 16, 8, 0, 4, 8, 4, 0, 2, 4, 2, 0],
    ),
    "welch: 1 - x squared": (
        welch(base_lr=0.0, max_lr=16.0, half_cycle_steps=4),
        [0, 7, 12, 15, 16, 15, 12, 7, 0, 7],
    ),
    "hann: sine squared": (
        hann(base_lr=0.0, max_lr=4.0, half_cycle_steps=3),
        [0, 1, 3, 4, 3, 1, 0, 1],
    ),
    "exp_range shrinks both bounds": (
        exp_range(base_lr=64.0, max_lr=128.0, half_cycle_steps=1, gamma=0.5),
        [64, 64, 16, 16, 4, 4],
    ),
    "exp_range shrinks the amplitude alone": (
        exp_range(base_lr=64.0, max_lr=128.0, half_cycle_steps=1, gamma=0.5, decays="amplitude"),
        [64, 96, 64, 72, 64, 66],
    ),
    "cosine ends just above its minimum and stays": (
        cosine(min_lr=0.0, max_lr=4.0, total_steps=3),
        [4, 3, 1, 1, 1],
    ),
    "cosine restarts of equal length": (
        cosine_restarts(min_lr=0.0, max_lr=4.0, first_cycle_steps=3),
        [4, 3, 1, 4, 3, 1, 4],
    ),
    "cosine restarts that double": (
        cosine_restarts(min_lr=0.0, max_lr=4.0, first_cycle_steps=1, growth=2),
        [4, 4, 2, 4, 3.4142135623730951, 2, 0.5857864376269049, 4],
    ),
    "cosine restarts from lower and lower peaks": (
        cosine_restarts(min_lr=0.0, max_lr=4.0, first_cycle_steps=2, max_lr_factor=0.5),
        [4, 2, 2, 1, 1, 0.5],
    ),
    "one cycle": (
        one_cycle(base_lr=4.0, max_lr=10.0, final_lr=1.0, half_cycle_steps=2, total_steps=8),
        [4, 7, 10, 7, 4, 3, 2, 1, 1, 1],
    ),
    "one cycle, shortest last fall": (
        one_cycle(base_lr=4.0, max_lr=10.0, final_lr=1.0, half_cycle_steps=1, total_steps=4),
        [4, 10, 4, 1, 1],
    ),
    "momentum of one cycle": (
        one_cycle_momentum(max_momentum=0.75, min_momentum=0.25, half_cycle_steps=2, total_steps=8),
        [0.75, 0.5, 0.25, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75],
    ),
    "linear ramp up": (linear_ramp(first_lr=0.0, last_lr=6.0, total_steps=4), [0, 2, 4, 6, 6]),
    "linear ramp down": (linear_ramp(first_lr=6.0, last_lr=0.0, total_steps=4), [6, 4, 2, 0, 0]),
    "exponential ramp up": (
        exponential_ramp(first_lr=1.0, last_lr=1000.0, total_steps=4),
        [1, 10, 100, 1000, 1000],
    ),
    "exponential ramp down": (
        exponential_ramp(first_lr=100.0, last_lr=1.0, total_steps=3),
        [100, 10, 1, 1],
    ),
    "stages count from their own starts": (
        staged(
            stages=[
                (0, linear_ramp(first_lr=0.0, last_lr=5.0, total_steps=6)),
                (2, constant(lr=9.0)),
                (3, linear_ramp(first_lr=2.0, last_lr=0.0, total_steps=3)),
            ]
        ),
        [0, 1, 9, 2, 1, 0, 0],
    ),
    "warm-up, then the schedule from its own start": (
        warmup(
            first_lr=1.0,
            warmup_steps=3,
            schedule=step_decay(initial_lr=4.0, milestones=[2], factor=0.5),
        ),
        [1, 2, 3, 4, 4, 2, 2],
    ),
    "held for three updates": (
        held(every_steps=3, schedule=linear_ramp(first_lr=0.0, last_lr=7.0, total_steps=8)),
        [0, 0, 0, 3, 3, 3, 6, 6, 6, 7],
    ),
    "lowered twice, the cycle going on": (
        lowered(
            milestones=[3, 5],
            factor=0.5,
            schedule=triangular(base_lr=8.0, max_lr=16.0, half_cycle_steps=2),
        ),
        [8, 12, 16, 6, 4, 3, 4, 3, 2],
    ),
    "warm-up, stable, decay": (
        warmup_stable_decay(
            max_lr=6.0, final_lr=0.0, warmup_steps=3, stable_steps=2, decay_steps=4
        ),
        [0, 2, 4, 6, 6, 6, 4, 2, 0, 0],
    ),
}


@pytest.mark.parametrize(("schedule", "expected"), CASES.values(), ids=CASES.keys())
def test_values_are_those_worked_out_by_hand(schedule: Schedule, expected: list[float]) -> None:
    values = [schedule(update) for update in range(len(expected))]
    # 2e-16 of the largest value: sines and cosines of round angles are off by one rounding
    assert values == pytest.approx(expected, rel=1e-14, abs=1e-15)


def test_value_is_a_python_float() -> None:
    whole_numbers = triangular(base_lr=0, max_lr=4, half_cycle_steps=2)
    assert [type(whole_numbers(update)) for update in range(4)] == [float] * 4
    assert type(constant(lr=1)(0)) is float


def test_lower_peak_never_falls_below_the_minimum() -> None:
    rate = cosine_restarts(min_lr=3.0, max_lr=4.0, first_cycle_steps=2, max_lr_factor=0.5)
    assert [rate(update) for update in range(2, 6)] == [3.0] * 4


def test_restart_that_logarithms_miss_is_made() -> None:
    """The bug of torch's ``step(epoch)`` and of timm: near zero at 1210 instead of the peak."""
    rate = cosine_restarts(min_lr=0.0, max_lr=0.05, first_cycle_steps=10, growth=3)
    assert rate(1209) < 1e-6
    assert rate(1210) == 0.05
