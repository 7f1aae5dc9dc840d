"""The table from a (base, max) pair to each scheduler's keywords."""

import copy

import pytest

from anneal import schedules
from anneal.config.bounds import apply_bounds

BASE, MAX = 0.01, 0.08
PUBLIC = sorted(set(schedules.SCHEDULES))

# For every public schedule: a YAML section as in conf/scheduler, without its name.
SECTIONS = {
    "constant": {"lr": 0.001},
    "step_decay": {"initial_lr": 0.001, "milestones": ["50 steps"], "factor": 0.1},
    "exponential": {"initial_lr": 0.001, "gamma": 0.99},
    "inverse": {"initial_lr": 0.001, "gamma": 0.01, "power": 0.75},
    "polynomial": {"initial_lr": 0.006, "power": 1.0, "total": "100 steps"},
    "linear_decay": {"max_lr": 0.006, "base_lr": 0.001, "half_cycle": "10 steps"},
    "triangular": {"base_lr": 0.001, "max_lr": 0.006, "half_cycle": "10 steps"},
    "triangular2": {"base_lr": 0.001, "max_lr": 0.006, "half_cycle": "10 steps"},
    "welch": {"base_lr": 0.001, "max_lr": 0.006, "half_cycle": "10 steps"},
    "hann": {"base_lr": 0.001, "max_lr": 0.006, "half_cycle": "10 steps"},
    "exp_range": {
        "base_lr": 0.001, "max_lr": 0.006, "half_cycle": "10 steps", "gamma": 1.0,
        "decays": "amplitude",
    },
    "cosine": {"min_lr": 0.0, "max_lr": 0.006, "total": "100 steps"},
    "cosine_restarts": {"min_lr": 0.0, "max_lr": 0.006, "first_cycle": "10 steps"},
    "one_cycle": {
        "base_lr": 0.001, "max_lr": 0.006, "final_lr": 0.0001, "half_cycle": "40 steps",
        "total": "100 steps",
    },
    "staged": {
        "stages": [
            {"first": "0 steps", "schedule": {
                "name": "triangular2", "base_lr": 0.001, "max_lr": 0.005,
                "half_cycle": "10 steps"}},
            {"first": "50 steps", "schedule": {
                "name": "triangular2", "base_lr": 0.0001, "max_lr": 0.0005,
                "half_cycle": "5 steps"}},
            {"first": "80 steps", "schedule": {"name": "constant", "lr": 0.00001}},
        ]
    },
    "warmup": {
        "first_lr": 0.0006, "warmup": "10 steps",
        "schedule": {"name": "cosine", "min_lr": 0.0, "max_lr": 0.006, "total": "90 steps"},
    },
    "warmup_stable_decay": {
        "max_lr": 0.006, "final_lr": 0.0006, "warmup": "10 steps", "stable": "50 steps",
        "decay": "40 steps",
    },
    "held": {
        "every": "5 steps",
        "schedule": {"name": "triangular", "base_lr": 0.001, "max_lr": 0.006,
                     "half_cycle": "10 steps"},
    },
    "lowered": {
        "milestones": ["50 steps"], "factor": 0.1,
        "schedule": {"name": "triangular", "base_lr": 0.001, "max_lr": 0.006,
                     "half_cycle": "10 steps"},
    },
}  # fmt: skip
REFUSED = ["one_cycle_momentum", "linear_ramp", "exponential_ramp"]
HOLDS_BASE = ["constant", "step_decay"]
STAYS_ABOVE_BASE = ["constant", "linear_decay", "triangular", "triangular2", "welch", "hann",
                    "exp_range"]  # fmt: skip


def build(name, section):
    """Build a schedule from a section whose durations are all written in steps."""

    def steps(value):
        return int(value.split()[0])

    arguments = {}
    for key, value in section.items():
        if key == "stages":
            value = [
                (steps(stage["first"]), build(stage["schedule"]["name"], rest(stage["schedule"])))
                for stage in value
            ]
        elif key == "schedule":
            value = build(value["name"], rest(value))
        elif key == "milestones":
            value = [steps(milestone) for milestone in value]
        elif isinstance(value, str) and value.endswith("steps"):
            key, value = f"{key}_steps", steps(value)
        arguments[key] = value
    return schedules.SCHEDULES[name].build(**arguments)


def rest(section):
    return {key: value for key, value in section.items() if key != "name"}


def test_every_public_schedule_is_in_the_table_or_refused():
    assert sorted([*SECTIONS, *REFUSED]) == PUBLIC
    assert set(PUBLIC) <= set(schedules.__all__)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_schedule_takes_the_bounds_and_stays_inside_them(name):
    before = copy.deepcopy(SECTIONS[name])
    schedule = build(name, apply_bounds(name, SECTIONS[name], BASE, MAX))
    rates = [schedule(update) for update in range(100)]
    top = BASE if name in HOLDS_BASE else MAX
    assert max(rates) == pytest.approx(top, rel=1e-12)
    if name in STAYS_ABOVE_BASE:
        assert min(rates) == pytest.approx(BASE, rel=1e-12) or min(rates) > BASE
    assert SECTIONS[name] == before  # what was given is left as it was


@pytest.mark.parametrize("name", SECTIONS)
def test_only_rates_change(name):
    changed = apply_bounds(name, SECTIONS[name], BASE, MAX)
    assert changed.keys() == SECTIONS[name].keys()
    kept = {key for key in changed if not key.endswith("lr") and key not in ("stages", "schedule")}
    assert {key: changed[key] for key in kept} == {key: SECTIONS[name][key] for key in kept}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_use_for_bounds_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} takes no bounds"):
        apply_bounds(name, {}, BASE, MAX)


def test_unknown_scheduler_is_refused():
    with pytest.raises(ValueError, match="got 'triangle'"):
        apply_bounds("triangle", {}, BASE, MAX)


@pytest.mark.parametrize(
    ("base", "largest"),
    [(0.0, 0.1), (-0.1, 0.1), (0.1, 0.1), (0.2, 0.1), (0.1, float("inf")), (float("nan"), 0.1)],
)
def test_what_is_no_pair_is_refused(base, largest):
    with pytest.raises(ValueError, match="0 < base_lr < max_lr"):
        apply_bounds("triangular", SECTIONS["triangular"], base, largest)


def test_stages_keep_their_ratio_to_the_first_as_table_2_has_it():
    changed = apply_bounds("staged", SECTIONS["staged"], BASE, MAX)
    first, second, third = (stage["schedule"] for stage in changed["stages"])
    assert (first["base_lr"], first["max_lr"]) == (BASE, MAX)
    assert second["base_lr"] == pytest.approx(BASE / 10)
    assert second["max_lr"] == pytest.approx(MAX / 10)
    assert third["lr"] == pytest.approx(BASE / 100)


def test_one_cycle_ends_as_far_below_its_base_as_before():
    changed = apply_bounds("one_cycle", SECTIONS["one_cycle"], BASE, MAX)
    assert changed["final_lr"] == pytest.approx(BASE / 10)


def test_warm_up_starts_as_far_below_the_peak_as_before():
    changed = apply_bounds("warmup", SECTIONS["warmup"], BASE, MAX)
    assert changed["first_lr"] == pytest.approx(MAX / 10)
    assert changed["schedule"]["max_lr"] == MAX


def test_cosine_keeps_its_floor_and_refuses_one_above_the_peak():
    assert apply_bounds("cosine", SECTIONS["cosine"], BASE, MAX)["min_lr"] == 0.0
    with pytest.raises(ValueError, match="min_lr must be at most"):
        apply_bounds("cosine", {**SECTIONS["cosine"], "min_lr": 0.5}, BASE, MAX)


def test_rates_that_were_left_open_are_filled_in():
    assert apply_bounds("triangular", {"half_cycle": "4 epochs"}, BASE, MAX) == {
        "half_cycle": "4 epochs",
        "base_lr": BASE,
        "max_lr": MAX,
    }


@pytest.mark.parametrize(
    ("name", "section", "message"),
    [
        ("one_cycle", {"final_lr": 0.1}, "one_cycle.base_lr must be a number"),
        ("one_cycle", {"base_lr": 0.0, "final_lr": 0.1}, "must be positive"),
        ("staged", {"stages": []}, "must be a list"),
        ("staged", {"stages": [{"first": "0 steps"}]}, "with a name"),
        ("warmup", {"first_lr": 0.1}, "with a name"),
    ],
)
def test_ratio_that_does_not_exist_is_refused(name, section, message):
    with pytest.raises(ValueError, match=message):
        apply_bounds(name, section, BASE, MAX)
