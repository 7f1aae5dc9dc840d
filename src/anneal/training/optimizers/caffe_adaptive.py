"""Caffe's adaptive solvers: Adam, RMSProp, AdaGrad, AdaDelta.

Where they differ from torch's optimizers of the same name: ``anneal.training.optimizers.caffe``.
"""

from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from anneal.training.optimizers.caffe import (
    CaffeOptimizer,
    Parameters,
    Tensors,
    add_scaled,
    as_factor,
    check_fraction,
    check_not_negative,
    history,
)

__all__ = ["CaffeAdaDelta", "CaffeAdaGrad", "CaffeAdam", "CaffeRMSProp"]

DELTA: Final = 1e-8  # caffe.proto's default for every solver that has one


def _refuse_momentum(solver: str, momentum: float) -> None:
    if momentum != 0:
        raise ValueError(
            f"momentum cannot be used with {solver}, got {momentum} (Caffe's own check)"
        )


def _subtract_quotients(
    weights: Tensors,
    dividends: Tensors,
    divisors: Tensors,
    factor: float | Tensor,
) -> None:
    """Subtract ``factor * dividends / divisors`` in place.

    With a tensor, CUDA rounds ``factor * dividends`` by itself; with a number, the quotient.
    """
    if isinstance(factor, Tensor):
        scaled = torch._foreach_mul(dividends, as_factor(-factor, dividends))
        torch._foreach_addcdiv_(weights, scaled, divisors)
    else:
        torch._foreach_addcdiv_(weights, dividends, divisors, value=-factor)


class CaffeAdam(CaffeOptimizer):
    """Caffe's ``Adam`` (adam_solver.cpp): beta1 is ``momentum``, beta2 is ``momentum2``.

    ``m = b1 * m + (1 - b1) * g``, ``v = b2 * v + (1 - b2) * g^2`` and, t counting updates from 1,
    ``w -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + delta)``. A scheduled ``momentum``
    enters the correction with its present value, as Caffe's formula has it.

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        momentum: beta1. Required: Caffe's default, 0, would turn the first moment off unasked.
        momentum2: beta2.
        delta: Added to the root of the second moment.
        weight_decay: L2 decay, added to the gradient (so it is scaled like the gradient, unlike
            AdamW's).
    """

    state_names = ("first_moment", "second_moment")
    takes_tensors: ClassVar[bool] = False  # it counts updates on the host

    def __init__(
        self,
        params: Parameters,
        lr: float,
        *,
        momentum: float,
        momentum2: float = 0.999,
        delta: float = DELTA,
        weight_decay: float = 0.0,
    ) -> None:
        check_not_negative(lr=lr, delta=delta, weight_decay=weight_decay)
        check_fraction(momentum=momentum, momentum2=momentum2)
        defaults = {"lr": lr, "momentum": momentum, "momentum2": momentum2, "delta": delta}
        super().__init__(params, defaults | {"weight_decay": weight_decay})

    def update(  # noqa: D102 - the class says it
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        beta1, beta2 = group["momentum"], group["momentum2"]
        first, second = history(states, "first_moment"), history(states, "second_moment")
        torch._foreach_mul_(first, beta1)
        torch._foreach_add_(first, gradients, alpha=1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - beta2)
        rates = []
        for state in states:
            state["num_updates"] = state.get("num_updates", 0) + 1
            num_updates = state["num_updates"]
            correction = (1 - beta2**num_updates) ** 0.5 / (1 - beta1**num_updates)
            rates.append(-group["lr"] * correction)
        divisors = torch._foreach_sqrt(second)
        torch._foreach_add_(divisors, group["delta"])
        torch._foreach_addcdiv_(weights, first, divisors, rates)


class CaffeRMSProp(CaffeOptimizer):
    """Caffe's ``RMSProp``: ``h = d * h + (1 - d) * g^2``, ``w -= lr * g / (sqrt(h) + delta)``.

    rmsprop_solver.cpp.

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        rms_decay: d; 0.99 in caffe.proto, 0.98 in some of Caffe's example solvers.
        delta: Added to the root.
        momentum: Must be 0, as in Caffe.
        weight_decay: L2 decay.
    """

    state_names = ("squared_gradients",)

    def __init__(
        self,
        params: Parameters,
        lr: float,
        *,
        rms_decay: float = 0.99,
        delta: float = DELTA,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        check_not_negative(lr=lr, delta=delta, weight_decay=weight_decay)
        check_fraction(rms_decay=rms_decay)
        _refuse_momentum("CaffeRMSProp", momentum)
        defaults = {"lr": lr, "rms_decay": rms_decay, "delta": delta}
        super().__init__(params, defaults | {"weight_decay": weight_decay})

    def update(  # noqa: D102 - the class says it
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        squares = history(states, "squared_gradients")
        torch._foreach_mul_(squares, group["rms_decay"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["rms_decay"])
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_add_(divisors, group["delta"])
        _subtract_quotients(weights, gradients, divisors, group["lr"])


class CaffeAdaGrad(CaffeOptimizer):
    """Caffe's ``AdaGrad``: ``h = h + g^2``, ``w -= lr * g / (sqrt(h) + delta)``.

    adagrad_solver.cpp.

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        delta: Added to the root.
        momentum: Must be 0, as in Caffe.
        weight_decay: L2 decay.
    """

    state_names = ("squared_gradients",)

    def __init__(
        self,
        params: Parameters,
        lr: float,
        *,
        delta: float = DELTA,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        check_not_negative(lr=lr, delta=delta, weight_decay=weight_decay)
        _refuse_momentum("CaffeAdaGrad", momentum)
        super().__init__(params, {"lr": lr, "delta": delta, "weight_decay": weight_decay})

    def update(  # noqa: D102 - the class says it
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        squares = history(states, "squared_gradients")
        torch._foreach_addcmul_(squares, gradients, gradients)
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_add_(divisors, group["delta"])
        _subtract_quotients(weights, gradients, divisors, group["lr"])


class CaffeAdaDelta(CaffeOptimizer):
    """Caffe's ``AdaDelta`` (adadelta_solver.cpp): the decay rate d of both averages is momentum.

    ``h = d * h + (1 - d) * g^2``, ``u = g * sqrt((delta + h2) / (delta + h))``, ``h2 = d * h2 + (1
    - d) * u^2``, ``w -= lr * u``: the average of squared updates, h2, does not see the rate.

    Args:
        params: Parameters or groups.
        lr: Learning rate; the method's authors have none, that is 1.
        momentum: d. Required: Caffe's default, 0, would keep no average at all; its examples say
            0.95.
        delta: Added to both averages, inside the root.
        weight_decay: L2 decay.
    """

    state_names = ("squared_gradients", "squared_updates")

    def __init__(
        self,
        params: Parameters,
        lr: float,
        *,
        momentum: float,
        delta: float = DELTA,
        weight_decay: float = 0.0,
    ) -> None:
        check_not_negative(lr=lr, delta=delta, weight_decay=weight_decay)
        check_fraction(momentum=momentum)
        defaults = {"lr": lr, "momentum": momentum, "delta": delta, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def update(  # noqa: D102 - the class says it
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
    ) -> None:
        decay = group["momentum"]
        squares = history(states, "squared_gradients")
        squared_updates = history(states, "squared_updates")
        torch._foreach_mul_(squares, decay)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - decay)
        updates = torch._foreach_add(squared_updates, group["delta"])
        torch._foreach_div_(updates, torch._foreach_add(squares, group["delta"]))
        torch._foreach_sqrt_(updates)
        torch._foreach_mul_(updates, gradients)
        torch._foreach_mul_(squared_updates, decay)
        torch._foreach_addcmul_(squared_updates, updates, updates, value=1 - decay)
        add_scaled(weights, updates, -group["lr"])
