"""The plan of a run: schedule, lengths and hash, computed from its configuration.

Planning converts durations to updates, applies the budget and replaces given bounds by those of a
range test. The hash of a plan covers everything that changes the numbers of a run.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anneal.config.bounds import apply_bounds
from anneal.config.durations import Clock, scaled, to_steps
from anneal.config.scheduler import ScheduleBuilder, convert_duration
from anneal.config.schema import ExperimentConfig, FineTuningConfig
from anneal.config.snapshots import parse_snapshot_rule, snapshot_updates
from anneal.config.strict import configuration_hash, to_plain
from anneal.datasets.files import CLASSES, class_file_sizes, file_sizes, full_batches
from anneal.datasets.registry import find_dataset
from anneal.runs.optimizers import check_momentum_schedule, check_optimizer
from anneal.schedules import Schedule, cycle_ends


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of a named range test, with the rule and the reason."""

    name: str
    rule: str
    base_lr: float
    max_lr: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan of the runs of one experiment, for any seed.

    Args:
        schedule: of the learning rate, at this budget.
        momentum: schedule of the momentum; None keeps the optimizer's momentum.
        total_steps: updates of the run at this budget.
        full_total_steps: updates at the paper's budget.
        cycle_ends: updates after which a cycle of the schedule has ended.
        snapshots: updates after which the weights are saved.
        configuration_hash: of everything that changes numbers, 12 hexadecimal digits.
    """

    experiment: ExperimentConfig
    schedule: Schedule
    momentum: Schedule | None
    bounds: Bounds | None
    steps_per_epoch: int
    total_steps: int
    full_total_steps: int
    cycle_ends: tuple[int, ...]
    snapshots: tuple[int, ...]
    configuration_hash: str

    def describe(self) -> dict[str, Any]:
        """Return the plan as plain data, the content of experiment.yaml in a run directory."""
        return {
            "configuration_hash": self.configuration_hash,
            "steps_per_epoch": self.steps_per_epoch,
            "total_steps": self.total_steps,
            "full_total_steps": self.full_total_steps,
            "schedule": self.schedule.describe(),
            "momentum_schedule": self.momentum.describe() if self.momentum else None,
            "range_test": to_plain(self.bounds) if self.bounds else None,
            "snapshots": list(self.snapshots),
            "configuration": _without_places(self.experiment),
        }


def plan_run(
    experiment: ExperimentConfig,
    identity: Mapping[str, Any],
    *,
    bounds: Bounds | None,
    where: str,
) -> Plan:
    """Plan one experiment on a known data set.

    Args:
        experiment: validated.
        identity: of the images, from ``datasets.identify``.
        bounds: of the range test, if the experiment uses one.
        where: file of the experiment, for messages.

    Raises:
        ValueError: a schedule's arguments are wrong, or required bounds are missing; names the
            file, the key and the rule.
    """
    check_fine_tuning(experiment.fine_tuning, where=where)
    check_optimizer(experiment.optimizer)
    check_momentum_schedule(experiment.scheduler, experiment.optimizer)
    num_images = identity["splits"]["train"]["num_images"]
    if (experiment.dataset.first_images or 0) > num_images:
        raise ValueError(
            f"{where}: dataset.first_images must be at most the {num_images} training images, "
            f"got {experiment.dataset.first_images}"
        )
    training, fraction = experiment.training, experiment.budget_fraction
    per_class = identity["splits"]["train"].get("images_per_class")
    steps_per_epoch = steps_per_epoch_of(experiment, num_images, per_class)
    clock = Clock(
        steps_per_epoch=steps_per_epoch,
        images_per_step=training.batch_size * training.accumulation,
    )
    full_total_steps = convert_duration(
        str(training.length), clock, 1.0, f"{where}: training.length"
    )
    clock = Clock(
        steps_per_epoch=clock.steps_per_epoch,
        images_per_step=clock.images_per_step,
        total_steps=full_total_steps,
    )
    total_steps = scaled(full_total_steps, fraction)
    section = {"name": experiment.scheduler.name} | dict(experiment.scheduler.arguments)
    if experiment.bounds == "range_test":
        if bounds is None:
            raise ValueError(
                f"{where}: bounds: range_test needs the result of a range test, got none"
            )
        name = section.pop("name")
        section = {"name": name} | apply_bounds(
            name, section, base_lr=bounds.base_lr, max_lr=bounds.max_lr
        )
    elif bounds is not None:
        raise ValueError(f"{where}: bounds: given takes no range test, got {bounds.rule}")
    build = ScheduleBuilder(clock=clock, total_steps=total_steps, budget_fraction=fraction)
    schedule = build(section, where=where, key="scheduler")
    momentum = experiment.scheduler.momentum
    momentum_schedule = (
        None if momentum is None else build(momentum, where=where, key="scheduler.momentum")
    )
    ends = cycle_ends(schedule, total_steps)
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
        cycle_ends=ends,
        snapshots=snapshot_updates(
            parse_snapshot_rule(training.snapshots),
            ends=ends,
            total_steps=total_steps,
            to_steps=lambda distance: to_steps(distance, clock, budget_fraction=fraction),
        ),
        configuration_hash=configuration_hash(changes_numbers),
    )


def _without_places(experiment: ExperimentConfig) -> dict[str, Any]:
    """Return a configuration that identifies images and weights, not their places on disk."""
    configuration: dict[str, Any] = to_plain(experiment)
    configuration["dataset"]["folder"] = None
    return configuration | _fine_tuning(experiment)


def _fine_tuning(experiment: ExperimentConfig) -> dict[str, Any]:
    """Return the section ``fine_tuning`` with the identity of its weights; empty at its defaults.

    Raises:
        ValueError: there are no such weights.
    """
    section: dict[str, Any] = to_plain(experiment.fine_tuning)
    if "weights" in section:
        from anneal.models.pretrained import weights_identity  # imports torch

        section["weights"] = weights_identity(
            section["weights"],
            library=experiment.model.library,
            architecture=experiment.model.architecture,
        )
    return {"fine_tuning": section} if section else {}


def check_fine_tuning(config: FineTuningConfig, *, where: str) -> None:
    """Check that a frozen backbone has learnt something, and that its layers have no rates.

    Raises:
        ValueError: names the file, the key and the rule.
    """
    if config.freeze and config.weights is None:
        raise ValueError(
            f"{where}: fine_tuning.freeze needs fine_tuning.weights: a backbone frozen at random "
            "weights learns nothing"
        )
    if config.freeze and config.layer_decay != 1:
        raise ValueError(
            f"{where}: fine_tuning.layer_decay must be 1 with fine_tuning.freeze, which trains one "
            f"layer, got {config.layer_decay:g}"
        )


def check_plan(experiment: ExperimentConfig, *, where: str) -> Plan:
    """Check schedule and optimizer by planning an experiment before its data and bounds are known.

    Lengths in epochs use the published number of images of a set, or 50,000 if there is none.

    Raises:
        ValueError: names the file, the key and the rule.
    """
    size = find_dataset(experiment.dataset).size
    num_images = 50_000 if size is None else size.train
    return plan_run(
        dataclasses.replace(experiment, bounds="given"),
        {"splits": {"train": {"num_images": num_images}}},
        bounds=None,
        where=where,
    )


def steps_per_epoch_of(
    experiment: ExperimentConfig, num_images: int, images_per_class: Sequence[int] | None = None
) -> int:
    """Return the updates in one epoch of ``num_images`` training images.

    An epoch is one pass over them, or over the first ``dataset.first_images`` of them. With
    ``dataset.mirrored_copies`` each counts twice; with ``dataset.files`` a batch is of one file.

    Args:
        experiment: its dataset, batch size and accumulation.
        num_images: to train on.
        images_per_class: where files hold classes; None: as if all files were equal.

    Raises:
        ValueError: there is no full batch, and partial batches are dropped.
    """
    training, dataset = experiment.training, experiment.dataset
    num_images = min(num_images, dataset.first_images or num_images)
    copies = 2 if dataset.mirrored_copies else 1
    batches = num_images * copies / training.batch_size
    whole = int(batches) if dataset.drop_last else -int(-batches // 1)
    if dataset.files is not None:
        sizes = file_sizes(num_images, dataset.files)
        if dataset.files_hold == CLASSES and sum(images_per_class or ()) == num_images:
            sizes = class_file_sizes(images_per_class or (), dataset.files)
        whole = full_batches(sizes, copies=copies, batch_size=training.batch_size)
    if whole == 0:
        parts = "" if dataset.files is None else f" in {dataset.files} files"
        raise ValueError(
            f"training.batch_size must not exceed the {num_images * copies} training images{parts} "
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
    """Return the parts of a configuration that change numbers, without schedule and length.

    Names, titles, seeds, paths, tracking, snapshots and device settings are left out. Of
    ``hardware`` two keys stay: the configured precision (environment.json has the choice of
    ``auto``), and ``kernels`` unless it is ``none``, so that runs with and without them are never
    pooled.
    """
    plain = to_plain(experiment)
    sections = {name: dict(plain[name]) for name in ("dataset", "model", "optimizer", "training")}
    for name in ("name", "folder", "memory_gib"):
        sections["dataset"].pop(name)
    sections["model"].pop("name")
    for name in ("length", "snapshots"):
        sections["training"].pop(name)
    data = {key: value for key, value in identity.items() if key != "name"}
    hardware = {
        key: plain["hardware"][key] for key in ("precision", "kernels") if key in plain["hardware"]
    }
    return {**sections, **hardware, **_fine_tuning(experiment), "data": data}
