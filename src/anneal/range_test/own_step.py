"""Learner of a range test that makes its updates with the caller's step function."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from anneal.training.group_rates import readable

Batch = tuple[torch.Tensor, torch.Tensor]
LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# Batches without an update: more than anybody accumulates, or a gradient scaler skips.
MOST_CALLS = 1000


class OwnStepLearner:
    """Updates made by the caller's step function on the next batches of an iterable."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Iterable[Any],
        *,
        step: Callable[[Any], torch.Tensor],
        generators: Sequence[torch.Generator],
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.generators = generators
        self._batches = batches
        self._step = step
        self._left: Iterator[Any] | None = None

    def update(self, update: int) -> torch.Tensor:
        """Call the step on batches until it makes an update; return their mean loss.

        Raises:
            ValueError: the step returns no loss, makes two updates or none, or changes a rate.
        """
        asked = [readable(group["lr"]) for group in self.optimizer.param_groups]
        num_steps = 0
        losses: list[torch.Tensor] = []

        def check(stepped: torch.optim.Optimizer, *_: object) -> None:
            nonlocal num_steps
            if stepped.param_groups is not self.optimizer.param_groups:
                return
            num_steps += 1
            for index, (rate, group) in enumerate(zip(asked, stepped.param_groups, strict=False)):
                if readable(group["lr"]) != rate:
                    raise ValueError(
                        f"parameter group {index} must have the sweep's rate {rate!r} when step "
                        f"calls optimizer.step(), got {group['lr']!r}: step must not set rates"
                    )

        hook = register_optimizer_step_pre_hook(check)
        try:
            while not num_steps:
                if len(losses) == MOST_CALLS:
                    raise ValueError(
                        f"step must call optimizer.step(), got {MOST_CALLS} batches without it"
                    )
                losses.append(_check_loss(self._step(self._next_batch(update))))
        finally:
            hook.remove()
        if num_steps > 1:
            raise ValueError(f"step must call optimizer.step() once, got {num_steps} calls")
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _next_batch(self, update: int) -> Any:
        nothing = object()
        batch = nothing if self._left is None else next(self._left, nothing)
        if batch is nothing:
            self._left = iter(self._batches)
            batch = next(self._left, nothing)
        if batch is nothing:
            raise ValueError(
                f"batches must give batches each time it is started, got none after {update} "
                "updates (a list or a loader does, an iterator does not)"
            )
        return batch


def _check_loss(loss: object) -> torch.Tensor:
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        raise ValueError(f"step must return its loss as a tensor of one number, got {loss!r}")
    return loss.detach().reshape(())


def plain_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss_function: LossFunction
) -> Callable[[Any], torch.Tensor]:
    """Return a step on pairs of inputs and labels."""

    def step(batch: Any) -> torch.Tensor:
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise ValueError(
                "a batch must be a pair of inputs and labels, got "
                f"{type(batch).__name__}; for other batches give sweep_rates a `step` of your own"
            )
        inputs, labels = to_device_of(model, (batch[0], batch[1]))
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(model(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own, untyped
        optimizer.step()
        return loss

    return step


def generators_of(batches: object) -> list[torch.Generator]:
    """Return the random streams of a ``DataLoader``: its own and its sampler's."""
    holders = (batches, getattr(batches, "sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def to_device_of(model: nn.Module, batch: Batch) -> Batch:
    """Return a pair of inputs and labels on the device of a model."""
    device = next(model.parameters()).device
    return batch[0].to(device), batch[1].to(device)
