"""Run a range test from its configuration: curves, suggestion, figure."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor

from anneal.config.durations import Clock, to_steps
from anneal.config.schema import ExperimentConfig
from anneal.config.strict import to_plain
from anneal.datasets.batches import hold_out
from anneal.io.csv_files import csv_text
from anneal.io.files import write_json, write_whole
from anneal.io.terminal import say
from anneal.range_test import Agreement, RangeTestCurve, RangeTestPoint, agreement, suggest
from anneal.range_test.figure import draw_range_test
from anneal.range_test.record import describe_reading
from anneal.range_test.sweep import run_range_test
from anneal.runs.code_digest import code_digest
from anneal.runs.layout import CURVE, SUGGESTION
from anneal.runs.plan import range_test_hash, steps_per_epoch_of
from anneal.runs.progress import Meter, metered
from anneal.runs.setup import ExperimentSetup
from anneal.runs.tracking import Tracker, open_tracker
from anneal.schedules import Schedule, exponential_ramp, linear_ramp

# The code of a range test, besides the code of training.
READING = ("config/bounds.py", "range_test", "runs/range_test.py")
SPLIT_SEED = 0  # of the held-out images: the same for all seeds, so that curves are comparable
PICTURE = "range_test.svg"
SWEEP_COLUMNS = ("seed", "update", "lr", "accuracy_pct", "held_out_loss", "train_loss")


def find_bounds(experiment: ExperimentConfig, setup: ExperimentSetup, *, folder: Path) -> Path:
    """Return the suggestion file of an experiment's range test; run the test if it is missing.

    Args:
        experiment: its dataset, model, optimizer, batch size and range_test define the test.
        setup: its data and settings.
        folder: has one folder for each range test, named by the hash of its configuration and the
            digest of the code.
    """
    digest = range_test_hash(experiment, setup.data.identity)
    suggestion = suggestion_file(experiment, setup, folder=folder)
    own = suggestion.parent
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{own.name}.lock"):
        if not suggestion.is_file():
            sweep_seeds(experiment, setup, name=digest, folder=own)
    return suggestion


def suggestion_file(experiment: ExperimentConfig, setup: ExperimentSetup, *, folder: Path) -> Path:
    """Return the suggestion file of :func:`find_bounds` without running the test."""
    digest = range_test_hash(experiment, setup.data.identity)
    name = f"{digest}-{code_digest(*READING)}-{setup.settings.precision}"
    return folder / name / SUGGESTION


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Layout of a range test: images, length and rates.

    Args:
        training: indices of the images to train on.
        held_out: indices of the images to evaluate on.
        total_steps: updates of each seed.
        schedule: of the rising learning rate.
    """

    training: Tensor
    held_out: Tensor
    total_steps: int
    schedule: Schedule


def lay_out(experiment: ExperimentConfig, setup: ExperimentSetup) -> Sweep:
    """Hold images out and convert the length of the sweep to updates.

    Raises:
        ValueError: the sweep is shorter than its points, or its rates do not rise.
    """
    config = experiment.range_test
    training, held_out = hold_out(
        setup.data.train, fraction=config.held_out_fraction, seed=SPLIT_SEED
    )
    clock = Clock(
        steps_per_epoch=steps_per_epoch_of(experiment, len(training)),
        images_per_step=images_per_update(experiment),
    )
    total_steps = to_steps(config.length, clock)
    return Sweep(
        training=training,
        held_out=held_out,
        total_steps=total_steps,
        schedule=build_ramp(experiment, total_steps),
    )


def images_per_update(experiment: ExperimentConfig) -> int:
    """Return the number of images in one update."""
    return experiment.training.batch_size * experiment.training.accumulation


def sweep_seeds(
    experiment: ExperimentConfig, setup: ExperimentSetup, *, name: str, folder: Path
) -> dict[str, Any]:
    """Run a range test with each of its seeds; write suggestion.json, curve.csv and the figure.

    Returns:
        the content of suggestion.json.

    Raises:
        ValueError: the sweep is shorter than its points, or its rates do not rise.
    """
    config = experiment.range_test
    sweep = lay_out(experiment, setup)
    total_steps, held_out = sweep.total_steps, sweep.held_out
    curves = []
    for seed in config.seeds:
        learner = setup.learner(seed, indices=sweep.training, total_steps=total_steps)
        with (
            open_tracker(
                experiment.tracking,
                run_dir=folder / f"tracking-{seed}",
                group=experiment.name,
                job_type="range_test",
                name=f"range test {name} seed {seed}",
                tags=(experiment.dataset.name, config.sweep),
                configuration={"range_test": to_plain(config), "seed": seed},
            ) as tracker,
            metered(f"{folder} seed {seed}", total=total_steps) as meter,
        ):
            curves.append(
                run_range_test(
                    learner,
                    schedule=sweep.schedule,
                    total_steps=total_steps,
                    points=config.points,
                    evaluate=setup.evaluate(learner.model, setup.data.train, indices=held_out),
                    on_point=functools.partial(_show, meter, tracker),
                )
            )
    readings = agree(curves)
    chosen = readings[config.rule]
    said = {
        "name": name,
        "rule": config.rule,
        "base_lr": chosen.base_lr,
        "max_lr": chosen.max_lr,
        "reason": chosen.reason,
        "suggestions": [
            {"seed": seed, **describe_reading(suggestion)}
            for seed, curve in zip(config.seeds, curves, strict=True)
            for suggestion in suggest(curve).values()
        ],
        "agreement": {rule: describe_reading(reading) for rule, reading in readings.items()},
        "dataset": experiment.dataset.name,
        "model": experiment.model.architecture,
        "optimizer": experiment.optimizer.name,
        "batch_size": images_per_update(experiment),
        "sweep": config.sweep,
        "first_lr": config.first_lr,
        "last_lr": config.last_lr,
        "total_steps": total_steps,
        "points": config.points,
        "held_out_images": len(held_out),
        "diverged_at": {
            str(seed): curve.diverged_at for seed, curve in zip(config.seeds, curves, strict=True)
        },
        "diverged_lr": {
            str(seed): curve.diverged_lr for seed, curve in zip(config.seeds, curves, strict=True)
        },
        "settings": setup.settings.describe(),
    }
    title = f"Range test: {experiment.model.architecture} on {experiment.dataset.name}"
    write_whole(folder / CURVE, sweeps_csv(dict(zip(config.seeds, curves, strict=True))))
    picture = draw_range_test(curves, readings, rule=config.rule, title=title)
    write_whole(folder / PICTURE, picture)
    write_json(folder / SUGGESTION, said)
    found = f"{chosen.base_lr:.4g} to {chosen.max_lr:.4g}" if chosen.found else "no bounds"
    say(f"{folder}: {config.rule} gives {found} ({chosen.reason})")
    return said


def _show(meter: Meter, tracker: Tracker, point: RangeTestPoint) -> None:
    meter(point.update, f"{point.accuracy_pct:.1f} %")
    values = {k: v for k, v in dataclasses.asdict(point).items() if v is not None}
    tracker.log(point.update, values)


def agree(curves: list[RangeTestCurve]) -> dict[str, Agreement]:
    """Return the result of each rule over all seeds."""
    by_seed = [suggest(curve) for curve in curves]
    return {rule: agreement([said[rule] for said in by_seed]) for rule in by_seed[0]}


def build_ramp(experiment: ExperimentConfig, total_steps: int) -> Schedule:
    """Return the schedule of the sweep.

    Raises:
        ValueError: its rates do not rise, or an exponential one starts at 0; names the file.
    """
    config = experiment.range_test
    ramp = linear_ramp if config.sweep == "linear" else exponential_ramp
    where = f"conf/range_test/{config.name}.yaml"
    if config.last_lr <= config.first_lr:
        raise ValueError(
            f"{where}: range_test.last_lr must exceed first_lr = {config.first_lr}, "
            f"got {config.last_lr}"
        )
    if total_steps < config.points:
        raise ValueError(
            f"{where}: range_test.points must be at most the {total_steps} updates of the sweep, "
            f"got {config.points}"
        )
    try:
        return ramp(first_lr=config.first_lr, last_lr=config.last_lr, total_steps=total_steps)
    except ValueError as error:
        raise ValueError(f"{where}: range_test: {error}") from None


def sweeps_csv(curves: Mapping[int, RangeTestCurve]) -> str:
    """Return the curves of all seeds as one table; None is an empty cell."""
    return csv_text(
        SWEEP_COLUMNS,
        (
            [seed, *(getattr(point, column) for column in SWEEP_COLUMNS[1:])]
            for seed, curve in curves.items()
            for point in curve.points
        ),
    )
