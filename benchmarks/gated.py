"""Our trainer behind a gate, which times rounds of it and leaves parts out of them.

The parts are those that a plain loop has not: schedule, logging, progress and tracking.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import torch

from anneal.runs.observers import Observer, ProgressBar, Tracking
from anneal.runs.plan import Plan
from anneal.runs.setup import ExperimentSetup
from anneal.training.loop import Learner, Record, Training, evenly_spread
from anneal.training.scheduled_lr import ScheduledLR

FEWEST = 3  # updates in a round, where none are asked for
PARTS = ("schedule", "logging", "progress", "tracking")


class Gate:
    """Counts the updates of whoever calls it before each, in the rounds that are asked for."""

    def __init__(
        self, requests: TextIO, answers: TextIO, *, unit: float, untimed: int, cuda: bool
    ) -> None:
        self._requests, self._answers = requests, answers
        self._unit = unit  # what one update counts for
        self._before = untimed  # updates before each round
        self._cuda = cuda
        self._seconds, self._fewest = 0.0, FEWEST
        self._untimed = 0
        self._began: float | None = None
        self._done = 0
        self._ready = False
        self.left_out: set[str] = set()  # of PARTS, in this round

    def __call__(self) -> None:
        """Mark the start of an update; wait here between two rounds.

        Raises:
            SystemExit: nobody asks any more.
        """
        if not self._ready:
            self._ready = True
            self._answer("ready")
        elif self._began is None:
            self._untimed -= 1
            if self._untimed <= 0:
                self._began, self._done = self._now(), 0
        else:
            self._done += 1
            if self._done >= self._fewest and time.perf_counter() - self._began >= self._seconds:
                elapsed = self._now() - self._began
                self._began = None
                self._answer(self._done * self._unit / elapsed)

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _answer(self, value: float | str) -> None:
        print(json.dumps(value), file=self._answers, flush=True)
        request = self._requests.readline()
        if not request:
            raise SystemExit
        seconds, *more = request.split()
        self._seconds, self._fewest = float(seconds), int(more[0]) if more else FEWEST
        self._untimed, self.left_out = self._before, set(more[1:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatedSetup(ExperimentSetup):
    """A setup whose batches pass a gate: the rest of a run notices nothing."""

    gate: Callable[[], None]

    def learner(self, seed: int, **options: Any) -> Learner:
        """Build the learner, its batches behind the gate."""
        learner = super().learner(seed, **options)
        batches = learner.batches

        def gated(index: int) -> tuple[torch.Tensor, torch.Tensor]:
            self.gate()
            return batches(index)

        return dataclasses.replace(learner, batches=gated)


class GatedSchedule(ScheduledLR):
    """A schedule that a round may leave out: updates are counted and the rate stays."""

    def __init__(self, gate: Gate, *arguments: Any, **keywords: Any) -> None:
        self._gate = gate
        super().__init__(*arguments, **keywords)

    def step(self) -> None:
        """Count an update, and set the rate."""
        if "schedule" in self._gate.left_out:
            self._update += 1
        else:
            super().step()


class GatedTraining(Training):
    """A loop whose records a round may leave out: no loss is read and none is made."""

    def __init__(self, gate: Gate, **keywords: Any) -> None:
        self._gate = gate
        super().__init__(**keywords)

    def _log(self, record: Callable[[Record], None]) -> bool:
        return "logging" in self._gate.left_out or super()._log(record)


def gated_training(gate: Gate, plan: Plan, setup: ExperimentSetup, *, seed: int) -> Training:
    """Build the loop as ``build_training`` does, of parts that a round may leave out."""
    learner, config = setup.learner(seed), plan.experiment.training
    return GatedTraining(
        gate,
        learner=learner,
        scheduled=GatedSchedule(gate, learner.optimizer, plan.schedule, momentum=plan.momentum),
        total_steps=plan.total_steps,
        log_at=evenly_spread(config.log_lines, plan.total_steps),
        evaluate_at=evenly_spread(config.evaluations, plan.total_steps),
        evaluate=setup.evaluate(learner.model, setup.data.test),
    )


class GatedTracking(Observer):
    """A tracker that a round may leave out; W&B's processes stay, with nothing to do."""

    def __init__(self, gate: Gate, tracking: Tracking) -> None:
        self._gate, self._tracking = gate, tracking

    def start(self, training: Training) -> None:
        """Open the tracker."""
        self._tracking.start(training)

    def record(self, line: Record) -> None:
        """Send a record."""
        if "tracking" not in self._gate.left_out:
            self._tracking.record(line)

    def close(self, *, failed: bool) -> None:
        """Close the tracker: no round reaches the end of the run."""
        self._tracking.close(failed=failed)


class GatedBar(Observer):
    """A progress bar that a round may leave out, with all that draws it."""

    def __init__(self, gate: Gate, bar: ProgressBar) -> None:
        self._gate, self._bar = gate, bar
        self._shown = False

    def start(self, training: Training) -> None:
        """Remember the loop; the first update shows the bar."""
        self._training = training

    def record(self, line: Record) -> None:
        """Show an accuracy."""
        if self._shown:
            self._bar.record(line)

    def between(self, update: int, *, stopping: bool) -> None:
        """Show the updates made; take the bar away, or bring it back, as the round asks."""
        asked = "progress" not in self._gate.left_out
        if asked and not self._shown:
            self._bar.start(self._training)
        elif self._shown and not asked:
            self._bar.close(failed=False)
        self._shown = asked
        if asked:
            self._bar.between(update, stopping=stopping)

    def close(self, *, failed: bool) -> None:
        """Take the bar away."""
        if self._shown:
            self._bar.close(failed=failed)


def gated_observers(gate: Gate, observers: Sequence[Observer]) -> list[Observer]:
    """Return the observers, the tracker and the bar behind the gate.

    Checkpoints stay: they are made once a minute in any case.
    """
    gated: list[Observer] = []
    for observer in observers:
        if isinstance(observer, Tracking):
            gated.append(GatedTracking(gate, observer))
        elif isinstance(observer, ProgressBar):
            gated.append(GatedBar(gate, observer))
        else:
            gated.append(observer)
    return gated
