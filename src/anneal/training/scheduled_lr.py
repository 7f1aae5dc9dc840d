"""``ScheduledLR``: a torch ``LRScheduler`` driven by a pure function of the update.

>>> import torch
>>> from anneal import ScheduledLR, triangular
>>> weight = torch.nn.Parameter(torch.zeros(1))
>>> optimizer = torch.optim.SGD([weight], lr=0.1)
>>> rates = ScheduledLR(optimizer, triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2))
>>> for _ in range(4):
...     print(rates.update, optimizer.param_groups[0]["lr"])
...     optimizer.step()
...     rates.step()
0 1.0
1 3.0
2 5.0
3 3.0
"""

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.optim.lr_scheduler import EPOCH_DEPRECATION_WARNING, LRScheduler

from anneal import schedules
from anneal.schedules.schedule import check_count, check_integer, check_number, check_rate
from anneal.training.group_rates import (
    RATIO_KEY,
    check_has_momentum,
    find_ratios,
    own_rate,
    readable,
    separate_rates,
    set_momentum,
    set_value,
)
from anneal.training.schedule_state import are_close, describe, refuse_another

NOT_STARTED = -1  # the update of one that waits in a SequentialLR, as torch counts


class ScheduledLR(LRScheduler):
    """Sets the learning rate of a torch optimizer, and its momentum if asked, before every update.

    Making it sets the rates for update 0. Call ``step()`` once after each ``optimizer.step()``, per
    update and not per epoch, micro-batch or process, and not when a gradient scaler has skipped
    the update: one call is one update.

    It is an ``LRScheduler`` of torch, so frameworks that check for one, ``SequentialLR`` and
    callbacks that read ``last_epoch``, ``base_lrs`` or ``get_last_lr()`` take it. It keeps no
    running product: the rate of an update is ``schedule(update)``, whatever happened before.

    The rate of a parameter group is the schedule's times the group's ratio:

    - 1 for every group where all have the same rate of their own, whatever that is;
    - with different rates, each group's own rate over the optimizer's default: with
      ``SGD([{"params": a}, {"params": b, "lr": 0.02}], lr=0.01)`` group b has twice the schedule's
      value. Where no group has the default rate the ratios are ambiguous and must be given;
    - times the group's ``lr_scale``, which timm's layer decay sets.

    A group's own rate is the one before any scheduler: ``initial_lr`` where one of torch's left it,
    as in the checkpoint of a finished run. A group that is added later keeps its ``lr`` until the
    next ``step()``, which gives it the schedule's rate times its ratio: its ``lr`` over the
    optimizer's default rate, not over the rate in force then, and 1 where it names none. To say the
    ratio itself, add the group with ``"scheduled_lr_ratio": 0.1``.

    A rate that somebody else changes between two steps is refused by the next ``step()``. In a
    ``ChainedScheduler`` that is any other scheduler: each would undo the other.

    Momentum is left alone unless ``momentum`` is given; torch's ``CyclicLR`` and ``OneCycleLR``
    cycle it unasked, which is not what CLR's experiments did.

    Args:
        optimizer: The optimizer. Tensor rates (``capturable=True``) are filled in place.
        schedule: Updates already made -> learning rate: one of ``anneal.schedules`` or any pure
            function of an integer, called in no particular order.
        momentum: The same for the optimizer's ``momentum``, or its first beta if it has betas,
            with values in [0, 1]; None leaves both alone.
        ratios: Of each parameter group's rate to the schedule's, at least 0; None: as above.

    Raises:
        ValueError: The optimizer has no parameter groups, a schedule is not callable or returns
            something else than a finite value in range, the optimizer has no momentum and no betas
            to set, or the ratios are ambiguous. Nothing has been changed then.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[int], float],
        *,
        momentum: Callable[[int], float] | None = None,
        ratios: Sequence[float] | None = None,
    ) -> None:
        # LRScheduler.__init__ is not called: it would put a closure in place of optimizer.step,
        # which neither pickles nor deep-copies, to warn of an order that is of no matter here.
        if not hasattr(optimizer, "param_groups"):
            raise ValueError(
                f"optimizer must be an optimizer of torch, got {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        self._schedule = _check_callable("schedule", schedule)
        self._momentum = None if momentum is None else _check_callable("momentum", momentum)
        default_lr = optimizer.defaults.get("lr")
        self._default_lr = None if default_lr is None else float(default_lr)
        # Sampled now and not when the first checkpoint is written: a function that cannot be
        # sampled must fail before the training, not in the middle of it.
        self._description = describe(self._schedule)
        self._momentum_description = None if momentum is None else describe(momentum)
        groups = optimizer.param_groups
        self._ratios: list[float] = []
        self._set: list[float | None] = []
        self._step_count = 0
        self._update = NOT_STARTED
        self._last_momentum: float | None = None
        self._last_lr: list[float | torch.Tensor] = []
        self.base_lrs: list[float | torch.Tensor] = []
        self._apply(0, find_ratios(groups, default_lr=self._default_lr, given=ratios))

    @property
    def update(self) -> int:
        """The number of updates made: the index that the rates now in the optimizer belong to."""
        return self._update

    @property
    def last_epoch(self) -> int:
        """The same under torch's name; ``SequentialLR`` sets it, to -1 before the start."""
        return self._update

    @last_epoch.setter
    def last_epoch(self, update: int) -> None:
        self._update = check_integer("last_epoch", update)

    @property
    def schedule(self) -> Callable[[int], float]:
        """The schedule of the rate."""
        return self._schedule

    @property
    def momentum(self) -> Callable[[int], float] | None:
        """The schedule of the momentum, or None when momentum is left alone."""
        return self._momentum

    @property
    def last_lr(self) -> list[float]:
        """The learning rates now in the optimizer, one per parameter group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    @property
    def last_momentum(self) -> float | None:
        """The momentum last set, or None when momentum is left alone."""
        return self._last_momentum

    def get_last_lr(self) -> list[float | torch.Tensor]:
        """Return the rates last set, one per parameter group."""
        return list(self._last_lr)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates of the schedule at the current update, one per parameter group.

        Raises:
            ValueError: This scheduler sets momentum too, which a caller that sets the rates itself,
                as Ignite's wrapper does, would leave alone.
        """
        if self._momentum is not None:
            raise ValueError(
                "get_lr() gives rates alone and must not be asked of a ScheduledLR with momentum: "
                "call step(), which sets both, or read get_last_lr()"
            )
        lr = check_rate(f"schedule({self._update})", self._schedule(self._update))
        return [lr * ratio for ratio in self._ratios]

    # Traced together with the optimizer's step, it would make three graphs out of one.
    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's own, untyped
    def step(self, epoch: int | None = None) -> None:
        """Count one update and set the rates for the next.

        Args:
            epoch: Deprecated, as torch deprecates it: goes to that update instead.

        Raises:
            ValueError: Somebody else has changed a rate since the last step.
        """
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
            self.set_update(epoch)
            return
        self._refuse_foreign_rates()
        self._apply(self._update + 1, self._find_ratios())

    def set_update(self, update: int) -> None:
        """Set the rates as if ``update`` updates had been made.

        Raises:
            ValueError: ``update`` is negative or not an integer. Nothing has been changed then.
        """
        self._apply(check_count("update", update), self._find_ratios())

    def state_dict(self) -> dict[str, Any]:
        """Return the update, the schedules' descriptions and the ratios, as numbers and strings.

        Loads with ``torch.load(..., weights_only=True)``, and is JSON too. ``in_force`` says
        whether the rates in the optimizer are this scheduler's: in a ``SequentialLR`` they may be
        another's.
        """
        return {
            "update": self._update,
            "schedule": copy.deepcopy(self._description),
            "momentum": copy.deepcopy(self._momentum_description),
            "ratios": list(self._ratios),
            "in_force": self._update != NOT_STARTED and not self._foreign_rates(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the update of ``state`` and set the optimizer's rates for it.

        The rates stay where the state's were not in force.

        Raises:
            ValueError: ``state`` is not a ScheduledLR's, or belongs to another schedule, momentum
                or set of parameter groups. Nothing has been changed then.
        """
        expected = self.state_dict()
        state = {"in_force": True, **state} if isinstance(state, Mapping) else state
        if not isinstance(state, Mapping) or state.keys() != expected.keys():
            raise ValueError(f"state must have the keys {sorted(expected)}, got {state!r}")
        in_force = state["in_force"]
        if not isinstance(in_force, bool):
            raise ValueError(f"in_force of the state must be True or False, got {in_force!r}")
        check = check_count if in_force else check_integer
        update = check("update of the state", state["update"])
        refuse_another("schedule", saved=state["schedule"], own=self._description)
        refuse_another("momentum", saved=state["momentum"], own=self._momentum_description)
        ratios = self._find_ratios()
        if not are_close(state["ratios"], ratios):
            raise ValueError(
                "ratios of the parameter groups to the schedule must be those of the state, "
                f"{state['ratios']!r}, got {ratios!r}"
            )
        if in_force:
            self._apply(update, ratios)
        else:
            self._update = update

    def _initial_step(self) -> None:
        """Set the rates of update 0; ``SequentialLR`` calls it on its first scheduler."""
        self._apply(0, self._find_ratios())

    def _update_lr(self, epoch: int | None = None) -> None:
        """Go to an update; ``SequentialLR`` calls it at a milestone."""
        self._apply(self._update + 1 if epoch is None else epoch, self._find_ratios())

    def _find_ratios(self) -> list[float]:
        """Return the ratios known so far, and those of groups that were added since."""
        groups = self.optimizer.param_groups
        return find_ratios(groups, default_lr=self._default_lr, known=self._ratios)

    def _apply(self, update: int, ratios: list[float]) -> None:
        """Compute everything for ``update`` first, then set it: all or nothing."""
        groups = self.optimizer.param_groups
        lr = check_rate(f"schedule({update})", self._schedule(update))
        momentum = None
        if self._momentum is not None:
            momentum = check_number(f"momentum({update})", self._momentum(update))
            if not 0 <= momentum <= 1:
                raise ValueError(f"momentum({update}) must be in [0, 1], got {momentum!r}")
            check_has_momentum(groups)
        if len(ratios) > len(self._ratios):
            self._adopt(first=len(self._ratios))
        for group, ratio in zip(groups, ratios, strict=True):
            group[RATIO_KEY] = ratio
            set_value(group, "lr", lr * ratio)
            if momentum is not None:
                set_momentum(group, momentum)
        self._ratios = ratios
        self._set = [readable(group["lr"]) for group in groups]
        self._last_lr = [lr * ratio for ratio in ratios]
        self._update = update
        self._last_momentum = momentum
        self._step_count += 1

    def _adopt(self, *, first: int) -> None:
        """Give new groups rate tensors of their own, and torch's ``initial_lr``."""
        separate_rates(self.optimizer, first=first)
        groups = self.optimizer.param_groups
        for index in range(first, len(groups)):
            own = own_rate(groups, index)
            groups[index].setdefault("initial_lr", own)
            self.base_lrs.append(own)

    def _foreign_rates(self) -> list[int]:
        """Return the groups whose rate is not the one set last; a rate on another device passes."""
        return [
            index
            for index, (group, ours) in enumerate(
                zip(self.optimizer.param_groups, self._set, strict=False)
            )
            if ours is not None and readable(group["lr"]) != ours
        ]

    def _refuse_foreign_rates(self) -> None:
        for index in self._foreign_rates():
            raise ValueError(
                f"parameter group {index} must have the rate {self._set[index]!r} that ScheduledLR "
                f"set for update {self._update}, got {self.last_lr[index]!r}: another scheduler or "
                "a line of the program changed it. Leave rates to one scheduler (SequentialLR runs "
                "several one after another), or make a new ScheduledLR; "
                f"set_update({self._update + 1}) goes on with the schedule's rates"
            )


def _check_callable(name: str, value: Callable[[int], float]) -> Callable[[int], float]:
    if not callable(value):
        raise ValueError(f"{name} must be a schedule or a function of the update, got {value!r}")
    if inspect.isfunction(value) and getattr(schedules, value.__name__, None) is value:
        arguments = str(inspect.signature(value)).partition(" -> ")[0]
        raise ValueError(
            f"{name} must be a schedule, got the function {value.__name__}: call it with its "
            f"arguments, {value.__name__}{arguments}"
        )
    return value
