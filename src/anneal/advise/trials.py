"""Trials: candidates trained on part of the training images, evaluated on held-out ones.

A trial is an ordinary run in ``multirun/<configuration hash>/seed-<n>/``. Its hash covers the
choice of held-out images. It never sees a test image.
"""

import dataclasses
import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anneal.advise.candidates import CANDIDATES, at_bounds, fill_run
from anneal.config.schema import ExperimentConfig, SchedulerConfig
from anneal.config.strict import configuration_hash
from anneal.runs.code_digest import code_digest
from anneal.runs.directory import HISTORY, RunDirectory, read_lines
from anneal.runs.layout import MULTIRUN, REPLACED, seed_folder
from anneal.runs.optimizers import check_optimizer
from anneal.runs.plan import Plan, plan_run
from anneal.runs.range_test import SPLIT_SEED, Sweep
from anneal.runs.run import SeedRun, train_run, usual_observers
from anneal.runs.setup import ExperimentSetup, build_training

OWN_CODE = "advise/trials.py"  # part of a trial's code digest, besides the code of training
MEASURED_ON = "held_out"
FINAL = f"{MEASURED_ON}_accuracy_pct@final"
MEASURED_SECONDS, FEWEST_MEASURED, MOST_MEASURED = 2.0, 3, 20  # seconds, updates
Points = list[tuple[int, float]]  # updates made, accuracy in percent


@dataclass(frozen=True, kw_only=True)
class Trial(Plan):
    """Plan of one candidate's runs, for any seed, with the choice of held-out images."""

    candidate: str
    held_out: Mapping[str, Any]

    def describe(self) -> dict[str, Any]:
        """Return the plan as plain data for the run directory."""
        return super().describe() | {"candidate": self.candidate, "held_out": dict(self.held_out)}


def plan_trial(
    name: str,
    shape: SchedulerConfig,
    experiment: ExperimentConfig,
    identity: Mapping[str, Any],
    *,
    base_lr: float,
    max_lr: float,
) -> Trial:
    """Plan one candidate between a pair of bounds.

    Args:
        name: of the candidate.
        shape: the option of ``conf/scheduler`` that it names.
        experiment: the configuration without a schedule.
        identity: of the data set.
        base_lr: lower bound, > 0.
        max_lr: upper bound, > base_lr.

    Raises:
        ValueError: the run is too short for the schedule; names the candidate's file and the
            setting to change.
    """
    section = at_bounds(name, shape, base_lr=base_lr, max_lr=max_lr, optimizer=experiment.optimizer)
    own = dataclasses.replace(
        experiment,
        name=f"{experiment.name}/{name}",
        title=CANDIDATES[name].words,
        scheduler=section,
        bounds="given",
    )
    check_optimizer(own.optimizer)  # first: a longer run would not mend it
    plan = _plan(own, identity, shape)
    if (cycles := CANDIDATES[name].cycles) is not None:
        section = fill_run(
            section,
            cycles=cycles,
            total_steps=plan.total_steps,
            budget_fraction=own.budget_fraction,
        )
        own = dataclasses.replace(own, scheduler=section)
        plan = _plan(own, identity, shape)
    held_out = {
        "fraction": experiment.range_test.held_out_fraction,
        "split_seed": SPLIT_SEED,
    }
    fields = {f.name: getattr(plan, f.name) for f in dataclasses.fields(Plan)}
    digest = configuration_hash({"run": plan.configuration_hash, "held_out": held_out})
    fields["configuration_hash"] = digest
    return Trial(**fields, candidate=name, held_out=held_out)


def _plan(
    experiment: ExperimentConfig, identity: Mapping[str, Any], shape: SchedulerConfig
) -> Plan:
    try:
        where = f"conf/scheduler/{shape.name}.yaml"
        return plan_run(experiment, identity, bounds=None, where=where)
    except ValueError as error:
        words = "increase training.length or budget_fraction, or remove it from"
        raise ValueError(f"{error}; {words} advise.candidates") from None


def run_directory(trial: Trial, setup: ExperimentSetup, *, seed: int) -> RunDirectory:
    """Return the run directory of a trial with one seed."""
    return RunDirectory(
        seed_folder(MULTIRUN / trial.configuration_hash, seed),
        configuration_hash=trial.configuration_hash,
        code=f"{code_digest(OWN_CODE)} {setup.settings.numerics}",
    )


def run_trial(
    trial: Trial, setup: ExperimentSetup, sweep: Sweep, *, seed: int, label: str
) -> float | None:
    """Train one candidate with one seed, unless it is finished.

    Args:
        trial: its plan.
        setup: data and settings.
        sweep: of the range test, for its split into training and held-out images.
        seed: of every random stream.
        label: name in the progress line.

    Returns:
        accuracy on the held-out images after the last update, 0..100; None where it diverged.
    """
    run = SeedRun(
        plan=trial,
        setup=setup,
        seed=seed,
        directory=run_directory(trial, setup, seed=seed),
        replaced=MULTIRUN / REPLACED,
        label=label,
        build=functools.partial(build_training, indices=sweep.training, held_out=sweep.held_out),
    )
    with run.directory.held():
        result = train_run(run, usual_observers(run, job_type="trial"))
    found = result.get(FINAL)
    return None if found is None else float(found)


def read_trial_curve(trial: Trial, setup: ExperimentSetup, *, seed: int) -> Points:
    """Return the held-out accuracies of a finished trial."""
    lines = read_lines(run_directory(trial, setup, seed=seed).path / HISTORY)
    column = f"{MEASURED_ON}_accuracy_pct"
    return [(int(line["update"]), float(line[column])) for line in lines if column in line]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Speed of this machine on one question.

    Args:
        update_seconds: for one update.
        evaluation_seconds: for one evaluation on the held-out images.
        num_updates: number of updates timed.
    """

    update_seconds: float
    evaluation_seconds: float
    num_updates: int


def measure_pace(setup: ExperimentSetup, sweep: Sweep) -> Pace:
    """Time a few updates at a learning rate of 0, and one evaluation; keep no results."""
    learner = setup.learner(0, indices=sweep.training)
    for group in learner.optimizer.param_groups:
        group["lr"] = 0.0
    evaluate = setup.evaluate(learner.model, setup.data.train, indices=sweep.held_out)
    for update in range(2):  # compilation, caches
        learner.update(update).item()
    began, made = time.monotonic(), 0
    while made < FEWEST_MEASURED or (
        made < MOST_MEASURED and time.monotonic() - began < MEASURED_SECONDS
    ):
        learner.update(2 + made).item()  # read, so that the device has done it
        made += 1
    update_seconds = (time.monotonic() - began) / made
    began = time.monotonic()
    evaluate()
    return Pace(
        update_seconds=update_seconds,
        evaluation_seconds=time.monotonic() - began,
        num_updates=made,
    )
