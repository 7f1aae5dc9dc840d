"""Training loop, with the number of updates as its only clock.

It reads no files and no configuration: it takes objects and passes records to callbacks.
"""

import functools
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from torch.nn import functional

from anneal.training.evaluation import Measurement, autocast
from anneal.training.parts import ALONE, Parts
from anneal.training.running_statistics import RunningStatistics
from anneal.training.scheduled_lr import ScheduledLR
from anneal.training.seeding import random_state, restore_random_state, seed_part
from anneal.training.together import PartwiseNorms, interleave

Batches = Callable[[int], tuple[torch.Tensor, torch.Tensor]]
TrainingLoss = Callable[..., torch.Tensor]  # (images, labels, label_smoothing=...) -> scalar
Record = dict[str, float | int]
Status = Literal["finished", "diverged", "stopped"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Learner:
    """Model, optimizer and batches of one update.

    Args:
        model: images (B, C, H, W) -> logits (B, classes), in train mode.
        optimizer: holds the model's parameters; its rates are set by a schedule.
        batches: number of the batch since the start of the run -> images (B, C, H, W), labels (B,).
        precision: of the forward pass (autocast).
        accumulation: batches whose mean gradient makes one update, >= 1: its parts.
        label_smoothing: in [0, 1).
        training_loss: the network's own, of images, labels and the keyword ``label_smoothing``;
            None: cross entropy of its logits.
        closed_blocks_coast: True: weights that took no part in an update have a gradient of zero
            there, so that the rule's decay and momentum still move them. False: they stay.
        seed: of what a forward pass draws where an update has several parts: each part has a stream
            of its own, whichever process computes it. With one part, or None, the global generators
            go on.
        parts: the processes that share the parts.
        together: whether this process's parts go through the network in one forward pass, each
            with batch statistics of its own.
        interleaved: numbers of batches -> one batch with an image of each in turn, for parts
            together; None: ``batches`` are stacked.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Batches
    precision: torch.dtype = torch.float32
    accumulation: int = 1
    label_smoothing: float = 0.0
    training_loss: TrainingLoss | None = None
    closed_blocks_coast: bool = False
    seed: int | None = 0
    parts: Parts = ALONE
    together: bool = False
    interleaved: Callable[[Sequence[int]], tuple[torch.Tensor, torch.Tensor]] | None = None

    def update(self, update: int) -> torch.Tensor:
        """Make the next update after ``update`` updates; return its mean loss as a tensor.

        Returns:
            scalar on the device, detached.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = self._parts_together(update) if self.together else self._parts_apart(update)
        total = self.parts.sum_gradients(self._weights, total)
        if self.closed_blocks_coast:
            for weight in self.model.parameters():
                if weight.grad is None and weight.requires_grad:
                    weight.grad = torch.zeros_like(weight)
        self.optimizer.step()
        return total

    def _parts_apart(self, update: int) -> torch.Tensor:
        """Add up the gradients of this process's parts, one after the other; return their loss."""
        total: torch.Tensor | None = None
        several = self.parts.size > 1
        with self._statistics.of_update(self.parts) if several else nullcontext():
            for part in self.parts.share(self.accumulation):
                number = update * self.accumulation + part
                images, labels = self.batches(number)
                if self.accumulation > 1 and self.seed is not None:
                    seed_part(self.seed, number)
                with self._statistics.of_part() if several else nullcontext():
                    loss = self.loss_of(images, labels)
                if self.accumulation > 1:
                    loss = loss / self.accumulation
                loss.backward()  # type: ignore[no-untyped-call]
                total = loss.detach() if total is None else total + loss.detach()
        assert total is not None
        return total

    def _parts_together(self, update: int) -> torch.Tensor:
        """Compute the gradients of this process's parts in one pass; return their loss."""
        numbers = [
            update * self.accumulation + part for part in self.parts.share(self.accumulation)
        ]
        if self.interleaved is not None:
            images, labels = self.interleaved(numbers)
        else:
            images, labels = interleave([self.batches(number) for number in numbers])
        if len(numbers) == 1 < self.accumulation and self.seed is not None:
            seed_part(self.seed, numbers[0])
        with self._statistics.of_update(self.parts), self._norms.forward_pass():
            loss = self.loss_of(images, labels)
        if len(numbers) < self.accumulation:
            loss = loss * (len(numbers) / self.accumulation)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def loss_of(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the training loss of a batch, a scalar."""
        with autocast(images.device, self.precision):
            if self.training_loss is not None:
                return self.training_loss(images, labels, label_smoothing=self.label_smoothing)
            logits_BC = self.model(images)
            return functional.cross_entropy(
                logits_BC.float(), labels, label_smoothing=self.label_smoothing
            )

    @functools.cached_property
    def _statistics(self) -> RunningStatistics:
        return RunningStatistics(self.model)

    @functools.cached_property
    def _norms(self) -> PartwiseNorms:
        num_parts = len(self.parts.share(self.accumulation))
        return PartwiseNorms(self.model, self._statistics, num_parts)

    @functools.cached_property
    def _weights(self) -> list[torch.Tensor]:
        return [weight for weight in self.model.parameters() if weight.requires_grad]


def evenly_spread(count: int, total_steps: int) -> list[int]:
    """Return at most ``count`` updates, evenly spread, the last one at ``total_steps``.

    >>> evenly_spread(4, 10)
    [2, 5, 8, 10]
    """
    return sorted({max(1, round(i * total_steps / count)) for i in range(1, count + 1)})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Status of a run and the number of updates made."""

    status: Status
    updates: int


class Training:
    """One run, from any update to its end, which can be stopped and resumed.

    ``record`` gets one dict for each logged update: ``update`` (updates made by then), ``lr`` and
    ``momentum`` (those of the last update made), ``loss`` (mean over the updates since the record
    before) and, where measured, ``<split>_accuracy_pct``, ``<split>_top5_accuracy_pct`` and
    ``<split>_loss``. It has no wall time, so that a resumed run writes the same bytes as one
    that was never stopped.

    Args:
        learner: makes the updates.
        scheduled: the schedule on ``learner.optimizer``.
        total_steps: updates of the whole run.
        log_at: updates after which a record is made; the loss is read from the device only then.
        evaluate_at: updates after which ``evaluate`` is called, a subset of ``log_at``.
        evaluate: measures the model on the images of ``split``.
        split: names these images in the record: ``test`` or ``held_out``.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        scheduled: ScheduledLR,
        total_steps: int,
        log_at: Sequence[int],
        evaluate_at: Sequence[int],
        evaluate: Callable[[], Measurement],
        split: str = "test",
    ) -> None:
        self.learner = learner
        self.scheduled = scheduled
        self.total_steps = total_steps
        self.split = split
        self._evaluate_at = set(evaluate_at)
        self._log_at = set(log_at) | self._evaluate_at | {total_steps}
        self._evaluate = evaluate
        self._loss_sum: torch.Tensor | None = None
        self._losses = 0

    @property
    def update(self) -> int:
        """Updates made so far."""
        return self.scheduled.update

    def run(
        self,
        *,
        record: Callable[[Record], None],
        between: Callable[[int], bool] = lambda _update: True,
    ) -> Outcome:
        """Train to the end, until the loss is not finite, or until stopped.

        Args:
            record: called with each record.
            between: called after each update with the updates made; False stops the run there
                (a checkpoint may be taken inside it: everything is consistent).
        """
        return result_of(self.updates(record=record, between=between))

    def updates(
        self, *, record: Callable[[Record], None], between: Callable[[int], bool]
    ) -> Generator[None, None, Outcome]:
        """Train as :meth:`run` does, an update at each step."""
        if not self.learner.model.training:  # modules frozen with .eval() stay frozen
            self.learner.model.train()
        while self.update < self.total_steps:
            loss = self.learner.update(self.update)
            self.scheduled.step()
            self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
            self._losses += 1
            if self.update in self._log_at and not self._log(record):
                return Outcome(status="diverged", updates=self.update)
            if not between(self.update) and self.update < self.total_steps:
                return Outcome(status="stopped", updates=self.update)
            yield
        return Outcome(status="finished", updates=self.update)

    def _log(self, record: Callable[[Record], None]) -> bool:
        """Make one record; return False if a loss, of training or ``split``, is not finite."""
        assert self._loss_sum is not None
        loss = self._loss_sum.item() / self._losses
        self._loss_sum, self._losses = None, 0
        made = self.update - 1
        line: Record = {"update": self.update, "lr": self.scheduled.schedule(made)}
        if self.scheduled.momentum is not None:
            line["momentum"] = self.scheduled.momentum(made)
        elif (momentum := constant_momentum(self.learner.optimizer)) is not None:
            line["momentum"] = momentum
        finite = math.isfinite(loss)
        if finite:
            line["loss"] = loss
        if finite and self.update in self._evaluate_at:
            measured = self._evaluate()
            line[f"{self.split}_accuracy_pct"] = measured.accuracy_pct
            if measured.top5_accuracy_pct is not None:
                line[f"{self.split}_top5_accuracy_pct"] = measured.top5_accuracy_pct
            finite = math.isfinite(measured.loss)  # the last update may have broken the weights
            if finite:
                line[f"{self.split}_loss"] = measured.loss
        record(line)
        return finite

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint, loadable with ``weights_only=True``."""
        return {
            "model": self.learner.model.state_dict(),
            "optimizer": self.learner.optimizer.state_dict(),
            "scheduled": self.scheduled.state_dict(),
            "random": random_state(),
            "loss_sum": self._loss_sum,
            "losses": self._losses,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the update of a :meth:`state_dict`."""
        self.learner.model.load_state_dict(state["model"])
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self.scheduled.load_state_dict(state["scheduled"])
        self._loss_sum = state["loss_sum"]
        self._losses = state["losses"]
        restore_random_state(state["random"])


def result_of(steps: Generator[None, None, T]) -> T:
    """Take all steps of a generator; return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def constant_momentum(optimizer: torch.optim.Optimizer) -> float | None:
    """Return the first group's momentum, or Adam's beta1, or None if the optimizer has neither."""
    group = optimizer.param_groups[0]
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None
