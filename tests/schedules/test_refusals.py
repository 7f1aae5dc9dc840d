"""Every bad argument is refused with its name, the rule and the value."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from anneal.schedules import SCHEDULES, Schedule, constant, from_description, staged, triangular

FLAT = constant(lr=0.1)
CYCLE = {"base_lr": 0.1, "max_lr": 0.5, "half_cycle_steps": 4}
GOOD: dict[str, dict[str, Any]] = {
    "constant": {"lr": 0.1},
    "step_decay": {"initial_lr": 0.1, "milestones": [3, 5], "factor": 0.5},
    "exponential": {"initial_lr": 0.1, "gamma": 0.9},
    "inverse": {"initial_lr": 0.1, "gamma": 0.01, "power": 0.75},
    "polynomial": {"initial_lr": 0.1, "power": 0.5, "total_steps": 10},
    "linear_decay": CYCLE,
    "triangular": CYCLE | {"divide_by_cycle": True},
    "triangular2": CYCLE,
    "welch": CYCLE,
    "hann": CYCLE,
    "exp_range": CYCLE | {"gamma": 0.9, "decays": "amplitude"},
    "cosine": {"min_lr": 0.1, "max_lr": 0.5, "total_steps": 10},
    "cosine_restarts": {
        "min_lr": 0.1,
        "max_lr": 0.5,
        "first_cycle_steps": 10,
        "growth": 2,
        "max_lr_factor": 0.5,
    },
    "one_cycle": CYCLE | {"final_lr": 0.01, "total_steps": 12},
    "one_cycle_momentum": {
        "max_momentum": 0.95,
        "min_momentum": 0.85,
        "half_cycle_steps": 4,
        "total_steps": 12,
    },
    "linear_ramp": {"first_lr": 0.1, "last_lr": 0.5, "total_steps": 10},
    "exponential_ramp": {"first_lr": 0.1, "last_lr": 0.5, "total_steps": 10},
    "staged": {"stages": [(0, FLAT), (3, FLAT)]},
    "warmup": {"first_lr": 0.01, "warmup_steps": 3, "schedule": FLAT},
    "warmup_stable_decay": {
        "max_lr": 0.5,
        "final_lr": 0.1,
        "warmup_steps": 3,
        "stable_steps": 3,
        "decay_steps": 3,
    },
    "held": {"every_steps": 3, "schedule": FLAT},
    "lowered": {"milestones": [3, 5], "factor": 0.5, "schedule": FLAT},
}

NUMBERS = [
    (name, key)
    for name, good in GOOD.items()
    for key in good
    if isinstance(good[key], (int, float))
]
NO_NUMBERS = [math.nan, math.inf, -math.inf, -1, True, "0.1", None, 10**400, [0.1], 1j]
REFUSED = [
    (name, key, value)
    for name, key in NUMBERS
    for value in NO_NUMBERS
    if not (value is True and isinstance(GOOD[name][key], bool))  # a flag may be True
    and not (value == 10**400 and type(GOOD[name][key]) is int)  # an integer may be long
]


def test_good_arguments_cover_every_argument_of_every_schedule() -> None:
    assert GOOD.keys() == SCHEDULES.keys()
    for name, good in GOOD.items():
        assert SCHEDULES[name].build(**good).arguments.keys() == good.keys()


@pytest.mark.parametrize(("name", "key", "value"), REFUSED, ids=lambda part: repr(part)[:30])
def test_what_is_no_number_in_range_is_refused_by_name(name: str, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{key} must .*, got "):
        SCHEDULES[name].build(**GOOD[name] | {key: value})


@pytest.mark.parametrize("value", [0, 2.0, 2.5])
@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name, key in NUMBERS if key.endswith("_steps")]
    + [("cosine_restarts", "growth")],
)
def test_length_must_be_a_positive_integer(name: str, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{key} must be .*, got {value}$"):
        SCHEDULES[name].build(**GOOD[name] | {key: value})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("step_decay", {"factor": 0}, "factor must be in (0, 1], got 0"),
        ("step_decay", {"factor": 1.5}, "factor must be in (0, 1], got 1.5"),
        ("step_decay", {"milestones": []}, "milestones must not be empty, got []"),
        ("step_decay", {"milestones": 3}, "milestones must be a sequence of updates, got 3"),
        ("step_decay", {"milestones": [5, 3]}, "milestones must be strictly increasing"),
        ("step_decay", {"milestones": [3, 3]}, "milestones must be strictly increasing"),
        ("step_decay", {"milestones": [0, 3]}, "each of milestones must be positive, got 0"),
        ("step_decay", {"milestones": [1.5]}, "each of milestones must be an integer, got 1.5"),
        ("step_decay", {"milestones": "35"}, "each of milestones must be an integer, got '3'"),
        ("exponential", {"gamma": 0.0}, "gamma must be in (0, 1], got 0.0"),
        ("exponential", {"gamma": 1.001}, "gamma must be in (0, 1], got 1.001"),
        ("inverse", {"gamma": 0.0}, "gamma must be positive, got 0.0"),
        ("inverse", {"power": 0}, "power must be positive, got 0"),
        ("polynomial", {"power": 0}, "power must be positive, got 0"),
        ("linear_decay", {"max_lr": 0.05}, "max_lr must be at least base_lr = 0.1, got 0.05"),
        ("triangular", {"max_lr": 0.05}, "max_lr must be at least base_lr = 0.1, got 0.05"),
        ("triangular", {"divide_by_cycle": 1}, "divide_by_cycle must be True or False, got 1"),
        ("triangular2", {"max_lr": 0.05}, "max_lr must be at least base_lr = 0.1, got 0.05"),
        ("welch", {"max_lr": 0.05}, "max_lr must be at least base_lr = 0.1, got 0.05"),
        ("hann", {"max_lr": 0.05}, "max_lr must be at least base_lr = 0.1, got 0.05"),
        ("exp_range", {"max_lr": 0.05}, "max_lr must be at least base_lr = 0.1, got 0.05"),
        ("exp_range", {"gamma": 1.1}, "gamma must be in (0, 1], got 1.1"),
        ("exp_range", {"decays": "both"}, "decays must be 'bounds' or 'amplitude', got 'both'"),
        ("exp_range", {"decays": None}, "decays must be 'bounds' or 'amplitude', got None"),
        ("cosine", {"max_lr": 0.05}, "max_lr must be at least min_lr = 0.1, got 0.05"),
        ("cosine_restarts", {"max_lr": 0.05}, "max_lr must be at least min_lr = 0.1, got 0.05"),
        ("cosine_restarts", {"growth": 1.5}, "growth must be an integer, got 1.5"),
        ("cosine_restarts", {"max_lr_factor": 2}, "max_lr_factor must be in (0, 1], got 2"),
        ("cosine_restarts", {"max_lr_factor": 0}, "max_lr_factor must be in (0, 1], got 0"),
        ("one_cycle", {"max_lr": 0.05}, "max_lr must be at least base_lr = 0.1, got 0.05"),
        ("one_cycle", {"final_lr": 0.2}, "base_lr must be at least final_lr = 0.2, got 0.1"),
        ("one_cycle", {"total_steps": 9}, "total_steps must be at least 10, got 9"),
        ("one_cycle_momentum", {"max_momentum": 1.0}, "max_momentum must be in [0, 1), got 1.0"),
        ("one_cycle_momentum", {"max_momentum": 0.5}, "max_momentum must be at least min_momentum"),
        ("one_cycle_momentum", {"total_steps": 8}, "total_steps must be at least 10, got 8"),
        ("linear_ramp", {"total_steps": 1}, "total_steps must be at least 2, got 1"),
        ("exponential_ramp", {"first_lr": 0.0}, "first_lr must be positive, got 0.0"),
        ("exponential_ramp", {"last_lr": 0}, "last_lr must be positive, got 0"),
        ("exponential_ramp", {"total_steps": 1}, "total_steps must be at least 2, got 1"),
        ("staged", {"stages": []}, "stages must start at update 0, got []"),
        ("staged", {"stages": 3}, "stages must be a sequence of (first update, schedule), got 3"),
        ("staged", {"stages": [FLAT]}, "each of stages must be (first update, schedule), got"),
        ("staged", {"stages": [(1, FLAT)]}, "stages must start at update 0, got [1]"),
        ("staged", {"stages": [(0, FLAT), (0, FLAT)]}, "stages must be strictly increasing"),
        ("staged", {"stages": [(0, FLAT), (5, FLAT), (4, FLAT)]}, "stages must be strictly incr"),
        ("staged", {"stages": [(0.0, FLAT)]}, "each first update of stages must be an integer"),
        ("staged", {"stages": [(False, FLAT)]}, "each first update of stages must be an integer"),
        ("staged", {"stages": [(0, abs)]}, "each schedule of stages must be a Schedule, got"),
        ("warmup", {"first_lr": 0.2}, "schedule(0) must be at least first_lr = 0.2, got 0.1"),
        ("held", {"schedule": abs}, "schedule must be a Schedule, got"),
        ("lowered", {"schedule": abs}, "schedule must be a Schedule, got"),
        ("lowered", {"milestones": [5, 3]}, "milestones must be strictly increasing, got [5, 3]"),
        ("lowered", {"milestones": []}, "milestones must not be empty, got []"),
        ("lowered", {"factor": 0}, "factor must be in (0, 1], got 0"),
        ("warmup", {"schedule": abs}, "schedule must be a Schedule, got"),
        ("warmup_stable_decay", {"final_lr": 0.6}, "max_lr must be at least final_lr = 0.6, got"),
        ("warmup_stable_decay", {"decay_steps": 1}, "decay_steps must be at least 2, got 1"),
    ],
)
def test_rule_between_arguments_is_refused_in_words(
    name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # the message is compared below
        SCHEDULES[name].build(**GOOD[name] | changes)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("update", [-1, 1.0, 0.5, True, "3", None, math.nan])
@pytest.mark.parametrize("name", GOOD)
def test_update_that_is_no_count_is_refused(name: str, update: Any) -> None:
    with pytest.raises(ValueError, match=r"^update must (be an integer|not be negative), got "):
        SCHEDULES[name].build(**GOOD[name])(update)


def test_equal_bounds_are_allowed_and_make_a_constant() -> None:
    for name in ("triangular", "triangular2", "welch", "hann", "linear_decay"):
        rate = SCHEDULES[name].build(base_lr=0.3, max_lr=0.3, half_cycle_steps=7)
        assert {rate(update) for update in range(40)} == {0.3}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"name": "constant"}, "a description must be a dict of name and arguments alone"),
        ({"name": "constant", "arguments": {"lr": 1}, "x": 1}, "a description must be a dict"),
        ("constant", "a description must be a dict of name and arguments alone, got 'constant'"),
        ({"name": "constand", "arguments": {"lr": 1}}, "name must be one of constant, step_decay"),
        ({"name": ["constant"], "arguments": {}}, "name must be one of constant, step_decay"),
        ({"name": "constant", "arguments": [1]}, "arguments of constant must be a dict, got [1]"),
        (
            {"name": "constant", "arguments": {"rate": 1}},
            "arguments of constant must be lr: unknown ['rate'], missing ['lr']",
        ),
        ({"name": "constant", "arguments": {"lr": -1}}, "lr must not be negative, got -1"),
    ],
)
def test_description_of_no_schedule_is_refused(description: Any, message: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # the message is compared below
        from_description(description)
    assert str(refusal.value).startswith(message)


def test_numpy_integers_count_as_integers() -> None:
    numpy = pytest.importorskip("numpy")
    build: Callable[..., Schedule] = triangular
    rate = build(base_lr=numpy.float64(0.1), max_lr=0.5, half_cycle_steps=numpy.int64(4))
    assert rate(numpy.int64(4)) == 0.5
    assert rate == triangular(base_lr=0.1, max_lr=0.5, half_cycle_steps=4)
    assert type(rate.describe()["arguments"]["half_cycle_steps"]) is int


def test_arguments_are_keywords_only() -> None:
    for name, entry in SCHEDULES.items():
        with pytest.raises(TypeError, match="positional"):
            entry.build(*GOOD[name].values())


def test_stages_of_lists_are_stages_of_tuples() -> None:
    pairs: Any = [[0, FLAT], [3, FLAT]]
    assert staged(stages=pairs) == staged(stages=[(0, FLAT), (3, FLAT)])
