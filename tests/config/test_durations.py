"""Durations as people write them, and the one conversion into updates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anneal.config.durations import UNITS, Clock, Duration, parse_duration, to_steps

CLOCK = Clock(steps_per_epoch=500, images_per_step=100, total_steps=25_000)


@pytest.mark.parametrize(
    ("written", "value", "unit"),
    [
        ("2000 steps", 2000, "steps"),
        ("1 step", 1, "steps"),
        ("4 epochs", 4, "epochs"),
        ("1 epoch", 1, "epochs"),
        ("0.5 epochs", 0.5, "epochs"),
        ("100_000 images", 100_000, "images"),
        ("1 image", 1, "images"),
        ("0.125 run", 0.125, "run"),
        ("0 steps", 0, "steps"),
        ("  3   steps ", 3, "steps"),
        ("3steps", 3, "steps"),
    ],
)
def test_duration_is_a_number_and_a_unit(written: str, value: float, unit: str) -> None:
    assert parse_duration(written) == Duration(value, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "written",
    [
        "",
        "2000",
        "steps",
        "-1 steps",
        "1e3 steps",
        "nan steps",
        "inf epochs",
        "2000 seconds",
        "2 Epochs",
        "1,000 steps",
        "1__000 steps",
        "_1 steps",
        ".5 run",
        "5. run",
        "1 steps 2 epochs",
        "٣ steps",
        2000,
        1.5,
        None,
        True,
        ["1 step"],
    ],
)
def test_what_is_no_duration_is_refused_with_the_three_ways_to_write_one(written: object) -> None:
    with pytest.raises(ValueError, match=r"must be a duration: .*'0\.125 run'") as refused:
        parse_duration(written)
    assert repr(written) in str(refused.value)


def test_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        parse_duration("9" * 400 + " steps")


@given(
    value=st.integers(0, 10**15) | st.floats(0, 1e12, allow_subnormal=False),
    unit=st.sampled_from(sorted(set(UNITS.values()))),
)
def test_what_a_duration_writes_is_read_back_as_the_same(value: float, unit: str) -> None:
    """Six digits are not enough: 1,234,567 steps were once written as 1.23457e+06."""
    duration = Duration(float(value), unit)  # type: ignore[arg-type]
    assert parse_duration(str(duration)) == duration


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2000.0, "2000 steps"),
        (1_234_567.0, "1234567 steps"),
        (0.125, "0.125 steps"),
        (0.00001, "0.00001 steps"),
    ],
)
def test_duration_is_written_as_a_person_would(value: float, written: str) -> None:
    assert str(Duration(value, "steps")) == written


@pytest.mark.parametrize(
    ("written", "fraction", "steps"),
    [
        ("2000 steps", 1.0, 2000),
        ("4 epochs", 1.0, 2000),
        ("0.5 epochs", 1.0, 250),
        ("100000 images", 1.0, 1000),
        ("0.08 run", 1.0, 2000),
        ("1 run", 1.0, 25_000),
        ("2000 steps", 0.1, 200),
        ("4 epochs", 0.01, 20),
        ("100000 images", 0.25, 250),
        ("0.08 run", 0.01, 20),
        ("149 images", 1.0, 1),  # 1.49 updates
        ("151 images", 1.0, 1),
        ("3 steps", 0.5, 1),  # rounded down, once
        ("5 steps", 0.5, 2),
    ],
)
def test_duration_becomes_whole_updates(written: str, fraction: float, steps: int) -> None:
    made = to_steps(parse_duration(written), CLOCK, budget_fraction=fraction)
    assert (made, type(made)) == (steps, int)


def test_it_is_rounded_once_and_not_before_the_budget_is_applied() -> None:
    # 2.6 updates x 0.8 = 2.08 -> 2; rounded first, 2 x 0.8 = 1.6 -> 1
    assert to_steps(parse_duration("260 images"), CLOCK, budget_fraction=0.8) == 2


@pytest.mark.parametrize("percent", range(1, 101))
def test_two_halves_of_a_run_never_exceed_it(percent: int) -> None:
    clock = Clock(steps_per_epoch=15, images_per_step=100, total_steps=300)
    half, whole = (
        to_steps(parse_duration(written), clock, budget_fraction=percent / 100)
        for written in ("0.5 run", "1 run")
    )
    assert 2 * half <= whole


@pytest.mark.parametrize("unit", ["steps", "epochs", "images", "run"])
def test_nothing_stays_nothing_and_something_stays_at_least_one_update(unit: str) -> None:
    assert to_steps(parse_duration(f"0 {unit}"), CLOCK, budget_fraction=0.5) == 0
    assert to_steps(parse_duration(f"0.001 {unit}"), CLOCK, budget_fraction=0.00001) == 1


def test_length_of_a_run_is_no_fraction_of_itself() -> None:
    clock = Clock(steps_per_epoch=500, images_per_step=100)
    with pytest.raises(ValueError, match=r"a fraction of itself, got 0\.5 run"):
        to_steps(parse_duration("0.5 run"), clock)


@given(steps=st.integers(1, 10**6), fraction=st.floats(1e-4, 1))
def test_smaller_budget_never_makes_a_duration_longer(steps: int, fraction: float) -> None:
    duration = Duration(float(steps), "steps")
    assert 1 <= to_steps(duration, CLOCK, budget_fraction=fraction) <= steps
