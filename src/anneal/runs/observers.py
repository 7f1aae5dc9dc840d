"""Observers of a run: its history, snapshots, checkpoints, tracker and progress bar.

A run calls the hooks of each observer in the order of a list. What is left out of the list is left
out of the run: none of them changes a number.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from anneal.runs.directory import HISTORY, TIMING, RunDirectory
from anneal.runs.progress import metered
from anneal.runs.tracking import Tracker
from anneal.training.loop import Record, Status, Training

CHECKPOINT_SECONDS = 60.0  # between checkpoints: what a crash may cost


class Observer:
    """Hooks on one run; each does nothing unless it is overridden."""

    def start(self, training: Training) -> None:
        """Begin to observe a loop that is at its first update, or at that of its checkpoint."""

    def record(self, line: Record) -> None:
        """Take a record that the loop made."""

    def between(self, update: int, *, stopping: bool) -> None:
        """Act after an update, while everything is consistent.

        Args:
            update: updates made.
            stopping: the run stops here, to be resumed later.
        """

    def end(self, status: Status, result: Mapping[str, Any] | None) -> None:
        """Take the end of the run; ``result`` is result.json, None where the run was stopped."""

    def close(self, *, failed: bool) -> None:
        """Release what :meth:`start` took; called after an error too, in reverse order."""


@contextlib.contextmanager
def observed(training: Training, observers: Sequence[Observer]) -> Iterator[None]:
    """Start the observers in order; close those that were started in reverse order."""
    with contextlib.ExitStack() as stack:
        for observer in observers:
            observer.start(training)
            stack.push(functools.partial(_close, observer))
        yield


def _close(observer: Observer, kind: type[BaseException] | None, *_: object) -> None:
    observer.close(failed=kind is not None)


class History(Observer):
    """Append each record to ``history.jsonl``, and when it was made to ``timing.jsonl``."""

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
    """Save the weights after certain updates.

    Stands before :class:`Checkpoints`, so that no checkpoint is ahead of its snapshots.
    """

    def __init__(self, directory: RunDirectory, updates: Collection[int]) -> None:
        self._directory, self._updates = directory, updates

    def start(self, training: Training) -> None:
        """Remember the network."""
        self._model = training.learner.model

    def between(self, update: int, *, stopping: bool) -> None:  # noqa: ARG002
        """Save the weights where this update is one of those asked for."""
        if update in self._updates:
            self._directory.save_snapshot(self._model.state_dict(), update=update)


class Checkpoints(Observer):
    """Save a checkpoint once a minute, and where the run stops."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._saved = 0.0

    def start(self, training: Training) -> None:
        """Start the clock."""
        self._training, self._saved = training, time.monotonic()

    def between(self, update: int, *, stopping: bool) -> None:
        """Save a checkpoint when it is time."""
        if stopping or time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self._directory.save_checkpoint(self._training.state_dict(), update=update)
            self._saved = time.monotonic()


class Tracking(Observer):
    """Show the records and the result in a tracker.

    Args:
        open_view: opens it; takes ``resume_from_update``, None for a run at its first update.
    """

    def __init__(self, open_view: Callable[..., Tracker]) -> None:
        self._open = open_view
        self._tracker = Tracker()

    def start(self, training: Training) -> None:
        """Open the tracker, or resume it."""
        self._tracker = self._open(resume_from_update=training.update or None)

    def record(self, line: Record) -> None:
        """Send a record."""
        self._tracker.log(int(line["update"]), dict(line))

    def end(self, status: Status, result: Mapping[str, Any] | None) -> None:
        """Send the result and close with the run's status."""
        if result is not None:
            self._tracker.summary({k: v for k, v in result.items() if v is not None})
        self._tracker.close(status)

    def close(self, *, failed: bool) -> None:
        """Close the tracker unless the end of the run did."""
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
        """Show an accuracy where one was measured."""
        if (accuracy := line.get(self._accuracy)) is not None:
            self._show(int(line["update"]), f"{accuracy:.1f} %")

    def between(self, update: int, *, stopping: bool) -> None:  # noqa: ARG002
        """Show the updates made."""
        self._show(update, None)

    def close(self, *, failed: bool) -> None:  # noqa: ARG002
        """Take the bar away."""
        self._bar.close()
