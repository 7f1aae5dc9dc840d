"""Caffe's solvers (BVLC/caffe @9b89154, src/caffe/solvers) for Smith 2017, table 3.

Where they differ from torch's optimizers of the same name:

- The learning rate is *inside* the velocity, ``v = momentum * v + lr * g; w -= v``. torch
  multiplies by the rate of the moment, ``w -= lr * v``. With a constant rate the two are one; under
  a schedule Caffe's velocity remembers old rates.
- Nesterov: ``w -= (1 + momentum) * v_new - momentum * v_old``.
- Adam: delta is added to the root of the *uncorrected* second moment.
- AdaDelta: ``delta`` is inside both roots, and the decay rate is the solver's ``momentum``.
- RMSProp and AdaGrad refuse momentum (Caffe's CHECK).
- Weight decay is L2, added to the gradient before anything else (``Regularize``), for Adam too.

Rates and decays are read from the group at each step, and so is ``momentum``: a schedule may change
them. Rate and momentum may be tensors of no dimension, which are not read on the host, so that a
step can be captured as a CUDA graph. Caffe's multipliers ``lr_mult`` and ``decay_mult`` are
parameter groups, see ``anneal.models.parameter_groups``. Parameters without a gradient are left
alone, as everywhere in torch; Caffe's always have one.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["CaffeNesterov", "CaffeOptimizer", "CaffeSGD", "Parameters"]

Tensors = list[Tensor] | tuple[Tensor, ...]
Parameters = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


def check_not_negative(**values: float) -> None:
    """Refuse an argument below zero, or one that is no number."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}")


def check_fraction(**values: float) -> None:
    """Refuse an argument outside [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {value}")


def as_factor(factor: float | Tensor, tensors: Tensors) -> float | Tensor:
    """Return a factor of tensors; a tensor of no dimension gets their precision."""
    return factor.to(tensors[0].dtype) if isinstance(factor, Tensor) else factor


def add_scaled(tensors: Tensors, terms: Tensors, factor: float | Tensor) -> None:
    """Add ``factor * terms`` in place; both kinds of factor are rounded once, with the sum."""
    if isinstance(factor, Tensor):
        factors = [factor.to(tensors[0].dtype)] * len(tensors)
        torch._foreach_addcmul_(tensors, factors, terms)
    else:
        torch._foreach_add_(tensors, terms, alpha=factor)


class CaffeOptimizer(Optimizer):
    """One update of a Caffe solver: decay, then the rule of the subclass, group by group."""

    state_names: tuple[str, ...]
    """The history blobs: tensors like the parameter, zero at first."""

    takes_tensors: ClassVar[bool] = True
    """Whether rate and momentum may be tensors, and nothing else is read on the host."""

    def update(
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        """Apply the rule to ``weights``; ``gradients`` include the decay and must not change."""
        raise NotImplementedError

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one update.

        Args:
            closure: Evaluates the model again and returns the loss.

        Returns:
            The closure's loss, or None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            gradients = [weight.grad for weight in weights]
            states = [self.state[weight] for weight in weights]
            for weight, state in zip(weights, states, strict=True):
                if not state:
                    for name in self.state_names:
                        state[name] = torch.zeros_like(weight)
            if group["weight_decay"] != 0:
                decayed = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
                gradients = list(decayed)
            self.update(group, weights, gradients, states)
        return loss


def history(states: list[dict[str, Any]], name: str) -> list[Tensor]:
    """Return one history blob of every parameter."""
    return [state[name] for state in states]


class CaffeSGD(CaffeOptimizer):
    """Caffe's ``SGD``: ``v = momentum * v + lr * g``, ``w -= v`` (sgd_solver.cpp).

    Args:
        params: Parameters or groups.
        lr: Learning rate; a schedule may set it to 0.
        momentum: Share of the velocity that each update keeps; Caffe's default is 0, its CIFAR-10
            solvers say 0.9.
        weight_decay: L2 decay.
    """

    state_names = ("velocity",)

    def __init__(
        self, params: Parameters, lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        check_not_negative(lr=lr, weight_decay=weight_decay)
        check_fraction(momentum=momentum)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def update(  # noqa: D102 - the class says it
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        velocities = history(states, "velocity")
        torch._foreach_mul_(velocities, as_factor(group["momentum"], velocities))
        add_scaled(velocities, gradients, group["lr"])
        torch._foreach_sub_(weights, velocities)


class CaffeNesterov(CaffeSGD):
    """Caffe's ``Nesterov``: CaffeSGD's velocity, ``w -= (1 + momentum) * v - momentum * v_old``.

    "Step back, then over step" (nesterov_solver.cpp). Arguments as for ``CaffeSGD``.
    """

    def update(  # noqa: D102 - the class says it
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        momentum = group["momentum"]
        velocities = history(states, "velocity")
        updates = torch._foreach_mul(velocities, as_factor(-momentum, velocities))
        torch._foreach_mul_(velocities, as_factor(momentum, velocities))
        add_scaled(velocities, gradients, group["lr"])
        add_scaled(updates, velocities, 1 + momentum)
        torch._foreach_sub_(weights, updates)
