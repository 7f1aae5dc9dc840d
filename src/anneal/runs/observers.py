"""Observers of a run: history, snapshots, checkpoints, tracker and progress bar.

A run calls the hooks of its observers in the order of a list. No observer changes a number, so each
may be left out of the list.
"""

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from anneal.runs.directory import HISTORY, TIMING, RunDirectory
from anneal.runs.preemption import warn_of_short_grace
from anneal.runs.progress import metered
from anneal.runs.state_copy import StateCopy
from anneal.runs.tracking import Tracker
from anneal.training.loop import Record, Status, Training

CHECKPOINT_SECONDS = 60.0  # between checkpoints: at most this much is lost in a crash
OTHER_SECONDS = "ANNEAL_CHECKPOINT_SECONDS"


def checkpoint_seconds() -> float:
    """Return the seconds between checkpoints, which an environment variable may set.

    Raises:
        ValueError: it is no number of seconds.
    """
    if (asked := os.environ.get(OTHER_SECONDS)) is None:
        return CHECKPOINT_SECONDS
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(asked)) < math.inf:
            return seconds
    raise ValueError(f"{OTHER_SECONDS} must be a number of seconds, at least 0, got {asked!r}")


class Observer:
    """Hooks on one run; none does anything by default."""

    def start(self, training: Training) -> None:
        """Begin to observe a loop, which is new or resumed from a checkpoint."""

    def record(self, line: Record) -> None:
        """Handle a record of the loop."""

    def between(self, update: int, *, stopping: bool) -> None:
        """Act between two updates, when the state is consistent.

        Args:
            update: updates made.
            stopping: whether the run stops here, to be resumed later.
        """

    def flush(self) -> None:
        """Finish what is still being written; called after the last update."""

    def end(self, status: Status, result: Mapping[str, Any] | None) -> None:
        """Handle the end of the run; ``result`` is result.json, or None if it was stopped."""

    def close(self, *, failed: bool) -> None:
        """Release the resources of :meth:`start`; called in reverse order, after an error too."""


@contextlib.contextmanager
def observed(training: Training, observers: Sequence[Observer]) -> Iterator[None]:
    """Start the observers in order; close the started ones in reverse order."""
    with contextlib.ExitStack() as stack:
        for observer in observers:
            observer.start(training)
            stack.push(functools.partial(_close, observer))
        yield


def _close(observer: Observer, kind: type[BaseException] | None, *_: object) -> None:
    observer.close(failed=kind is not None)


class History(Observer):
    """Append each record to ``history.jsonl`` and its time to ``timing.jsonl``."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._began = 0.0

    def start(self, training: Training) -> None:  # noqa: ARG002
        """Start the clock."""
        self._began = time.monotonic()

    def record(self, line: Record) -> None:
        """Append a line to both files."""
        self._directory.append(HISTORY, line)
        seconds = round(time.monotonic() - self._began, 3)
        self._directory.append(TIMING, {"update": line["update"], "seconds": seconds})


class Snapshots(Observer):
    """Save the weights after given updates.

    Comes before :class:`Checkpoints` in the list, so that no checkpoint is ahead of its snapshots.
    """

    def __init__(self, directory: RunDirectory, updates: Collection[int]) -> None:
        self._directory, self._updates = directory, updates

    def start(self, training: Training) -> None:
        """Keep a reference to the network."""
        self._model = training.learner.model

    def between(self, update: int, *, stopping: bool) -> None:  # noqa: ARG002
        """Save the weights if this is one of the given updates."""
        if update in self._updates:
            self._directory.save_snapshot(self._model.state_dict(), update=update)


class Checkpoints(Observer):
    """Save a checkpoint once a minute and when the run stops.

    Once, where SLURM's grace before a preemption is shorter than the first one took, it says so.

    Args:
        directory: for the checkpoints.
        aside: whether a thread writes them from a copy of the state while the run goes on; those of
            a run that stops are written at once.
    """

    def __init__(self, directory: RunDirectory, *, aside: bool = False) -> None:
        self._directory = directory
        self._saved, self._warned = 0.0, False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint") if aside else None
        self._writing: Future[float] | None = None

    def start(self, training: Training) -> None:
        """Start the clock.

        Raises:
            ValueError: the environment's time between checkpoints is none.
        """
        self._training, self._saved = training, time.monotonic()
        self._every_seconds = checkpoint_seconds()

    def between(self, update: int, *, stopping: bool) -> None:
        """Save a checkpoint if one is due.

        Raises:
            OSError: the one before could not be written.
        """
        if self._writing is not None and (stopping or self._writing.done()):
            self.flush()
        if stopping:
            self._directory.save_checkpoint(self._training.state_dict(), update=update)
        elif self._writing is None and time.monotonic() - self._saved > self._every_seconds:
            self._save(update)

    def _save(self, update: int) -> None:
        began = time.monotonic()
        state, history_bytes = self._training.state_dict(), self._directory.history_bytes()

        def write(state: Callable[[], dict[str, Any]]) -> float:
            self._directory.save_checkpoint(state(), update=update, history_bytes=history_bytes)
            return time.monotonic() - began

        if self._thread is None:
            self._warn(write(lambda: state))
        else:
            self._writing = self._thread.submit(write, StateCopy(state).content)
        self._saved = time.monotonic()

    def flush(self) -> None:
        """Wait for the thread.

        Raises:
            OSError: its checkpoint could not be written.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._warn(writing.result())

    def close(self, *, failed: bool) -> None:  # noqa: ARG002
        """Let the thread end, so that nothing is written after the directory is released."""
        if self._thread is not None:
            self._thread.shutdown()

    def _warn(self, seconds: float) -> None:
        if not self._warned:
            self._warned = True
            warn_of_short_grace(seconds)


class Tracking(Observer):
    """Log the records and the result to a tracker.

    Args:
        open_view: opens the tracker; takes ``resume_from_update``, None for a new run.
    """

    def __init__(self, open_view: Callable[..., Tracker]) -> None:
        self._open = open_view
        self._tracker = Tracker()

    def start(self, training: Training) -> None:
        """Open or resume the tracker."""
        self._tracker = self._open(resume_from_update=training.update or None)

    def record(self, line: Record) -> None:
        """Log a record."""
        self._tracker.log(int(line["update"]), dict(line))

    def end(self, status: Status, result: Mapping[str, Any] | None) -> None:
        """Log the result and close the tracker with the run's status."""
        if result is not None:
            self._tracker.summary({k: v for k, v in result.items() if v is not None})
        self._tracker.close(status)

    def close(self, *, failed: bool) -> None:
        """Close the tracker unless :meth:`end` did."""
        self._tracker.close("failed" if failed else "finished")


class ProgressBar(Observer):
    """Show the updates made and the last accuracy on the terminal."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar = contextlib.ExitStack()

    def start(self, training: Training) -> None:
        """Show the bar."""
        self._accuracy = f"{training.split}_accuracy_pct"
        bar = metered(self._label, total=training.total_steps, done=training.update)
        self._show = self._bar.enter_context(bar)

    def record(self, line: Record) -> None:
        """Show the accuracy, if one was measured."""
        if (accuracy := line.get(self._accuracy)) is not None:
            self._show(int(line["update"]), f"{accuracy:.1f} %")

    def between(self, update: int, *, stopping: bool) -> None:  # noqa: ARG002
        """Show the number of updates made."""
        self._show(update, None)

    def close(self, *, failed: bool) -> None:  # noqa: ARG002
        """Remove the bar."""
        self._bar.close()
