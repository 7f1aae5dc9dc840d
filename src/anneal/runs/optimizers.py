"""Registry of optimizers: constructor, arguments, momentum key, fused step.

Each has a dataclass of arguments, named as in ``conf/optimizer``. Its file gives every argument, so
no default of this code or of torch is implied. Importing this module does not import torch, which a
plan does not need.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Literal

from anneal.config.schema import OptimizerConfig, SchedulerConfig
from anneal.config.strict import FRACTION, POSITIVE, Rule, parse
from anneal.io.text import did_you_mean

if TYPE_CHECKING:
    import torch

BETAS = Rule(
    "must be two numbers in [0, 1)", lambda v: len(v) == 2 and all(0 <= beta < 1 for beta in v)
)
DAMPENING = Rule("must be in [0, 1]", lambda v: 0 <= v <= 1)


@dataclass(frozen=True, kw_only=True)
class CaffeSGDArguments:
    """Of ``caffe_sgd``."""

    momentum: Annotated[float, FRACTION]


@dataclass(frozen=True, kw_only=True)
class CaffeNesterovArguments:
    """Of ``caffe_nesterov``."""

    momentum: Annotated[float, FRACTION]


@dataclass(frozen=True, kw_only=True)
class CaffeAdamArguments:
    """Of ``caffe_adam``."""

    momentum: Annotated[float, FRACTION]  # beta1
    momentum2: Annotated[float, FRACTION]  # beta2
    delta: Annotated[float, POSITIVE]  # at 0 a weight without gradient would become 0 / 0


@dataclass(frozen=True, kw_only=True)
class CaffeRMSPropArguments:
    """Of ``caffe_rmsprop``."""

    rms_decay: Annotated[float, FRACTION]
    delta: Annotated[float, POSITIVE]


@dataclass(frozen=True, kw_only=True)
class CaffeAdaGradArguments:
    """Of ``caffe_adagrad``."""

    delta: Annotated[float, POSITIVE]


@dataclass(frozen=True, kw_only=True)
class CaffeAdaDeltaArguments:
    """Of ``caffe_adadelta``."""

    momentum: Annotated[float, FRACTION]  # the decay rate of both averages
    delta: Annotated[float, POSITIVE]


@dataclass(frozen=True, kw_only=True)
class SGDArguments:
    """Of torch's ``sgd``."""

    momentum: Annotated[float, FRACTION]
    dampening: Annotated[float, DAMPENING]
    nesterov: bool  # needs a momentum, and no dampening


@dataclass(frozen=True, kw_only=True)
class AdamArguments:
    """Of torch's ``adam``."""

    betas: Annotated[tuple[float, ...], BETAS]
    eps: Annotated[float, POSITIVE]
    amsgrad: bool


@dataclass(frozen=True, kw_only=True)
class AdamWArguments:
    """Of torch's ``adamw``."""

    betas: Annotated[tuple[float, ...], BETAS]
    eps: Annotated[float, POSITIVE]
    amsgrad: bool


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry:
    """Registry entry of one optimizer.

    Args:
        arguments: dataclass of the arguments of its constructor, without parameters, rate and
            weight decay.
        constructor: returns the class; a function, so that torch is imported on use.
        momentum: key of its parameter groups that a momentum schedule sets; None if there is none.
        fused: whether its class takes ``fused``, a faster step on the CPU and on CUDA.
    """

    arguments: type
    constructor: Callable[[], "Callable[..., torch.optim.Optimizer]"]
    momentum: Literal["momentum", "betas"] | None
    fused: bool = False


def _caffe() -> ModuleType:
    from anneal.training import optimizers

    return optimizers


def _torch() -> ModuleType:
    from torch import optim

    return optim


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "caffe_sgd": OptimizerEntry(
        arguments=CaffeSGDArguments, constructor=lambda: _caffe().CaffeSGD, momentum="momentum"
    ),
    "caffe_nesterov": OptimizerEntry(
        arguments=CaffeNesterovArguments,
        constructor=lambda: _caffe().CaffeNesterov,
        momentum="momentum",
    ),
    "caffe_adam": OptimizerEntry(
        arguments=CaffeAdamArguments, constructor=lambda: _caffe().CaffeAdam, momentum="momentum"
    ),
    "caffe_rmsprop": OptimizerEntry(
        arguments=CaffeRMSPropArguments, constructor=lambda: _caffe().CaffeRMSProp, momentum=None
    ),
    "caffe_adagrad": OptimizerEntry(
        arguments=CaffeAdaGradArguments, constructor=lambda: _caffe().CaffeAdaGrad, momentum=None
    ),
    # Its `momentum` is the decay of its averages, not a momentum of the update.
    "caffe_adadelta": OptimizerEntry(
        arguments=CaffeAdaDeltaArguments, constructor=lambda: _caffe().CaffeAdaDelta, momentum=None
    ),
    "sgd": OptimizerEntry(
        arguments=SGDArguments, constructor=lambda: _torch().SGD, momentum="momentum", fused=True
    ),
    "adam": OptimizerEntry(
        arguments=AdamArguments, constructor=lambda: _torch().Adam, momentum="betas", fused=True
    ),
    "adamw": OptimizerEntry(
        arguments=AdamWArguments, constructor=lambda: _torch().AdamW, momentum="betas", fused=True
    ),
}


def check_optimizer(config: OptimizerConfig) -> None:
    """Check that the optimizer exists and has exactly its arguments, all in range.

    Raises:
        ValueError: names the file, the key, the rule and the nearest valid name.
    """
    where = f"conf/optimizer/{config.name}.yaml"
    if config.name not in OPTIMIZERS:
        raise ValueError(
            f"{where}: optimizer.name must be an optimizer, got '{config.name}'"
            f"{did_you_mean(config.name, OPTIMIZERS)}"
        )
    arguments = OPTIMIZERS[config.name].arguments
    given: object = parse(arguments, config.arguments, where=where, key="optimizer")
    if isinstance(given, SGDArguments) and given.nesterov:
        if given.momentum == 0:
            raise ValueError(f"{where}: optimizer.nesterov needs a momentum above 0, got 0")
        if given.dampening != 0:
            raise ValueError(
                f"{where}: optimizer.nesterov needs a dampening of 0, got {given.dampening}"
            )


def has_momentum(name: str) -> bool:
    """Return whether a schedule may set the momentum (or first beta) of an optimizer."""
    return name in OPTIMIZERS and OPTIMIZERS[name].momentum is not None


def check_momentum_schedule(scheduler: SchedulerConfig, optimizer: OptimizerConfig) -> None:
    """Check that a momentum schedule has a momentum to set.

    Raises:
        ValueError: names the scheduler's file, the key and the optimizers that have one.
    """
    if scheduler.momentum is not None and not has_momentum(optimizer.name):
        raise ValueError(
            f"conf/scheduler/{scheduler.name}.yaml: scheduler.momentum must be null with the "
            f"optimizer {optimizer.name}, which has no momentum; those with one are "
            f"{', '.join(name for name in sorted(OPTIMIZERS) if has_momentum(name))}"
        )
