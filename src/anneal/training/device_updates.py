"""Updates as functions of tensors on the device, with rates and draws in tables there.

The tables hold what many updates need, and a counter on the device says which row an update takes.
So each update is the same operations on the same memory, as a CUDA graph needs. No update reads
from the host, or is read by it.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import torch
from torch import Tensor

from anneal.training.group_rates import RATIO_KEY
from anneal.training.loop import Learner
from anneal.training.optimizers.caffe import CaffeOptimizer
from anneal.training.scheduled_lr import ScheduledLR

AHEAD: Final = 64  # updates whose rates and draws go to the device at once
FUSED: Final = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)  # fused, with tensor rates


class DrawnBatches(Protocol):
    """Batches in two steps: what is drawn, on the host, and the images, made on the device."""

    def draw(self, index: int) -> Tensor:
        """Return what is drawn for a batch, a row for each image."""

    def gather(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and labels of what was drawn."""


def rule_obstacle(scheduled: ScheduledLR) -> str | None:
    """Return why an optimizer cannot take its rates from the device; None if it can."""
    optimizer = scheduled.optimizer
    name = type(optimizer).__name__
    if isinstance(optimizer, CaffeOptimizer):
        return None if optimizer.takes_tensors else f"{name} counts updates on the host"
    if type(optimizer) not in FUSED or not all(group["fused"] for group in optimizer.param_groups):
        return f"{name} reads its rate on the host"
    if scheduled.momentum is not None:
        return f"{name} reads its momentum, which has a schedule, on the host"
    return None


class DeviceUpdates:
    """The updates of a learner, each a function of tensors on its device.

    Losses, weights and optimizer state are those of the learner's own updates. Between two updates
    the optimizer has its rates as numbers, so that its state is as usual.

    Args:
        learner: of one process; its network draws no random numbers on the host.
        scheduled: the schedule on its optimizer, which :func:`rule_obstacle` has no word against.
        total_steps: updates of the run.
        drawn: the learner's batches in two steps; None: a batch is made before its update.
    """

    def __init__(
        self,
        learner: Learner,
        scheduled: ScheduledLR,
        *,
        total_steps: int,
        drawn: DrawnBatches | None,
    ) -> None:
        self._scheduled, self._total_steps, self._drawn = scheduled, total_steps, drawn
        self._accumulation = learner.accumulation
        self._static = dataclasses.replace(
            learner,
            batches=self._batch,
            interleaved=None if drawn is None else self._interleaved,
            seed=None,
        )
        # makes updates whose batches have another size; they may be asked for in no order
        self._ragged = learner
        if drawn is not None:
            self._ragged = dataclasses.replace(learner, batches=self._single, interleaved=None)
        self._next, self._end = 0, 0  # of the updates in the tables
        self._whole: dict[int, bool] = {}  # whether an update's batches have the usual size
        self._device = next(learner.model.parameters()).device
        optimizer = learner.optimizer
        keys = ["lr"] if scheduled.momentum is None else ["lr", "momentum"]
        self._places = [(group, key) for group in optimizer.param_groups for key in keys]
        # torch's fused steps on CUDA read float32 alone, and round a rate that is no number to it
        narrow = isinstance(optimizer, FUSED) and self._device.type == "cuda"
        kind = torch.float32 if narrow else torch.float64
        self._now = torch.zeros(len(self._places), dtype=kind, device=self._device)
        self._rates = torch.zeros(AHEAD, len(self._places), dtype=kind, device=self._device)
        self._counter = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._sources: Tensor | None = None  # (updates, parts, B, ...), what is drawn
        self._copies: list[tuple[Tensor, Tensor]] = []  # batches of one update, where none is drawn

    def load(self, update: int) -> bool:
        """Bring what an update needs to the device, unless it is there.

        Returns:
            whether :meth:`make` can make it; else its batches have another size than usual.
        """
        if update != self._next or update >= self._end:
            self._upload(update)
        self._next = update + 1
        return self._copy(update) if self._drawn is None else self._whole[update]

    def make(self) -> Tensor:
        """Make the update that was loaded, from tensors on the device; return its mean loss."""
        self._now.copy_(self._rates.index_select(0, self._counter)[0])
        with self._rates_on_device():
            loss = self._static.update(0)
        self._counter.add_(1)
        return loss

    def make_ragged(self, update: int) -> Tensor:
        """Make an update whose batches have another size than usual; return its mean loss."""
        self._counter.add_(1)
        return self._ragged.update(update)

    def _upload(self, first: int) -> None:
        """Fill the tables from an update on."""
        updates = range(first, min(first + AHEAD, self._total_steps))
        self._end = updates.stop
        self._counter.zero_()
        rates = [self._rates_of(update) for update in updates]
        self._send(torch.tensor(rates, dtype=torch.float64), self._rates)
        if self._drawn is None:
            return
        drawn = [[self._drawn.draw(n) for n in self._numbers(update)] for update in updates]
        if self._sources is None:
            usual = max((source for parts in drawn for source in parts), key=len)
            shape = (AHEAD, self._accumulation, *usual.shape)
            self._sources = torch.zeros(shape, dtype=usual.dtype, device=self._device)
        size = self._sources.shape[2]
        table = torch.zeros((len(updates), *self._sources.shape[1:]), dtype=self._sources.dtype)
        self._whole = {}
        for row, update, parts in zip(table, updates, drawn, strict=True):
            self._whole[update] = all(len(source) == size for source in parts)
            if self._whole[update]:
                torch.stack(parts, out=row)
        self._send(table, self._sources)

    def _rates_of(self, update: int) -> list[float]:
        """Return the rates, and momenta, that the schedule sets for an update."""
        lr = self._scheduled.schedule(update)
        momentum = 0.0 if self._scheduled.momentum is None else self._scheduled.momentum(update)
        return [lr * group[RATIO_KEY] if key == "lr" else momentum for group, key in self._places]

    def _send(self, rows: Tensor, table: Tensor) -> None:
        """Copy rows to the first of a table; from pinned memory the host does not wait for it."""
        rows = rows.to(table.dtype)
        rows = rows.pin_memory() if self._device.type == "cuda" else rows
        table[: len(rows)].copy_(rows, non_blocking=True)

    def _copy(self, update: int) -> bool:
        """Copy the batches of an update to where its operations read them, if their size is it."""
        numbers = self._numbers(update)
        batches = [self._ragged.batches(number) for number in numbers]
        if not self._copies:  # a run may be resumed at a partial batch; a whole one follows it
            x, y = max([*batches, self._ragged.batches(numbers.stop)], key=lambda b: len(b[1]))
            self._copies = [(torch.empty_like(x), torch.empty_like(y)) for _ in batches]
        pairs = list(zip(self._copies, batches, strict=True))
        if any(copy[0].shape != batch[0].shape for copy, batch in pairs):
            return False
        for copy, batch in pairs:
            for to, tensor in zip(copy, batch, strict=True):
                to.copy_(tensor)
        return True

    def _numbers(self, update: int) -> range:
        """Return the numbers of an update's batches."""
        return range(update * self._accumulation, (update + 1) * self._accumulation)

    def _batch(self, part: int) -> tuple[Tensor, Tensor]:
        """Return a part of the update that the counter says."""
        if self._drawn is None:
            return self._copies[part]
        return self._drawn.gather(self._rows()[part])

    def _interleaved(self, parts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return all parts of the update that the counter says, an image of each in turn."""
        assert self._drawn is not None
        assert len(parts) == self._accumulation
        return self._drawn.gather(self._rows().transpose(0, 1).flatten(0, 1))

    def _rows(self) -> Tensor:
        assert self._sources is not None
        return self._sources.index_select(0, self._counter)[0]

    def _single(self, number: int) -> tuple[Tensor, Tensor]:
        assert self._drawn is not None
        return self._drawn.gather(self._drawn.draw(number).to(self._device))

    @contextmanager
    def _rates_on_device(self) -> Iterator[None]:
        """Give the optimizer its rates as tensors inside, and as numbers again afterwards."""
        numbers = [group[key] for group, key in self._places]
        for (group, key), rate in zip(self._places, self._now.unbind(), strict=True):
            group[key] = rate
        set_capturable(self._static.optimizer, is_capturing())
        try:
            yield
        finally:
            set_capturable(self._static.optimizer, False)
            for (group, key), number in zip(self._places, numbers, strict=True):
                group[key] = number


def is_capturing() -> bool:
    """Tell whether operations are being captured as a CUDA graph, and not computed."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def set_capturable(optimizer: torch.optim.Optimizer, capturable: bool) -> None:
    """Say whether a step of torch's Adam is being captured, which it asks."""
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = capturable
