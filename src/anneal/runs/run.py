"""Training of one run: from its start, resumed from a checkpoint, or skipped if finished."""

import functools
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal.io.terminal import say
from anneal.runs.directory import HISTORY, RunDirectory, read_lines
from anneal.runs.environment import describe_environment, now
from anneal.runs.observers import (
    Checkpoints,
    History,
    Observer,
    ProgressBar,
    Snapshots,
    Tracking,
    observed,
)
from anneal.runs.plan import Plan
from anneal.runs.preemption import Interrupted, hand_on, interruptible
from anneal.runs.setup import ExperimentSetup, build_training
from anneal.runs.tracking import open_tracker
from anneal.training.captured import CapturedLearner
from anneal.training.loop import Outcome, Record, Training, result_of


@dataclass(frozen=True, kw_only=True)
class SeedRun:
    """One seed of a plan and its directory.

    Args:
        plan: of the run.
        setup: data and settings of its experiment.
        seed: of every random stream.
        directory: for the record; must be held.
        replaced: folder to which a run of another configuration in the directory is moved.
        label: name in the terminal; None: the path of the directory.
        build: (plan, setup, seed=...) -> the loop at its first update.
    """

    plan: Plan
    setup: ExperimentSetup
    seed: int
    directory: RunDirectory
    replaced: Path
    label: str | None = None
    build: Callable[..., Training] = build_training

    @property
    def name(self) -> str:
        """Name in the terminal."""
        return self.label or str(self.directory.path)

    def held(self) -> AbstractContextManager[object]:
        """Hold the directory; of several processes rank 0 alone does.

        Raises:
            ValueError: another process holds it.
        """
        return self.directory.held() if self.setup.parts.leads else nullcontext()


def train_run(run: SeedRun, observers: Sequence[Observer]) -> dict[str, Any]:
    """Train one seed to its end; resume from its checkpoint if there is one.

    Several processes of one run call it together; rank 0 alone reads and writes the directory.

    Args:
        run: the seed, its plan and directory.
        observers: see :func:`usual_observers`; called in this order.

    Returns:
        content of result.json: ``status`` (finished or diverged), ``updates``, metrics.

    Raises:
        Interrupted: Ctrl-C, SIGTERM or a preemption, at any process; the checkpoint is on disk.
        ValueError: the directory has a checkpoint that cannot be resumed.
    """
    if (result := ended_before(run)) is not None:
        return result
    training = open_run(run)
    try:
        with interruptible() as interrupted:
            return result_of(updates_of(run, training, observers, interrupted))
    except Interrupted as interrupt:
        hand_on(interrupt.number, leads=run.setup.parts.leads)
        raise


def ended_before(run: SeedRun) -> dict[str, Any] | None:
    """Return the result of a run that is not trained again, and say so; None for any other."""
    result = run.setup.parts.shared(run.directory.result)
    if result is not None:
        say(f"{run.name}: already {result['status']}, not run again")
        if result["status"] == "finished":
            _report_missing_snapshots(run.plan, run.directory, made=run.plan.total_steps)
    return result


def updates_of(
    run: SeedRun,
    training: Training,
    observers: Sequence[Observer],
    interrupted: Callable[[], int],
) -> Generator[None, None, dict[str, Any]]:
    """Train a run as :func:`train_run` does, an update at each step.

    Args:
        run: the seed, its plan and directory.
        training: its loop, from :func:`open_run`.
        observers: called in this order.
        interrupted: the number of a signal that stops it, or 0.
    """
    parts, result = run.setup.parts, None
    with observed(training, observers):

        def record(line: Record) -> None:
            for observer in observers:
                observer.record(line)

        def between(update: int) -> bool:
            stopping = parts.largest(interrupted()) > 0
            for observer in observers:
                observer.between(update, stopping=stopping)
            return not stopping

        updates = training.updates(record=record, between=between)
        outcome, seconds = yield from _timed(updates)
        for observer in observers:
            observer.flush()

        def end() -> dict[str, Any] | None:
            ended = {"ended": now(), "to_update": outcome.updates, "seconds": round(seconds, 3)}
            if isinstance(training.learner, CapturedLearner):
                ended["replayed"] = training.learner.replayed
            run.directory.add_to_environment(**ended)
            if outcome.status == "stopped":
                return None
            return _finish(run.directory, training, outcome)

        result = parts.shared(end)
        for observer in observers:
            observer.end(outcome.status, result)
        number = parts.largest(interrupted())
        if result is None or number:  # after the last update too: stops the next run
            raise Interrupted(number)
    return result


def _timed(
    steps: Generator[None, None, Outcome],
) -> Generator[None, None, tuple[Outcome, float]]:
    """Take all steps of a run; return its outcome and the seconds inside them.

    Between two steps other runs may have theirs, whose time is not counted twice.
    """
    seconds = 0.0
    while True:
        began = time.monotonic()
        try:
            next(steps)
        except StopIteration as end:
            return end.value, seconds + time.monotonic() - began
        seconds += time.monotonic() - began
        yield


def usual_observers(run: SeedRun, *, job_type: str) -> list[Observer]:
    """Return the observers of every run: those that write the record, then the views.

    Of several processes rank 0 alone has any.

    Args:
        run: the run.
        job_type: of the tracked run.
    """
    if not run.setup.parts.leads:
        return []
    experiment = run.plan.experiment
    tags = (experiment.paper, experiment.scheduler.name, experiment.dataset.name)
    open_view = functools.partial(
        open_tracker,
        experiment.tracking,
        run_dir=run.directory.path,
        group=experiment.name,
        job_type=job_type,
        name=f"{experiment.name} seed {run.seed}",
        tags=tuple(tag for tag in tags if tag),
        configuration=run.plan.describe() | {"seed": run.seed},
    )
    return [
        History(run.directory),
        Snapshots(run.directory, run.plan.snapshots),  # before the checkpoints
        Checkpoints(run.directory, aside=run.setup.settings.device == "cuda"),
        Tracking(open_view),
        ProgressBar(run.name),
    ]


def open_run(run: SeedRun) -> Training:
    """Prepare the directory and return the loop, resumed from its checkpoint if there is one."""
    directory = run.directory
    training = run.build(run.plan, run.setup, seed=run.seed)

    def resume() -> dict[str, Any] | None:
        directory.open(run.plan.describe(), replaced=run.replaced)
        checkpoint = directory.resume()
        return None if checkpoint is None else dict(checkpoint["state"])

    if (state := run.setup.parts.shared(resume)) is not None:
        training.load_state_dict(state)
    if not run.setup.parts.leads:
        return training
    _report_missing_snapshots(run.plan, directory, made=training.update)
    directory.add_environment(
        describe_environment()
        | {
            "settings": run.setup.settings.describe(),
            "processes": run.setup.parts.size,
            "abreast": 1,
            "data": run.setup.data.identity,
            "from_update": training.update,
        }
    )
    return training


def _report_missing_snapshots(plan: Plan, directory: RunDirectory, *, made: int) -> None:
    """Print the number of requested snapshots that the run has passed without saving.

    Snapshots change no number, so the run is not repeated for them.
    """
    missing = {update for update in plan.snapshots if update <= made} - directory.snapshots().keys()
    if missing:
        say(
            f"{directory.path}: {len(missing)} of {len(plan.snapshots)} snapshots are missing "
            f"(training.snapshots: {plan.experiment.training.snapshots}); move the run away to "
            "train it again with them"
        )


def _finish(directory: RunDirectory, training: Training, outcome: Outcome) -> dict[str, Any]:
    """Save the last checkpoint and the result."""
    directory.save_checkpoint(training.state_dict(), update=outcome.updates)
    result = {
        "status": outcome.status,
        "updates": outcome.updates,
        **final_and_best(
            read_lines(directory.path / HISTORY), finished=outcome.status, split=training.split
        ),
    }
    directory.finish(result)
    return result


def final_and_best(
    history: list[dict[str, Any]], *, finished: str, split: str = "test"
) -> dict[str, Any]:
    """Return a split's metrics at the final and at the best evaluation.

    The best is chosen on the evaluated images themselves, as papers of the time did. It is
    optimistic, and is recorded in addition to the final one, never instead of it.
    """
    accuracy = f"{split}_accuracy_pct"
    measured = [line for line in history if accuracy in line]
    if not measured:
        return {}
    best = max(measured, key=lambda line: (line[accuracy], -line["update"]))
    values = {
        f"{accuracy}@best": best[accuracy],
        "best_update": best["update"],
    }
    if finished == "finished":
        last = measured[-1]
        for name in (accuracy, f"{split}_top5_accuracy_pct", f"{split}_loss"):
            if name in last and math.isfinite(last[name]):
                values[f"{name}@final"] = last[name]
    return values
