"""One run, from its plan to its directory: started, resumed or skipped (edge)."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anneal.io.terminal import say
from anneal.runs.directory import HISTORY, TIMING, RunDirectory, read_lines
from anneal.runs.environment import describe_environment, now
from anneal.runs.plan import Plan
from anneal.runs.progress import metered
from anneal.runs.setup import ExperimentSetup, build_training
from anneal.runs.tracking import open_tracker
from anneal.training.loop import Outcome, Record, Training

Build = Callable[..., Training]  # (plan, setup, *, seed)
CHECKPOINT_SECONDS = 60.0  # between checkpoints: what a crash may cost


class Interrupted(KeyboardInterrupt):
    """A person pressed Ctrl-C; a checkpoint was written."""


def train_run(
    plan: Plan,
    setup: ExperimentSetup,
    *,
    seed: int,
    directory: RunDirectory,
    replaced: Path,
    job_type: str = "train",
    label: str | None = None,
    build: Build = build_training,
    measured_on: str = "test",
) -> dict[str, Any]:
    """Train one seed to its end, going on from a checkpoint where there is one.

    Args:
        plan: what is to be run.
        setup: data and settings of its experiment.
        seed: of every random stream.
        directory: where its record lies; must be held.
        replaced: takes a run of another configuration that lies there.
        job_type: for the tracker.
        label: what a person is shown it as; None: its directory.
        build: makes the loop of the plan, at its first update.
        measured_on: the images that this loop measures on: in the record it stands in the place of
            ``test``, which is what the loop itself calls them.

    Returns:
        result.json: ``status`` (finished or diverged), ``updates``, metrics.

    Raises:
        Interrupted: Ctrl-C; the checkpoint is on disk.
        ValueError: the directory holds a checkpoint that cannot be gone on from.
    """
    label = label or str(directory.path)
    if (result := directory.result()) is not None:
        say(f"{label}: {result['status']} already, not run again")
        if result["status"] == "finished":
            _say_what_is_missing(plan, directory, made=plan.total_steps)
        return result
    directory.open(plan.describe(), replaced=replaced)
    training = build(plan, setup, seed=seed)
    checkpoint = directory.go_on()
    if checkpoint is not None:
        training.load_state_dict(checkpoint["state"])
    start = training.update
    _say_what_is_missing(plan, directory, made=start)
    directory.add_environment(
        describe_environment()
        | {
            "settings": setup.settings.describe(),
            "data": setup.data.identity,
            "from_update": start,
        }
    )
    with (
        open_tracker(
            plan.experiment.tracking,
            run_dir=directory.path,
            group=plan.experiment.name,
            job_type=job_type,
            name=f"{plan.experiment.name} seed {seed}",
            tags=tuple(
                tag
                for tag in (
                    plan.experiment.paper,
                    plan.experiment.scheduler.name,
                    plan.experiment.dataset.name,
                )
                if tag
            ),
            configuration=plan.describe() | {"seed": seed},
            resume_from_update=start or None,
        ) as tracker,
        metered(label, total=plan.total_steps, done=start) as meter,
        interruptible() as interrupted,
    ):
        began = saved = time.monotonic()

        def record(line: Record) -> None:
            line = {key.replace("test_", f"{measured_on}_", 1): v for key, v in line.items()}
            directory.append(HISTORY, line)
            directory.append(
                TIMING,
                {"update": line["update"], "seconds": round(time.monotonic() - began, 3)},
            )
            tracker.log(int(line["update"]), dict(line))
            if (accuracy := line.get(f"{measured_on}_accuracy_pct")) is not None:
                meter(int(line["update"]), f"{accuracy:.1f} %")

        def between(update: int) -> bool:
            nonlocal saved
            meter(update, None)
            if update in plan.snapshots:  # before the checkpoint: none is ahead of its snapshots
                directory.save_snapshot(training.learner.model.state_dict(), update=update)
            if interrupted() or time.monotonic() - saved > CHECKPOINT_SECONDS:
                directory.save_checkpoint(training.state_dict(), update=update)
                saved = time.monotonic()
            return not interrupted()

        outcome = training.run(record=record, between=between)
        seconds = round(time.monotonic() - began, 3)
        directory.end_environment(ended=now(), to_update=outcome.updates, seconds=seconds)
        if outcome.status == "stopped":
            tracker.close("stopped")
            raise Interrupted
        result = _finish(directory, training, outcome, measured_on)
        tracker.summary({key: value for key, value in result.items() if value is not None})
        tracker.close(outcome.status)
        if interrupted():  # on the very last update: this run has ended, the next must not begin
            raise Interrupted
    return result


def _say_what_is_missing(plan: Plan, directory: RunDirectory, *, made: int) -> None:
    """Name the snapshots that are asked for and were not when these updates were made.

    They change no number, so that a run that passed them is not run again for them.
    """
    missing = {update for update in plan.snapshots if update <= made} - directory.snapshots().keys()
    if missing:
        say(
            f"{directory.path}: {len(missing)} of {len(plan.snapshots)} snapshots are not there "
            f"(training.snapshots: {plan.experiment.training.snapshots}); move the run away to "
            "train it again with them"
        )


def _finish(
    directory: RunDirectory, training: Training, outcome: Outcome, measured_on: str
) -> dict[str, Any]:
    directory.save_checkpoint(training.state_dict(), update=outcome.updates)
    result = {
        "status": outcome.status,
        "updates": outcome.updates,
        **final_and_best(
            read_lines(directory.path / HISTORY), finished=outcome.status, split=measured_on
        ),
    }
    directory.finish(result)
    return result


def final_and_best(
    history: list[dict[str, Any]], *, finished: str, split: str = "test"
) -> dict[str, Any]:
    """Return a split's metrics at the end and at the best evaluation, named for what they are.

    The best is chosen on the measured images themselves, as papers of the time did: an optimistic
    number, given beside the final one and never in its place.
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


@contextmanager
def interruptible() -> Iterator[Any]:
    """Turn the first Ctrl-C (or SIGTERM) into a question asked between updates; a second acts."""
    asked = False

    def ask(number: int, _frame: object) -> None:
        nonlocal asked
        asked = True
        which = signal.Signals(number)
        signal.signal(which, before[which])

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for which in before:
        signal.signal(which, ask)
    try:
        yield lambda: asked
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
