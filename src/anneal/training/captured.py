"""Updates captured as a CUDA graph: the host starts one graph for each, not a thousand operations.

The first updates of a process are computed without the graph, on a stream of their own, as torch
asks for before a capture. They are updates of the run like the others, so none counts twice. A
capture computes nothing.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from anneal.training.device_updates import DeviceUpdates, DrawnBatches, rule_obstacle
from anneal.training.loop import Learner
from anneal.training.scheduled_lr import ScheduledLR
from anneal.training.seeding import drawn_since, random_state, restore_random_state

WARM_UPS: Final = 3  # updates before the capture, as in torch's documentation


@dataclass(frozen=True, kw_only=True)
class CapturedLearner(Learner):
    """A learner whose updates are captured as a CUDA graph where they can be.

    Where they cannot, it makes them as any learner does and says why, once.

    Args:
        scheduled: the schedule on its optimizer.
        total_steps: updates of the run.
        drawn: its batches in two steps, see ``DeviceUpdates``.
        say: prints a line.
        without_graph: make the same operations without a graph, on any device.
    """

    scheduled: ScheduledLR
    total_steps: int
    drawn: DrawnBatches | None
    say: Callable[[str], object]
    without_graph: bool = False

    def update(self, update: int) -> Tensor:
        """Make the next update after ``update`` updates; return its mean loss as a tensor."""
        return self._capture.update(update)

    @property
    def replayed(self) -> int:
        """How many updates of this process were made by the graph."""
        return self._capture.replayed

    @functools.cached_property
    def _capture(self) -> "_Capture":
        return _Capture(self)


def captured(
    learner: Learner,
    scheduled: ScheduledLR,
    *,
    total_steps: int,
    drawn: DrawnBatches | None,
    say: Callable[[str], object],
    without_graph: bool = False,
) -> CapturedLearner:
    """Return a learner that makes the same updates by a CUDA graph."""
    return CapturedLearner(
        **_fields(learner),
        scheduled=scheduled,
        total_steps=total_steps,
        drawn=drawn,
        say=say,
        without_graph=without_graph,
    )


def _fields(learner: Learner) -> dict[str, Any]:
    return {field.name: getattr(learner, field.name) for field in dataclasses.fields(Learner)}


def draws_of_forward_pass(learner: Learner, number: int) -> set[str]:
    """Return the global generators that a forward pass draws from; it leaves no trace.

    Args:
        learner: in train mode.
        number: of the batch.
    """
    state, buffers = random_state(), list(learner.model.buffers())
    before = [buffer.clone() for buffer in buffers]
    with torch.no_grad():
        learner.loss_of(*learner.batches(number))
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
    found = drawn_since(state)
    restore_random_state(state)
    return found


class _Capture:
    """The graph of a learner's update, and what it takes to make and replay it."""

    def __init__(self, learner: CapturedLearner) -> None:
        self._learner = learner
        self._plain = Learner(**_fields(learner))
        self._say = learner.say
        self._graph: torch.cuda.CUDAGraph | None = None
        self._updates: DeviceUpdates | None = None
        self._eager, self._warm_ups = False, 0
        self.replayed = 0
        # its state is then in other tensors than those that a graph knows
        learner.optimizer.register_load_state_dict_post_hook(lambda _: self._forget())

    def update(self, update: int) -> Tensor:
        """Make an update, by the graph where there is one or can be."""
        if self._updates is None and not self._eager:
            self._begin(update)
        if self._updates is None:
            return self._plain.update(update)
        if not self._updates.load(update):
            return self._updates.make_ragged(update)
        if self._learner.without_graph:
            return self._updates.make()
        if self._warm_ups < WARM_UPS:
            self._warm_ups += 1
            return self._on_stream(self._updates.make)
        if self._graph is None and not self._captured(self._updates):
            return self._plain.update(update)
        assert self._graph is not None
        self._graph.replay()
        self.replayed += 1
        return self._loss.clone()  # the next replay writes over it

    def _begin(self, update: int) -> None:
        """Prepare the updates, or say why they are made one operation after the other."""
        learner = self._learner
        if (obstacle := self._obstacle(update)) is not None:
            self._fall_back(obstacle)
            return
        self._updates = DeviceUpdates(
            self._plain, learner.scheduled, total_steps=learner.total_steps, drawn=learner.drawn
        )
        self._warm_ups = 0
        if not learner.without_graph:
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def _obstacle(self, update: int) -> str | None:
        learner = self._plain
        device = next(learner.model.parameters()).device.type
        if device != "cuda" and not self._learner.without_graph:
            return f"the device is {device}"
        if learner.parts.size > 1:
            return "several processes share an update"
        if (obstacle := rule_obstacle(self._learner.scheduled)) is not None:
            return obstacle
        draws = draws_of_forward_pass(learner, update * learner.accumulation)
        if draws - {"cuda"}:
            return "the network draws random numbers on the host"
        if draws and learner.accumulation > 1:
            return "the network draws random numbers, and each part has a stream of its own"
        return None

    def _fall_back(self, reason: str) -> None:
        self._say(f"hardware.capture: updates are not captured: {reason}")
        self._eager = True
        self._forget()

    def _forget(self) -> None:
        """Make the next update as the first one of a process."""
        self._updates = self._graph = None

    def _on_stream(self, make: Callable[[], Tensor]) -> Tensor:
        """Make an update on the stream that is captured later."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            loss = make()
        current.wait_stream(self._stream)
        return loss

    def _captured(self, updates: DeviceUpdates) -> bool:
        """Capture an update; tell whether it could be."""
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # other threads, which write checkpoints, may go on
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._loss = updates.make()
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # torch leaves the captured one where a capture fails
            self._fall_back(str(error).splitlines()[0])
            return False
        self._graph = graph
        return True
