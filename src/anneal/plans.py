"""From a configuration to what will be done, in updates: schedule, lengths, hash (PURE).

Here durations become updates, the budget is applied, and bounds found by a range test take the
place of those given. What comes out says everything that changes a run's numbers, and is hashed.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anneal.bounds import apply_bounds
from anneal.config import (
    ExperimentConfig,
    OptimizerConfig,
    configuration_hash,
    did_you_mean,
    to_plain,
)
from anneal.datasets.sources import CIFAR10, CIFAR100, DIGITS
from anneal.durations import Clock, parse_duration, to_steps
from anneal.schedules import BUILDERS, Schedule

OPTIMIZERS: dict[str, tuple[str, ...]] = {  # each rule's own arguments
    "caffe_sgd": ("momentum",),
    "caffe_nesterov": ("momentum",),
    "caffe_adam": ("momentum", "momentum2", "delta"),
    "caffe_rmsprop": ("rms_decay", "delta"),
    "caffe_adagrad": ("delta",),
    "caffe_adadelta": ("momentum", "delta"),
    "sgd": ("momentum", "dampening", "nesterov"),
    "adam": ("betas", "eps", "amsgrad"),
    "adamw": ("betas", "eps", "amsgrad"),
}
NUM_TRAINING_IMAGES = {
    "digits": sum(DIGITS.images_per_class["train"]),
    **{s.name: s.images_per_class["train"] * len(s.class_names) for s in (CIFAR10, CIFAR100)},
}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a range test found: rule, rates, and its reason in words."""

    range_test: str
    rule: str
    base_lr: float
    max_lr: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run but for its seed.

    Args:
        schedule: of the learning rate, at this budget.
        momentum: of the momentum, or None where it stays what the optimizer says.
        total_steps: updates of the run at this budget.
        full_total_steps: updates at the paper's budget.
        configuration_hash: of everything that changes numbers: 12 hexadecimal digits.
    """

    experiment: ExperimentConfig
    schedule: Schedule
    momentum: Schedule | None
    bounds: Bounds | None
    steps_per_epoch: int
    total_steps: int
    full_total_steps: int
    configuration_hash: str

    def describe(self) -> dict[str, Any]:
        """Return the plan as plain data: what a run directory keeps as its experiment.yaml."""
        return {
            "configuration_hash": self.configuration_hash,
            "steps_per_epoch": self.steps_per_epoch,
            "total_steps": self.total_steps,
            "full_total_steps": self.full_total_steps,
            "schedule": self.schedule.describe(),
            "momentum_schedule": self.momentum.describe() if self.momentum else None,
            "range_test": to_plain(self.bounds) if self.bounds else None,
            "configuration": to_plain(self.experiment),
        }


def plan_run(
    experiment: ExperimentConfig,
    identity: Mapping[str, Any],
    *,
    bounds: Bounds | None,
    where: str,
) -> Plan:
    """Plan one experiment on a data set that is known.

    Args:
        experiment: validated.
        identity: what ``datasets.identify`` says of the images.
        bounds: what the range test found, when the experiment asks for it.
        where: file of the experiment, for messages.

    Raises:
        ValueError: a schedule's arguments are wrong, or bounds are asked for and missing; names the
            file, the key and the rule.
    """
    check_optimizer(experiment.optimizer)
    training, fraction = experiment.training, experiment.budget_fraction
    steps_per_epoch = steps_per_epoch_of(experiment, identity["splits"]["train"]["num_images"])
    clock = Clock(
        steps_per_epoch=steps_per_epoch,
        images_per_step=training.batch_size * training.accumulation,
    )
    full_total_steps = _converted(str(training.length), clock, 1.0, f"{where}: training.length")
    clock = Clock(
        steps_per_epoch=clock.steps_per_epoch,
        images_per_step=clock.images_per_step,
        total_steps=full_total_steps,
    )
    total_steps = max(1, round(full_total_steps * fraction))
    section = {"name": experiment.scheduler.name} | dict(experiment.scheduler.arguments)
    if experiment.bounds == "range_test":
        if bounds is None:
            raise ValueError(
                f"{where}: bounds: range_test needs the result of a range test, and there is none"
            )
        name = section.pop("name")
        section = {"name": name} | apply_bounds(
            name, section, base_lr=bounds.base_lr, max_lr=bounds.max_lr
        )
    elif bounds is not None:
        raise ValueError(f"{where}: bounds: given takes none of a range test, got {bounds.rule}")
    build = ScheduleBuilder(clock=clock, total_steps=total_steps, budget_fraction=fraction)
    schedule = build(section, where=where, key="scheduler")
    momentum = experiment.scheduler.momentum
    momentum_schedule = (
        None if momentum is None else build(momentum, where=where, key="scheduler.momentum")
    )
    changes_numbers = {
        **_numbers_of(experiment, identity),
        "schedule": schedule.describe(),
        "momentum_schedule": momentum_schedule.describe() if momentum_schedule else None,
        "total_steps": total_steps,
    }
    return Plan(
        experiment=experiment,
        schedule=schedule,
        momentum=momentum_schedule,
        bounds=bounds,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        full_total_steps=full_total_steps,
        configuration_hash=configuration_hash(changes_numbers),
    )


def check_optimizer(config: OptimizerConfig) -> None:
    """Check that the update rule exists and takes these arguments.

    Raises:
        ValueError: names the file, the key and the nearest right spelling.
    """
    where = f"conf/optimizer/{config.name}.yaml"
    if config.name not in OPTIMIZERS:
        raise ValueError(
            f"{where}: optimizer.name must be a rule, got '{config.name}'"
            f"{did_you_mean(config.name, OPTIMIZERS)}"
        )
    for name in config.arguments:
        if name not in (known := OPTIMIZERS[config.name]):
            raise ValueError(f"{where}: unknown key 'optimizer.{name}'{did_you_mean(name, known)}")


def check_plan(experiment: ExperimentConfig, *, where: str) -> Plan:
    """Plan an experiment before its data and bounds are known: checks schedule and optimizer.

    Lengths in epochs are judged with the counts of a published set, of any other with 50,000.

    Raises:
        ValueError: names the file, the key and the rule.
    """
    num_images = NUM_TRAINING_IMAGES.get(experiment.dataset.source, 50_000)
    return plan_run(
        dataclasses.replace(experiment, bounds="given"),
        {"splits": {"train": {"num_images": num_images}}},
        bounds=None,
        where=where,
    )


def steps_per_epoch_of(experiment: ExperimentConfig, num_images: int) -> int:
    """Return the updates in one pass over ``num_images`` training images.

    Raises:
        ValueError: not one full update, and partial batches are dropped.
    """
    training = experiment.training
    batches = num_images / training.batch_size
    whole = int(batches) if experiment.dataset.drop_last else -int(-batches // 1)
    if whole == 0:
        raise ValueError(
            f"training.batch_size must not exceed the {num_images} training images "
            f"when dataset.drop_last is true, got {training.batch_size}"
        )
    return max(1, whole // training.accumulation)


def range_test_hash(experiment: ExperimentConfig, identity: Mapping[str, Any]) -> str:
    """Return the hash of everything that changes the numbers of this experiment's range test."""
    numbers = _numbers_of(experiment, identity)
    for of_the_run in ("evaluations", "log_lines"):
        numbers["training"].pop(of_the_run)
    return configuration_hash({**numbers, "range_test": to_plain(experiment.range_test)})


def _numbers_of(experiment: ExperimentConfig, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a configuration that change numbers, schedule and length apart.

    Left out: names, titles, seeds, paths, tracking, the device and how it computes; of ``hardware``
    the precision that was asked for stays in (what ``auto`` picked is in environment.json).
    """
    plain = to_plain(experiment)
    sections = {name: dict(plain[name]) for name in ("dataset", "model", "optimizer", "training")}
    for name in ("name", "folder", "memory_gib"):
        sections["dataset"].pop(name)
    sections["model"].pop("name")
    sections["training"].pop("length")
    data = {key: value for key, value in identity.items() if key != "name"}
    return {**sections, "precision": plain["hardware"]["precision"], "data": data}


@dataclass(frozen=True, kw_only=True)
class ScheduleBuilder:
    """Builds schedules from YAML sections: ``name``, and the arguments of that function.

    An argument ``<x>_steps`` is written ``<x>`` and is a duration; ``total`` may be left out and is
    then the run's own length. The budget keeps a schedule's shape: lengths are scaled by the budget
    fraction f, Caffe's ``gamma`` becomes gamma^(1/f) (per update) or, for ``inverse``, gamma / f.
    """

    clock: Clock
    total_steps: int
    budget_fraction: float

    def __call__(self, section: Mapping[str, Any], *, where: str, key: str) -> Schedule:
        """Build the schedule of one section.

        Raises:
            ValueError: names the file, the key and the rule.
        """
        given = dict(section)
        name = str(given.pop("name", None))
        if name not in BUILDERS:
            raise ValueError(
                f"{where}: {key}.name must be a schedule, got {name!r}"
                f"{did_you_mean(name, BUILDERS)}"
            )
        parameters = inspect.signature(BUILDERS[name]).parameters
        written = {p.removesuffix("_steps"): p for p in parameters}
        for argument in given:
            if argument not in written:
                raise ValueError(
                    f"{where}: unknown key '{key}.{argument}'{did_you_mean(argument, written)}"
                )
        if "total_steps" in parameters and "total" not in given:
            given["total"] = None
        missing = [
            f"{key}.{short}"
            for short, full in written.items()
            if short not in given and parameters[full].default is inspect.Parameter.empty
        ]
        if missing:
            raise ValueError(f"{where}: missing key{'s' * (len(missing) > 1)} {', '.join(missing)}")
        arguments = {
            written[short]: self._argument(name, written[short], value, where, f"{key}.{short}")
            for short, value in given.items()
        }
        try:
            return BUILDERS[name](**arguments)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {key}: {error}") from None

    def _argument(self, name: str, argument: str, value: Any, where: str, key: str) -> Any:
        if argument == "total_steps" and value is None:
            return self.total_steps
        if argument.endswith("_steps"):
            return self._steps(value, f"{where}: {key}")
        if argument == "milestones":
            return [
                self._steps(v, f"{where}: {key}[{i}]")
                for i, v in enumerate(_list(value, f"{where}: {key}"))
            ]
        if argument == "schedule":
            return self(_mapping(value, f"{where}: {key}"), where=where, key=key)
        if argument == "stages":
            return [
                self._stage(_mapping(v, f"{where}: {key}[{i}]"), where, f"{key}[{i}]")
                for i, v in enumerate(_list(value, f"{where}: {key}"))
            ]
        if argument == "gamma" and isinstance(value, int | float) and not isinstance(value, bool):
            if name == "inverse":
                return value / self.budget_fraction
            return value ** (1 / self.budget_fraction) if value > 0 else value
        return value

    def _stage(self, stage: Mapping[str, Any], where: str, key: str) -> tuple[int, Schedule]:
        if set(stage) != {"first", "schedule"}:
            raise ValueError(
                f"{where}: {key} must have the keys first and schedule, got {', '.join(stage)}"
            )
        first = self._steps(stage["first"], f"{where}: {key}.first")
        section = _mapping(stage["schedule"], f"{where}: {key}.schedule")
        return first, self(section, where=where, key=f"{key}.schedule")

    def _steps(self, value: Any, place: str) -> int:
        return _converted(value, self.clock, self.budget_fraction, place)


def _converted(value: Any, clock: Clock, budget_fraction: float, place: str) -> int:
    try:
        return to_steps(parse_duration(value), clock, budget_fraction=budget_fraction)
    except ValueError as error:
        raise ValueError(f"{place} {error}") from None


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{place} must be a list, got {value!r}")
    return value


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{place} must be a mapping, got {value!r}")
    return value
