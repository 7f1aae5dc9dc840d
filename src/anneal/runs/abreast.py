"""Several seeds of one experiment trained by one process, an update of each in turn.

On CUDA each run has a stream of its own, so that the device computes updates of different runs at
the same time. Nothing of a run depends on the others: each has its directory, history and
checkpoints, and ends by itself.
"""

import contextlib
import gc
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from anneal.io.terminal import complain, describe_error, say
from anneal.runs.observers import Observer, ProgressBar
from anneal.runs.preemption import Interrupted, hand_on, interruptible
from anneal.runs.run import SeedRun, ended_before, open_run, updates_of
from anneal.training.captured import draws_of_forward_pass
from anneal.training.loop import Training

WINDOW_SECONDS = 5.0  # of updates, to measure a number of runs abreast
SETTLING_UPDATES = 20  # of each run before that: set-up, warm-ups, capture
ENOUGH = 1.1  # twice as many runs must make so many times the updates a second
MEMORY_KEPT = 0.1  # share of the device's memory that is left free

Steps = Generator[None, None, dict[str, Any]]
Observers = Callable[[SeedRun], Sequence[Observer]]


@dataclass(eq=False)
class Lane:
    """A run in progress.

    Args:
        steps: an update each.
        stream: that its operations go to; None without CUDA.
    """

    steps: Generator[None, None, Any]
    stream: torch.cuda.Stream | None
    updates: int = 0

    def step(self) -> None:
        """Make an update; raise StopIteration, with the result, after the last."""
        with contextlib.nullcontext() if self.stream is None else torch.cuda.stream(self.stream):
            next(self.steps)
        self.updates += 1


@dataclass
class Width:
    """How many runs are trained at a time, found by doubling it while that pays off.

    Args:
        runs: at a time, for now.
        fixed: whether that stays.
        clock: seconds.
        wait: waits for what was given to the device.
        memory: returns the free and the total memory of the device, in bytes.
    """

    runs: int
    fixed: bool
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[], None] = torch.cuda.synchronize
    memory: Callable[[], tuple[int, int]] = torch.cuda.mem_get_info
    _best: float = 0.0
    _began: tuple[float, int] | None = field(default=None, init=False)

    def narrows(self, training: Training) -> bool:
        """Tell whether runs must not take turns, and have one at a time from now on.

        With one part an update draws from the global generators, which the runs would share.
        """
        learner = training.learner
        if (self.fixed and self.runs == 1) or learner.accumulation > 1:
            return False
        if not draws_of_forward_pass(learner, training.update):
            return False
        self.runs, self.fixed = 1, True
        return True

    def look(self, lanes: Sequence[Lane]) -> None:
        """Measure the runs in progress; widen where the last widening paid off."""
        if self.fixed:
            return
        if len(lanes) < self.runs:  # one has ended
            self._began = None
            return
        made = sum(lane.updates for lane in lanes)
        if self._began is None:
            if min(lane.updates for lane in lanes) >= SETTLING_UPDATES:
                self.wait()
                self._began = self.clock(), made
            return
        began, before = self._began
        if self.clock() - began < WINDOW_SECONDS:
            return
        self.wait()
        rate = (made - before) / (self.clock() - began)
        self._began = None
        free, total = self.memory()
        each = (total - free) / len(lanes)
        if rate < ENOUGH * self._best:
            self.fixed = True
            if rate < self._best:
                self.runs //= 2  # once enough of those in progress have ended
        elif free - self.runs * each < MEMORY_KEPT * total:
            self.fixed = True
            say(f"abreast: {self.runs} runs at a time, the memory holds no more")
        else:
            self._best, self.runs = rate, 2 * self.runs


def width_of(runs: Sequence[SeedRun]) -> Width:
    """Return how many of these runs are trained at a time, as ``hardware.abreast`` says."""
    asked = runs[0].plan.experiment.hardware.abreast
    if asked is None and runs[0].setup.settings.device != "cuda":
        return Width(runs=1, fixed=True)
    return Width(runs=asked or 1, fixed=asked is not None)


def train_abreast(runs: Sequence[SeedRun], observers: Observers) -> list[dict[str, Any] | None]:
    """Train seeds of one experiment, several at a time; resume those that have a checkpoint.

    A run that diverges, ends or fails does not stop the others.

    Args:
        runs: seeds of one experiment.
        observers: of a run; see ``usual_observers``.

    Returns:
        content of each one's result.json.

    Raises:
        Interrupted: Ctrl-C, SIGTERM or a preemption; the checkpoints are on disk.
        Exception: that of the first run that failed, once the others have ended.
    """
    results: dict[int, dict[str, Any]] = {}
    errors: list[Exception] = []
    waiting, lanes = deque(enumerate(runs)), dict[int, Lane]()
    width, streams = width_of(runs), _Streams(runs[0].setup.settings.device)
    with interruptible() as interrupted:

        def step(number: int) -> None:
            try:
                lanes[number].step()
                return
            except StopIteration as end:
                results[number] = end.value
                if lanes[number].updates:
                    say(f"{runs[number].name}: {end.value['status']}")
            except Interrupted:
                pass
            except Exception as error:  # noqa: BLE001 - raised below
                # as text: the frames hold the run's network
                error.add_note("".join(traceback.format_tb(error.__traceback__)))
                errors.append(error.with_traceback(None))
                complain(f"{runs[number].name}: {describe_error(error)}")
            streams.give_back(lanes.pop(number).stream)
            gc.collect()  # its network and graph, which refer to each other

        while lanes or (waiting and not interrupted()):
            if waiting and len(lanes) < width.runs and not interrupted():
                number, run = waiting.popleft()
                steps = _steps(run, observers, interrupted, width)
                lanes[number] = Lane(steps, streams.take())
                step(number)
                continue
            for number in list(lanes):
                step(number)
            width.look([*lanes.values()])
        signal = interrupted()
    if signal:
        hand_on(signal, leads=True)
        raise Interrupted(signal)
    if errors:
        raise errors[0]
    return [results.get(number) for number in range(len(runs))]


def without_bar(observers: Sequence[Observer]) -> list[Observer]:
    """Return observers without a progress bar: a terminal shows one at a time."""
    return [observer for observer in observers if not isinstance(observer, ProgressBar)]


def _steps(
    run: SeedRun, observers: Observers, interrupted: Callable[[], int], width: Width
) -> Steps:
    """Train a run from its start or checkpoint, an update at each step."""
    with run.held():
        if (result := ended_before(run)) is not None:
            return result
        training = open_run(run)
        if width.narrows(training):
            say(f"{run.name}: one run at a time, since the network draws random numbers")
        run.directory.add_to_environment(abreast=width.runs)
        return (yield from updates_of(run, training, observers(run), interrupted))


class _Streams:
    """CUDA streams for runs; one that a run has left keeps the memory it freed for the next."""

    def __init__(self, device: str) -> None:
        self._on_cuda = device == "cuda"
        self._free: list[torch.cuda.Stream] = []

    def take(self) -> torch.cuda.Stream | None:
        if not self._on_cuda:
            return None
        stream = self._free.pop() if self._free else torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())  # images were moved there
        return stream

    def give_back(self, stream: torch.cuda.Stream | None) -> None:
        if stream is not None:
            self._free.append(stream)
