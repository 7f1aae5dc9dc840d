"""From a configuration to what is done: lengths, schedules at a budget, the hash."""

import copy
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from anneal.config.durations import Clock
from anneal.config.scheduler import ScheduleBuilder
from anneal.config.schema import ExperimentConfig, OptimizerConfig
from anneal.config.strict import parse, to_plain
from anneal.runs.optimizers import OPTIMIZERS, check_optimizer, has_momentum
from anneal.runs.plan import (
    Bounds,
    Plan,
    check_plan,
    plan_run,
    range_test_hash,
    steps_per_epoch_of,
)
from anneal.schedules import SCHEDULES, Schedule

WHERE = "conf/x.yaml"
REPOSITORY = Path(__file__).resolve().parents[2]
SCHEDULERS = sorted((REPOSITORY / "conf" / "scheduler").glob("*.yaml"))
IDENTITY = {"name": "digits", "splits": {"train": {"num_images": 1500}}, "sha256": "abc"}
FOUND = Bounds(name="digits", rule="smith", base_lr=0.0005, max_lr=0.004, reason="it rises")


def set_at(plain: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    *above, last = path.split(".")
    node = plain
    for part in above:
        node = node[part]
    node[last] = value
    return plain


def planned(plain: dict[str, Any], bounds: Bounds | None = None) -> Plan:
    experiment = parse(ExperimentConfig, plain, where=WHERE)
    return plan_run(experiment, IDENTITY, bounds=bounds, where=WHERE)


def built(section: dict[str, Any], *, total: int = 100_000, fraction: float = 1.0) -> Schedule:
    """Build a schedule of a run of ``total`` updates, 500 an epoch of 50,000 images."""
    build = ScheduleBuilder(
        clock=Clock(steps_per_epoch=500, images_per_step=100, total_steps=total),
        total_steps=max(1, round(total * fraction)),
        budget_fraction=fraction,
    )
    return build(section, where=WHERE, key="scheduler")


def scheduler_section(path: Path) -> dict[str, Any]:
    section = yaml.safe_load(path.read_text())
    section.pop("momentum")
    return dict(section)


# --- the budget -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "fraction", "arguments"),
    [
        (
            {"name": "triangular2", "base_lr": 0.1, "max_lr": 0.2, "half_cycle": "2000 steps"},
            0.01,
            {"base_lr": 0.1, "max_lr": 0.2, "half_cycle_steps": 20},
        ),
        (
            {"name": "exponential", "initial_lr": 1.0, "gamma": 0.25},
            0.5,
            {"initial_lr": 1.0, "gamma": 0.0625},  # gamma^(1/f)
        ),
        (
            {"name": "inverse", "initial_lr": 1.0, "gamma": 0.01, "power": 0.75},
            0.1,
            {"initial_lr": 1.0, "gamma": 0.1, "power": 0.75},  # gamma / f
        ),
        (
            {
                "name": "step_decay",
                "initial_lr": 1.0,
                "milestones": ["60 epochs", "0.5 run"],
                "factor": 0.1,
            },
            0.1,
            {"initial_lr": 1.0, "milestones": (3000, 5000), "factor": 0.1},  # a factor is no rate
        ),
        (
            {
                "name": "cosine_restarts",
                "min_lr": 0.0,
                "max_lr": 1.0,
                "first_cycle": "10 epochs",
                "growth": 2,
                "max_lr_factor": 0.5,
            },
            0.1,
            {
                "min_lr": 0.0,
                "max_lr": 1.0,
                "first_cycle_steps": 500,
                "growth": 2,
                "max_lr_factor": 0.5,
            },
        ),
        (
            {"name": "cosine", "min_lr": 0.0, "max_lr": 1.0},
            0.1,
            {"min_lr": 0.0, "max_lr": 1.0, "total_steps": 10_000},
        ),
        (
            {"name": "cosine", "min_lr": 0.0, "max_lr": 1.0, "total": "0.9 run"},
            0.1,
            {"min_lr": 0.0, "max_lr": 1.0, "total_steps": 9_000},
        ),
        (
            {
                "name": "warmup_stable_decay",
                "max_lr": 1.0,
                "final_lr": 0.0,
                "warmup": "10000 steps",
                "stable": "1000000 images",
                "decay": "30 epochs",
            },
            0.01,
            {
                "max_lr": 1.0,
                "final_lr": 0.0,
                "warmup_steps": 100,
                "stable_steps": 100,
                "decay_steps": 150,
            },
        ),
    ],
)
def test_budget_scales_lengths_and_rates_of_decay_and_nothing_else(
    section: dict[str, Any], fraction: float, arguments: dict[str, Any]
) -> None:
    made = dict(built(section, fraction=fraction).arguments)
    milestones = made.pop("milestones", None)
    assert milestones == arguments.pop("milestones", None)
    assert made == pytest.approx(arguments, rel=1e-15)  # 0.01 / 0.1 is no float
    assert [type(v) for v in made.values()] == [type(v) for v in arguments.values()]


def test_budget_reaches_the_starts_of_stages_and_the_schedules_inside() -> None:
    inner = {"name": "exponential", "initial_lr": 1.0, "gamma": 0.25}
    leads_to = {"name": "hann", "base_lr": 0.5, "max_lr": 1.0, "half_cycle": "100 steps"}
    staged = built(
        {
            "name": "staged",
            "stages": [
                {"first": "0 steps", "schedule": inner},
                {
                    "first": "64 epochs",
                    "schedule": {
                        "name": "warmup",
                        "first_lr": 0.1,
                        "warmup": "10 steps",
                        "schedule": leads_to,
                    },
                },
            ],
        },
        fraction=0.5,
    )
    by_hand = SCHEDULES["staged"].build(
        stages=[
            (0, SCHEDULES["exponential"].build(initial_lr=1.0, gamma=0.0625)),
            (
                16_000,
                SCHEDULES["warmup"].build(
                    first_lr=0.1,
                    warmup_steps=5,
                    schedule=SCHEDULES["hann"].build(base_lr=0.5, max_lr=1.0, half_cycle_steps=50),
                ),
            ),
        ]
    )
    assert staged == by_hand


FRACTION = 0.1
FULL_STEPS = 100_000  # every length in conf/scheduler is then whole, at both budgets

# With a value fixed at the last index, total_steps - 1, the shape is kept but for one update: the
# differences here, measured, in parts of the highest rate.
ONE_UPDATE = {
    "linear_ramp": 1e-4,
    "exponential_ramp": 9e-4,
    "one_cycle": 1e-4,
    "one_cycle_momentum": 1e-4,
    "warmup_stable_decay": 3.1e-4,
}
ROUNDING = 1e-12  # measured: 4e-13, near the foot of a cosine


def assert_same_shape(section: dict[str, Any]) -> None:
    full = built(section, total=FULL_STEPS)
    scaled = built(section, total=FULL_STEPS, fraction=FRACTION)
    highest = max(full(update) for update in range(0, FULL_STEPS, 10))
    for update in range(0, round(FULL_STEPS * FRACTION), 3):
        wanted = full(round(update / FRACTION))
        tolerance = ONE_UPDATE.get(section["name"], 0.0) * highest
        assert abs(scaled(update) - wanted) <= max(tolerance, ROUNDING * wanted)


@pytest.mark.parametrize("path", SCHEDULERS, ids=lambda path: path.stem)
def test_smaller_budget_keeps_the_shape_of_every_schedule(path: Path) -> None:
    assert_same_shape(scheduler_section(path))


def test_smaller_budget_keeps_the_shape_of_the_momentum() -> None:
    momentum = yaml.safe_load((REPOSITORY / "conf/scheduler/one_cycle.yaml").read_text())[
        "momentum"
    ]
    assert_same_shape(momentum)


def test_smaller_budget_keeps_the_shape_of_the_ports_exp_range() -> None:
    section = scheduler_section(REPOSITORY / "conf/scheduler/exp_range.yaml")
    assert_same_shape(section | {"decays": "amplitude"})


@given(gamma=st.floats(0.9, 1.0), fraction=st.sampled_from([0.5, 0.1, 0.01]))
def test_exponential_falls_as_far_in_a_smaller_budget(gamma: float, fraction: float) -> None:
    section = {"name": "exponential", "initial_lr": 1.0, "gamma": gamma}
    at_the_end = built(section, total=2000, fraction=fraction)(round(2000 * fraction))
    assert at_the_end == pytest.approx(gamma**2000, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(
    ("length", "fraction", "full", "total"),
    [
        ("300 steps", 1.0, 300, 300),
        ("300 steps", 0.1, 300, 30),
        ("20 epochs", 1.0, 300, 300),  # 1,500 images in batches of 100
        ("30000 images", 0.5, 300, 150),
        ("3 steps", 0.01, 3, 1),  # a run is never empty
    ],
)
def test_length_of_a_run_at_full_and_at_this_budget(
    plain: dict[str, Any], length: str, fraction: float, full: int, total: int
) -> None:
    plain["scheduler"] = {"name": "constant", "momentum": None, "lr": 0.1}
    plan = planned(set_at(set_at(plain, "training.length", length), "budget_fraction", fraction))
    assert (plan.full_total_steps, plan.total_steps) == (full, total)


def test_parts_of_a_run_are_parts_of_its_full_length(plain: dict[str, Any]) -> None:
    """Scaled twice, an eighth of a run at a tenth of the budget would be an eightieth."""
    plan = planned(set_at(plain, "budget_fraction", 0.1) | {})
    assert plan.schedule.arguments["half_cycle_steps"] == 3  # of 3.75


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "drop_last", "steps"),
    [
        (100, 1, False, 15),
        (1000, 1, False, 2),
        (1000, 1, True, 1),
        (100, 4, False, 3),
        (1500, 1, True, 1),
        (2000, 1, False, 1),
        (100, 50, False, 1),
    ],
)
def test_updates_in_one_pass_over_the_images(
    plain: dict[str, Any], batch_size: int, accumulation: int, drop_last: bool, steps: int
) -> None:
    plain["training"] |= {"batch_size": batch_size, "accumulation": accumulation}
    plain["dataset"]["drop_last"] = drop_last
    experiment = parse(ExperimentConfig, plain, where=WHERE)
    assert steps_per_epoch_of(experiment, 1500) == steps


@pytest.mark.parametrize(
    ("first_images", "mirrored_copies", "steps"),
    [(700, False, 7), (None, True, 30), (700, True, 14)],
)
def test_epoch_counts_the_first_images_and_their_copies(
    plain: dict[str, Any], first_images: int | None, mirrored_copies: bool, steps: int
) -> None:
    plain["dataset"] |= {"first_images": first_images, "mirrored_copies": mirrored_copies}
    assert planned(plain).steps_per_epoch == steps


def test_more_first_images_than_there_are_is_refused(plain: dict[str, Any]) -> None:
    plain["dataset"]["first_images"] = 1501
    said = r"dataset\.first_images must be at most the 1500 training images, got 1501"
    with pytest.raises(ValueError, match=said):
        planned(plain)


def test_epoch_without_one_full_batch_is_refused(plain: dict[str, Any]) -> None:
    plain["training"]["batch_size"], plain["dataset"]["drop_last"] = 1501, True
    with pytest.raises(ValueError, match="batch_size must not exceed the 1500 training images"):
        planned(plain)


# --- what a schedule's section may say ------------------------------------------------------------

TRIANGULAR = {"name": "triangular", "base_lr": 0.1, "max_lr": 0.2, "half_cycle": "10 steps"}
REFUSALS = [
    ({"name": "triangluar"}, "scheduler.name must be a schedule, got 'triangluar'; did you mean "
     "'triangular'"),
    ({}, "scheduler.name must be a schedule, got 'None'"),
    (TRIANGULAR | {"max_rl": 1}, "unknown key 'scheduler.max_rl'; did you mean 'max_lr'?"),
    (TRIANGULAR | {"half_cycle_steps": 3}, "unknown key 'scheduler.half_cycle_steps'; did you mean "
     "'half_cycle'?"),
    ({"name": "triangular", "max_lr": 0.2}, "missing keys scheduler.base_lr, scheduler.half_cycle"),
    ({"name": "constant"}, "missing key scheduler.lr"),
    (TRIANGULAR | {"base_lr": -0.1}, "scheduler: base_lr must"),
    (TRIANGULAR | {"base_lr": "0.1"}, "scheduler: base_lr must"),
    (TRIANGULAR | {"base_lr": True}, "scheduler: base_lr must"),
    (TRIANGULAR | {"base_lr": 0.3}, "scheduler: max_lr must be at least base_lr = 0.3"),
    (TRIANGULAR | {"half_cycle": 10}, "scheduler.half_cycle must be a duration"),
    (TRIANGULAR | {"half_cycle": "0 steps"}, "scheduler: half_cycle_steps must be positive"),
    ({"name": "exponential", "initial_lr": 1.0, "gamma": 0.0}, "scheduler: gamma must"),
    ({"name": "exponential", "initial_lr": 1.0, "gamma": "x"}, "scheduler: gamma must"),
    ({"name": "exponential", "initial_lr": 1.0, "gamma": True}, "scheduler: gamma must"),
    ({"name": "inverse", "initial_lr": 1.0, "gamma": -1.0, "power": 1.0}, "scheduler: gamma must"),
    ({"name": "step_decay", "initial_lr": 1.0, "factor": 0.1, "milestones": "5 steps"},
     "scheduler.milestones must be a list, got '5 steps'"),
    ({"name": "step_decay", "initial_lr": 1.0, "factor": 0.1, "milestones": ["5 steps", 7]},
     "scheduler.milestones[1] must be a duration"),
    ({"name": "step_decay", "initial_lr": 1.0, "factor": 0.1, "milestones": ["7 steps", "5 steps"]},
     "scheduler: milestones must be strictly increasing"),
    ({"name": "warmup", "first_lr": 0.0, "warmup": "5 steps", "schedule": "cosine"},
     "scheduler.schedule must be a mapping, got 'cosine'"),
    ({"name": "warmup", "first_lr": 0.0, "warmup": "5 steps", "schedule": {"name": "cosin"}},
     "scheduler.schedule.name must be a schedule, got 'cosin'; did you mean 'cosine'"),
    ({"name": "staged", "stages": {"first": "0 steps"}}, "scheduler.stages must be a list"),
    ({"name": "staged", "stages": ["0 steps"]}, "scheduler.stages[0] must be a mapping"),
    ({"name": "staged", "stages": [{"first": "0 steps"}]},
     "scheduler.stages[0] must have the keys first and schedule, got first"),
    ({"name": "staged", "stages": [{"first": 0, "schedule": TRIANGULAR}]},
     "scheduler.stages[0].first must be a duration"),
    ({"name": "staged", "stages": [{"first": "0 steps", "schedule": TRIANGULAR | {"x": 1}}]},
     "unknown key 'scheduler.stages[0].schedule.x'"),
    ({"name": "staged", "stages": []}, "scheduler: stages must"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "said"), REFUSALS)
def test_wrong_section_is_refused_with_its_place(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"^{WHERE}:? ") as refused:
        built(section, fraction=0.5)
    message = str(refused.value)
    assert said in message
    assert "\n" not in message


def test_section_is_left_as_it_was() -> None:
    section = scheduler_section(REPOSITORY / "conf/scheduler/staged.yaml")
    before = copy.deepcopy(section)
    built(section, fraction=0.5)
    assert section == before


# --- the optimizers -------------------------------------------------------------------------------

OF_THE_IMPLEMENTATION = {
    "self",
    "params",
    "lr",
    "weight_decay",
    "foreach",
    "fused",
    "maximize",
    "capturable",
    "differentiable",
    "decoupled_weight_decay",  # that is what adamw is
}


def test_each_rule_takes_the_arguments_of_its_real_class() -> None:
    for name, entry in OPTIMIZERS.items():
        taken = set(inspect.signature(entry.constructor()).parameters)
        assert entry.fused == ("fused" in taken), name
        taken -= OF_THE_IMPLEMENTATION
        if name in ("caffe_rmsprop", "caffe_adagrad"):
            taken.remove("momentum")  # there to be refused, as Caffe does
        assert {field.name for field in dataclasses.fields(entry.arguments)} == taken, name


SGD = {"momentum": 0.9, "dampening": 0.0, "nesterov": True}
ADAM = {"betas": [0.9, 0.999], "eps": 1e-8, "amsgrad": False}


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("sdg", {}, "optimizer.name must be an optimizer, got 'sdg'; did you mean 'sgd'"),
        ("sgd", SGD | {"momentun": 0.9}, "unknown key 'optimizer.momentun'; did you mean"),
        ("adam", ADAM | {"momentum": 0.9}, "unknown key 'optimizer.momentum'"),
        ("sgd", SGD | {"lr": 0.1}, "unknown key 'optimizer.lr'"),
        ("sgd", SGD | {"fused": True}, "unknown key 'optimizer.fused'"),
        ("sgd", {"momentum": 0.9}, "missing keys optimizer.dampening, optimizer.nesterov"),
        ("caffe_adam", {"momentum": 0.9, "delta": 1e-8}, "missing key optimizer.momentum2"),
        ("caffe_sgd", {"momentum": 1.0}, "optimizer.momentum must be in [0, 1), got 1.0"),
        ("caffe_nesterov", {"momentum": -0.1}, "optimizer.momentum must be in [0, 1), got -0.1"),
        ("caffe_sgd", {"momentum": "0.9"}, "optimizer.momentum must be a finite number"),
        ("sgd", SGD | {"nesterov": 1}, "optimizer.nesterov must be true or false, got 1"),
        ("sgd", SGD | {"dampening": 1.5}, "optimizer.dampening must be in [0, 1], got 1.5"),
        ("sgd", SGD | {"dampening": 0.5}, "optimizer.nesterov needs a dampening of 0, got 0.5"),
        ("sgd", SGD | {"momentum": 0}, "optimizer.nesterov needs a momentum above 0, got 0"),
        ("adam", ADAM | {"betas": 0.9}, "optimizer.betas must be a list, got 0.9"),
        ("adam", ADAM | {"betas": [0.9]}, "optimizer.betas must be two numbers in [0, 1), got"),
        ("adamw", ADAM | {"betas": [0.9, 1.0]}, "optimizer.betas must be two numbers in [0, 1)"),
        ("adamw", ADAM | {"betas": [0.9, "x"]}, "optimizer.betas[1] must be a finite number"),
        ("adamw", ADAM | {"eps": 0}, "optimizer.eps must be positive, got 0"),
        ("adam", ADAM | {"eps": "1e-8"}, "optimizer.eps must be a finite number, got '1e-8'"),
        ("adam", ADAM | {"amsgrad": None}, "optimizer.amsgrad must be true or false, got None"),
        ("caffe_adagrad", {"delta": 0.0}, "optimizer.delta must be positive, got 0.0"),
        ("caffe_rmsprop", {"rms_decay": 1.0, "delta": 1e-8}, "optimizer.rms_decay must be in"),
        ("caffe_adadelta", {"momentum": 2.0, "delta": 1e-8}, "optimizer.momentum must be in"),
    ],
)
def test_optimizers_section_is_checked_before_torch_is_there(
    name: str, arguments: dict[str, Any], said: str
) -> None:
    config = OptimizerConfig(name=name, weight_decay=0.0, arguments=arguments)
    with pytest.raises(ValueError, match=rf"^conf/optimizer/{name}.yaml: ") as refused:
        check_optimizer(config)
    assert said in str(refused.value)


def test_optimizer_out_of_range_stops_the_plan(plain: dict[str, Any]) -> None:
    plain["optimizer"]["momentum"] = 1.0
    with pytest.raises(ValueError, match=r"^conf/optimizer/caffe_sgd\.yaml: optimizer\.momentum"):
        planned(plain)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_schedule_of_the_momentum_needs_a_rule_that_has_one(
    plain: dict[str, Any], name: str
) -> None:
    """AdaDelta's momentum is the memory of its averages, and not driven."""
    read = yaml.safe_load((REPOSITORY / f"conf/optimizer/{name}.yaml").read_text())
    one_cycle = yaml.safe_load((REPOSITORY / "conf/scheduler/one_cycle.yaml").read_text())
    plain |= {"optimizer": read, "scheduler": one_cycle}
    if name in ("caffe_rmsprop", "caffe_adagrad", "caffe_adadelta"):
        assert not has_momentum(name)
        with pytest.raises(ValueError, match=r"^conf/scheduler/one_cycle\.yaml: ") as refused:
            planned(plain)
        assert "scheduler.momentum must be null" in str(refused.value)
        assert name in str(refused.value)
    else:
        assert has_momentum(name)
        assert planned(plain).momentum is not None
    one_cycle["momentum"] = None
    assert planned(plain).momentum is None


def test_no_rule_has_a_momentum_that_is_not_in_its_groups() -> None:
    import torch

    for name in filter(has_momentum, OPTIMIZERS):
        read = yaml.safe_load((REPOSITORY / f"conf/optimizer/{name}.yaml").read_text())
        arguments = {k: v for k, v in read.items() if k not in ("name", "weight_decay")}
        weight = torch.nn.Parameter(torch.zeros(1))
        (group,) = OPTIMIZERS[name].constructor()([weight], lr=1.0, **arguments).param_groups
        assert OPTIMIZERS[name].momentum in group, name
        assert list(group.get("betas", ())) == arguments.pop("betas", [])
        assert {key: group[key] for key in arguments} == arguments


# --- the hash -------------------------------------------------------------------------------------

# Every key of a configuration, and whether a run's numbers depend on it. Each is given a value that
# it does not have.
CHANGES_NUMBERS = {
    "dataset.source": "cifar10",
    "dataset.dataset_class": "KMNIST",
    "dataset.image_size": 32,
    "dataset.test_fraction": 0.3,
    "dataset.split_seed": 1,
    "dataset.scale": 1.0,
    "dataset.subtract": "channel_mean",
    "dataset.divide": "channel_std",
    "dataset.crop_padding": 4,
    "dataset.crop_fill": "reflect",
    "dataset.mirror": True,
    "dataset.order": "stored",
    "dataset.drop_last": True,
    "dataset.first_images": 700,
    "dataset.mirrored_copies": True,
    "model.library": "torchvision",
    "model.architecture": "resnet18",
    "model.arguments": {"width": 2},
    "model.small_images": True,
    "optimizer.name": "caffe_nesterov",
    "optimizer.weight_decay": 0.001,
    "optimizer.momentum": 0.8,
    "scheduler.name": "triangular",
    "scheduler.base_lr": 0.002,
    "scheduler.max_lr": 0.007,
    "scheduler.half_cycle": "20 steps",
    "scheduler.momentum": {"name": "constant", "lr": 0.5},
    "training.batch_size": 50,
    "training.accumulation": 2,
    "training.length": "301 steps",
    "training.evaluations": 5,  # the record of a run, and its best point
    "training.log_lines": 30,
    "training.label_smoothing": 0.1,
    "hardware.precision": "bf16",
    "hardware.kernels": "cpu",
    "budget_fraction": 0.5,
    "fine_tuning.weights": __file__,  # of any file: its content
    "fine_tuning.layer_decay": 0.5,
}
NEEDS_ANOTHER = {"fine_tuning.freeze"}  # needs weights; tests/advise/test_fine_tuning.py
CHANGES_NO_NUMBERS = {
    "name": "other/name",
    "title": "Another title",
    "paper": "1506.01186v6, Table 9",
    "dataset.name": "other",
    "dataset.folder": "photos",  # its images are: the identity of the data
    "dataset.memory_gib": 1.0,
    "model.name": "other",
    "training.snapshots": "cycle_ends",
    "bounds": "given",  # what a range test found is in the schedule
    "range_test.name": "other",
    "range_test.sweep": "exponential",
    "range_test.first_lr": 0.001,
    "range_test.last_lr": 0.5,
    "range_test.length": "9 epochs",
    "range_test.points": 10,
    "range_test.held_out_fraction": 0.2,
    "range_test.seeds": [7],
    "range_test.rule": "valley",
    "hardware.name": "other",
    "hardware.device": "cuda",
    "hardware.memory_format": "channels_last",
    "hardware.compile": "on",
    "hardware.threads": 3,
    "hardware.processes": 2,
    "hardware.patience": "2 minutes",
    "hardware.parts": "together",
    "hardware.inputs": "gathered",
    "hardware.capture": "graph",
    "hardware.abreast": None,
    "tracking.name": "other",
    "tracking.mode": "online",
    "tracking.project": "other",
    "tracking.entity": "other",
}


def keys_of(plain: dict[str, Any]) -> Iterator[str]:
    for name, value in plain.items():
        if isinstance(value, dict) and name != "arguments":
            yield from (f"{name}.{key}" for key in keys_of(value))
        else:
            yield name


def test_every_key_of_a_configuration_is_known_to_change_numbers_or_not(
    plain: dict[str, Any],
) -> None:
    keys = {*keys_of(plain)}
    assert keys == {*CHANGES_NUMBERS, *NEEDS_ANOTHER, *CHANGES_NO_NUMBERS}


@pytest.mark.parametrize("path", CHANGES_NUMBERS)
def test_hash_changes_with_every_key_that_changes_numbers(plain: dict[str, Any], path: str) -> None:
    before = planned(copy.deepcopy(plain)).configuration_hash
    assert planned(set_at(plain, path, CHANGES_NUMBERS[path])).configuration_hash != before


@pytest.mark.parametrize("path", CHANGES_NO_NUMBERS)
def test_hash_stays_with_every_key_that_does_not(plain: dict[str, Any], path: str) -> None:
    before = planned(copy.deepcopy(plain)).configuration_hash
    assert planned(set_at(plain, path, CHANGES_NO_NUMBERS[path])).configuration_hash == before


def test_hash_is_of_the_plan_and_not_of_how_it_is_written(plain: dict[str, Any]) -> None:
    """300 updates are 20 epochs of 15, and 0.125 of them 37.5."""
    before = planned(copy.deepcopy(plain)).configuration_hash
    plain["training"]["length"] = "20 epochs"
    plain["scheduler"]["half_cycle"] = "37 steps"
    assert planned(plain).configuration_hash == before


def test_no_seed_is_part_of_a_plan(plain: dict[str, Any]) -> None:
    assert "seed" not in plain
    described = planned(plain).describe()
    assert "seed" not in described
    assert "seed" not in described["configuration"]


def test_hash_is_of_the_images_and_not_of_their_name(experiment: ExperimentConfig) -> None:
    def digest(identity: dict[str, Any]) -> str:
        return plan_run(experiment, identity, bounds=None, where=WHERE).configuration_hash

    assert digest(IDENTITY | {"name": "other"}) == digest(IDENTITY)
    assert digest(IDENTITY | {"sha256": "abd"}) != digest(IDENTITY)


# --- snapshots ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "fraction", "updates"),
    [
        ("none", 1.0, ()),
        ("cycle_ends", 1.0, (60, 120, 180, 240, 300)),
        ("cycle_ends", 0.3, (18, 36, 54, 72, 90)),
        ("last 2", 1.0, (240, 300)),
        ("last 2", 0.3, (72, 90)),
        ("every 0.3 run", 1.0, (90, 180, 270)),
        ("every 0.2 run", 0.1, (6, 12, 18, 24, 30)),
        ("every 10 epochs", 1.0, (150, 300)),
        ("every 100 steps", 0.1, (10, 20, 30)),
    ],
)
def test_plan_says_after_which_updates_weights_are_kept(
    plain: dict[str, Any], keep: str, fraction: float, updates: tuple[int, ...]
) -> None:
    plain["scheduler"]["half_cycle"] = "30 steps"
    plain["budget_fraction"] = fraction
    plan = planned(set_at(plain, "training.snapshots", keep))
    assert plan.snapshots == updates
    assert plan.describe()["snapshots"] == list(updates)


# --- bounds from a range test ---------------------------------------------------------------------


def test_bounds_that_were_found_take_the_place_of_those_given(plain: dict[str, Any]) -> None:
    given_ones = planned(copy.deepcopy(plain))
    found = planned(set_at(plain, "bounds", "range_test"), FOUND)
    assert found.schedule.arguments["base_lr"] == FOUND.base_lr
    assert found.schedule.arguments["max_lr"] == FOUND.max_lr
    assert (
        found.schedule.arguments["half_cycle_steps"]
        == (given_ones.schedule.arguments["half_cycle_steps"])
    )
    assert found.bounds == FOUND
    assert found.describe()["range_test"]["reason"] == "it rises"


def test_hash_changes_with_found_bounds_not_with_their_reason(
    plain: dict[str, Any],
) -> None:
    plain["bounds"] = "range_test"

    def digest(**changed: Any) -> str:
        return planned(
            copy.deepcopy(plain), dataclasses.replace(FOUND, **changed)
        ).configuration_hash

    assert digest(base_lr=0.0006) != digest()
    assert digest(max_lr=0.005) != digest()
    assert digest(reason="other words", rule="valley", name="x") == digest()


def test_hash_of_bounds_found_is_that_of_the_same_bounds_given(plain: dict[str, Any]) -> None:
    given_ones = copy.deepcopy(plain)
    given_ones["scheduler"] |= {"base_lr": FOUND.base_lr, "max_lr": FOUND.max_lr}
    found = planned(set_at(plain, "bounds", "range_test"), FOUND)
    assert found.configuration_hash == planned(given_ones).configuration_hash


def test_missing_and_unrequested_bounds_are_refused(
    plain: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="bounds: given takes no range test, got smith"):
        planned(copy.deepcopy(plain), FOUND)
    with pytest.raises(ValueError, match=rf"^{WHERE}: bounds: range_test needs the result"):
        planned(set_at(plain, "bounds", "range_test"))


# --- the hash of a range test ---------------------------------------------------------------------

OF_THE_SWEEP = {
    "range_test.sweep": "exponential",
    "range_test.first_lr": 0.001,
    "range_test.last_lr": 0.5,
    "range_test.length": "9 epochs",
    "range_test.points": 10,
    "range_test.held_out_fraction": 0.2,
    "range_test.seeds": [7],
    "range_test.rule": "valley",
    "training.batch_size": 50,
    "dataset.image_size": 32,
    "model.architecture": "resnet18",
    "optimizer.momentum": 0.8,
    "hardware.precision": "bf16",
    "hardware.kernels": "cpu",
}
NOT_OF_THE_SWEEP = {
    "scheduler.name": "triangular",
    "scheduler.base_lr": 0.002,
    "training.length": "301 steps",
    "training.evaluations": 5,
    "training.log_lines": 30,
    "training.snapshots": "last 2",
    "budget_fraction": 0.5,
    "bounds": "range_test",
    "title": "Another title",
    "hardware.device": "cuda",
    "tracking.mode": "online",
}


@pytest.mark.parametrize("path", [*OF_THE_SWEEP, *NOT_OF_THE_SWEEP])
def test_hash_of_a_range_test_is_of_the_sweep_and_not_of_the_run(
    plain: dict[str, Any], path: str
) -> None:
    def digest(plain: dict[str, Any]) -> str:
        return range_test_hash(parse(ExperimentConfig, plain, where=WHERE), IDENTITY)

    before = digest(copy.deepcopy(plain))
    changed = digest(set_at(plain, path, (OF_THE_SWEEP | NOT_OF_THE_SWEEP)[path]))
    assert (changed == before) == (path in NOT_OF_THE_SWEEP)


# --- planning before the data are there -----------------------------------------------------------


def test_plan_can_be_checked_before_its_data_and_bounds_are_there(
    plain: dict[str, Any],
) -> None:
    plain["bounds"] = "range_test"
    plain["dataset"]["source"] = "cifar100"
    plan = check_plan(parse(ExperimentConfig, plain, where=WHERE), where=WHERE)
    assert plan.steps_per_epoch == 500
    wrong = parse(ExperimentConfig, set_at(plain, "scheduler.base_lr", 1.0), where=WHERE)
    with pytest.raises(ValueError, match="scheduler: max_lr must be at least"):
        check_plan(wrong, where=WHERE)


def test_what_a_plan_describes_is_plain_and_says_it_all(plain: dict[str, Any]) -> None:
    plan = planned(plain)
    described = plan.describe()
    assert yaml.safe_load(yaml.safe_dump(described)) == described
    assert described["configuration"] == to_plain(plan.experiment)
    assert described["configuration_hash"] == plan.configuration_hash
    assert described["schedule"]["name"] == "triangular2"
