"""A schedule knows its name and its arguments: descriptions, equality, printing, copies."""

import copy
import inspect
import json
import pickle
from importlib import import_module
from pathlib import Path

import pytest

import anneal.schedules
from anneal.schedules import (
    SCHEDULES,
    Schedule,
    constant,
    cosine_restarts,
    from_description,
    linear_ramp,
    registry,
    staged,
    triangular,
    triangular2,
    warmup,
    welch,
)

NESTED = staged(
    stages=[
        (0, warmup(first_lr=0.0, warmup_steps=3, schedule=constant(lr=0.5))),
        (9, triangular(base_lr=0.1, max_lr=0.5, half_cycle_steps=2)),
    ]
)


def test_description_is_plain_and_nested() -> None:
    assert NESTED.describe() == {
        "name": "staged",
        "arguments": {
            "stages": [
                [
                    0,
                    {
                        "name": "warmup",
                        "arguments": {
                            "first_lr": 0.0,
                            "warmup_steps": 3,
                            "schedule": {"name": "constant", "arguments": {"lr": 0.5}},
                        },
                    },
                ],
                [
                    9,
                    {
                        "name": "triangular",
                        "arguments": {
                            "base_lr": 0.1,
                            "max_lr": 0.5,
                            "half_cycle_steps": 2,
                            "divide_by_cycle": False,
                        },
                    },
                ],
            ]
        },
    }


def test_description_rebuilds_its_schedule_after_json() -> None:
    twin = from_description(json.loads(json.dumps(NESTED.describe())))
    assert twin == NESTED
    assert [twin(update) for update in range(20)] == [NESTED(update) for update in range(20)]


def test_changed_description_does_not_change_schedule() -> None:
    description, arguments = NESTED.describe(), NESTED.arguments
    description["arguments"]["stages"][0][0] = 5
    arguments["stages"] = ()
    assert NESTED.describe()["arguments"]["stages"][0][0] == 0
    assert NESTED.arguments["stages"]


def test_changing_a_list_that_was_passed_in_does_not_change_the_schedule() -> None:
    milestones = [3, 5]
    rate = SCHEDULES["step_decay"].build(initial_lr=1.0, milestones=milestones, factor=0.5)
    milestones[0] = 1
    assert rate(1) == 1.0
    assert rate.describe()["arguments"]["milestones"] == [3, 5]


def test_schedules_are_equal_by_name_and_arguments() -> None:
    one_shape = {"base_lr": 0.1, "max_lr": 0.5, "half_cycle_steps": 4}
    one = triangular(base_lr=0.1, max_lr=0.5, half_cycle_steps=4)
    assert one == triangular(base_lr=0.1, max_lr=0.5, half_cycle_steps=4, divide_by_cycle=False)
    assert one != triangular(base_lr=0.1, max_lr=0.5, half_cycle_steps=5)
    assert one != triangular2(base_lr=0.1, max_lr=0.5, half_cycle_steps=4)
    assert triangular2(**one_shape) != welch(**one_shape)
    assert one != "triangular"
    assert len({one, triangular(base_lr=0.1, max_lr=0.5, half_cycle_steps=4)}) == 1


def test_whole_numbers_are_the_same_rates_as_floats() -> None:
    whole, broken = constant(lr=1), constant(lr=1.0)
    assert whole == broken
    assert json.dumps(whole.describe()) == json.dumps(broken.describe())


def test_schedule_prints_as_the_call_that_makes_it() -> None:
    rate = cosine_restarts(min_lr=0.0, max_lr=0.05, first_cycle_steps=10, growth=2)
    assert repr(rate) == (
        "cosine_restarts(min_lr=0.0, max_lr=0.05, first_cycle_steps=10, growth=2, "
        "max_lr_factor=1.0)"
    )
    assert eval(repr(NESTED), {name: entry.build for name, entry in SCHEDULES.items()}) == NESTED


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_copies_and_pickles_are_equal_and_give_the_same_values(protocol: int) -> None:
    twins = [
        pickle.loads(pickle.dumps(NESTED, protocol=protocol)),
        copy.copy(NESTED),
        copy.deepcopy(NESTED),
    ]
    for twin in twins:
        assert twin == NESTED
        assert [twin(update) for update in range(20)] == [NESTED(update) for update in range(20)]


def my_own(*, top: float) -> Schedule:
    return Schedule(my_own, {"top": top}, lambda update: top / (update + 1))


def test_builder_of_your_own_makes_schedules_like_ours() -> None:
    rate = my_own(top=6.0)
    assert rate(2) == 2.0
    assert rate == my_own(top=6.0)
    assert repr(warmup(first_lr=0.0, warmup_steps=2, schedule=rate)) == (
        "warmup(first_lr=0.0, warmup_steps=2, schedule=my_own(top=6.0))"
    )


def test_registry_names_every_public_builder_by_its_own_name() -> None:
    folder = Path(anneal.schedules.__file__).parent
    modules = [import_module(f"anneal.schedules.{path.stem}") for path in folder.glob("[a-z]*.py")]
    public = {name for module in modules for name in getattr(module, "__all__", ())}
    assert public == {*SCHEDULES, *registry.__all__, "Schedule"} == {*anneal.schedules.__all__}
    for name, entry in SCHEDULES.items():
        assert entry.build.__name__ == name
        assert getattr(anneal, name) is getattr(anneal.schedules, name) is entry.build


def test_entry_says_what_bounds_do_or_why_they_do_nothing() -> None:
    for name, entry in SCHEDULES.items():
        assert bool(entry.bounds) != bool(entry.no_bounds), name
        assert entry.cycle_ends is None or entry.phases is None, name
        assert entry.bounds.keys() <= inspect.signature(entry.build).parameters.keys(), name


def test_order_of_the_arguments_does_not_matter() -> None:
    assert linear_ramp(first_lr=0.0, last_lr=1.0, total_steps=3) == linear_ramp(
        total_steps=3, last_lr=1.0, first_lr=0.0
    )
