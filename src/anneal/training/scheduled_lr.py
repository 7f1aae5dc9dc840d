"""A schedule for somebody else's training loop: set a torch optimizer's rates from it.

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
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from anneal.schedules.schedule import Schedule, check_count, check_number, check_rate

# Where a function without a description is sampled: from the first update to a million, close
# enough for a change of bounds, of cycle length or of total length to show.
SAMPLED_UPDATES = (0, *(n * 10**power for power in range(6) for n in (1, 2, 3, 5, 7)), 10**6)
# The saved values may come from another machine, whose pow and cos differ in the last bits.
SAMPLED_RTOL = 1e-9

# Written into each parameter group, and so into the optimizer's own state_dict: a second
# ScheduledLR, or one that is made after optimizer.load_state_dict, finds the ratio there instead of
# taking a rate in the middle of a schedule for the group's own.
RATIO_KEY = "scheduled_lr_ratio"


class ScheduledLR:
    """Sets the learning rate of a torch optimizer, and its momentum if asked, before every update.

    Making it sets the rates for update 0. Call ``step()`` once after each ``optimizer.step()``, per
    update and not per epoch, micro-batch or process, and not when a gradient scaler has skipped
    the update: one call is one update.

    With several parameter groups each keeps its ratio to the optimizer's default rate, as it was
    when the ScheduledLR was made: with ``SGD([{"params": a}, {"params": b, "lr": 0.02}], lr=0.01)``
    group b always has twice the schedule's value. An optimizer that was given no ``lr`` still has a
    default rate (1e-3 for SGD and Adam), and the ratios are to that one.

    Momentum is left alone unless ``momentum`` is given; torch's ``CyclicLR`` and ``OneCycleLR``
    cycle it unasked, which is not what CLR's experiments did.

    Args:
        optimizer: The optimizer. Tensor rates (``capturable=True``) are filled in place.
        schedule: Updates already made -> learning rate: one of ``anneal.schedules`` or any pure
            function of an integer, called in no particular order.
        momentum: The same for the optimizer's ``momentum``, or its first beta if it has betas,
            with values in [0, 1]; None leaves both alone.

    Raises:
        ValueError: A schedule is not callable or returns something else than a finite value in
            range, the optimizer has no momentum and no betas to set, or a ratio to the default
            rate does not exist. Nothing has been changed then.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[int], float],
        *,
        momentum: Callable[[int], float] | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._schedule = _check_callable("schedule", schedule)
        self._momentum = None if momentum is None else _check_callable("momentum", momentum)
        default_lr = optimizer.defaults.get("lr")
        self._default_lr = None if default_lr is None else float(default_lr)
        # Sampled now and not when the first checkpoint is written: a function that cannot be
        # sampled must fail before the training, not in the middle of it.
        self._description = _describe(self._schedule)
        self._momentum_description = None if momentum is None else _describe(momentum)
        self._ratios: list[float] = []
        self._update = 0
        self._last_momentum: float | None = None
        self._apply(0)

    @property
    def update(self) -> int:
        """The number of updates made: the index that the rates now in the optimizer belong to."""
        return self._update

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
        return [float(group["lr"]) for group in self._optimizer.param_groups]

    @property
    def last_momentum(self) -> float | None:
        """The momentum last set, or None when momentum is left alone."""
        return self._last_momentum

    def step(self) -> None:
        """Count one update and set the rates for the next."""
        self._apply(self._update + 1)

    def set_update(self, update: int) -> None:
        """Set the rates as if ``update`` updates had been made.

        Raises:
            ValueError: ``update`` is negative or not an integer. Nothing has been changed then.
        """
        self._apply(check_count("update", update))

    def state_dict(self) -> dict[str, Any]:
        """Return the update, what the schedules are and the ratios, as plain numbers and strings.

        Loads with ``torch.load(..., weights_only=True)``, and is JSON too.
        """
        return {
            "update": self._update,
            "schedule": copy.deepcopy(self._description),
            "momentum": copy.deepcopy(self._momentum_description),
            "ratios": list(self._ratios),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the update of ``state`` and set the optimizer's rates for it.

        Raises:
            ValueError: ``state`` is not a ScheduledLR's, or belongs to another schedule, momentum
                or set of parameter groups. Nothing has been changed then.
        """
        expected = self.state_dict()
        if not isinstance(state, Mapping) or state.keys() != expected.keys():
            raise ValueError(f"state must have the keys {sorted(expected)}, got {state!r}")
        update = check_count("update of the state", state["update"])
        _refuse_another("schedule", saved=state["schedule"], own=self._description)
        _refuse_another("momentum", saved=state["momentum"], own=self._momentum_description)
        if not _are_close(state["ratios"], self._ratios):
            raise ValueError(
                "ratios of the parameter groups to the default rate must be those of the state, "
                f"{state['ratios']!r}, got {self._ratios!r}"
            )
        self._apply(update)

    def _apply(self, update: int) -> None:
        """Compute everything for ``update`` first, then set it: all or nothing."""
        groups = self._optimizer.param_groups
        ratios = self._find_ratios(groups)
        lr = check_rate(f"schedule({update})", self._schedule(update))
        momentum = None
        if self._momentum is not None:
            momentum = check_number(f"momentum({update})", self._momentum(update))
            if not 0 <= momentum <= 1:
                raise ValueError(f"momentum({update}) must lie in [0, 1], got {momentum!r}")
            _check_momentum_exists(groups)
        for group, ratio in zip(groups, ratios, strict=True):
            group[RATIO_KEY] = ratio
            _set_value(group, "lr", lr * ratio)
            if momentum is not None:
                _set_momentum(group, momentum)
        self._ratios = ratios
        self._update = update
        self._last_momentum = momentum

    def _find_ratios(self, groups: list[dict[str, Any]]) -> list[float]:
        """Return the ratios known so far, and those of groups that were added since."""
        ratios = list(self._ratios)
        ratios += [self._find_ratio(groups, index) for index in range(len(ratios), len(groups))]
        return ratios

    def _find_ratio(self, groups: list[dict[str, Any]], index: int) -> float:
        group = groups[index]
        if RATIO_KEY in group:
            return float(group[RATIO_KEY])
        if group.get("lr") is None:
            raise ValueError(f"parameter group {index} must have an lr, got {sorted(group)}")
        lr = float(group["lr"])
        if self._default_lr:
            return lr / self._default_lr
        if all(other.get("lr") is not None and float(other["lr"]) == lr for other in groups):
            return 1.0
        raise ValueError(
            "the optimizer's default lr must be positive when its parameter groups have rates of "
            f"their own, got {self._default_lr!r}"
        )


def _check_callable(name: str, value: Callable[[int], float]) -> Callable[[int], float]:
    if not callable(value):
        raise ValueError(f"{name} must be a schedule or a function of the update, got {value!r}")
    return value


def _check_momentum_exists(groups: list[dict[str, Any]]) -> None:
    for index, group in enumerate(groups):
        if "momentum" not in group and "betas" not in group:
            raise ValueError(
                f"momentum must be None for an optimizer with neither momentum nor betas, "
                f"got a schedule and parameter group {index} with {sorted(group)}"
            )


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "momentum" in group:
        _set_value(group, "momentum", momentum)
        return
    beta1, *others = group["betas"]
    if isinstance(beta1, torch.Tensor):
        beta1.fill_(momentum)
    else:
        group["betas"] = (momentum, *others)


def _set_value(group: dict[str, Any], key: str, value: float) -> None:
    current = group[key]
    if isinstance(
        current, torch.Tensor
    ):  # a captured graph or compiled step reads this very tensor
        current.fill_(value)
    else:
        group[key] = value


def _describe(schedule: Callable[[int], float]) -> dict[str, Any]:
    """Return a schedule's description; of any other function, values at fixed updates."""
    if isinstance(schedule, Schedule):
        return schedule.describe()
    return {
        "function": getattr(schedule, "__qualname__", type(schedule).__qualname__),
        "updates": list(SAMPLED_UPDATES),
        "values": [_sample(schedule, update) for update in SAMPLED_UPDATES],
    }


def _sample(schedule: Callable[[int], float], update: int) -> float | None:
    """Return the value, or None where there is none: a function may end with its run."""
    try:
        value = float(schedule(update))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _refuse_another(name: str, *, saved: object, own: dict[str, Any] | None) -> None:
    if not _are_same(saved, own):
        raise ValueError(f"{name} must be that of the state, {saved!r}, got {own!r}")


def _are_same(saved: object, own: dict[str, Any] | None) -> bool:
    """Return whether two descriptions are of the same schedule; a function's name is no part."""
    if own is None or "function" not in own:
        return saved == own
    return (
        isinstance(saved, Mapping)
        and saved.get("updates") == own["updates"]
        and _are_close(saved.get("values"), own["values"])
    )


def _are_close(saved: object, own: list[Any]) -> bool:
    """Return whether two lists of numbers (or None) agree but for the last bits."""
    if not isinstance(saved, list) or len(saved) != len(own):
        return False
    return all(
        a == b
        or (
            isinstance(a, (int, float))
            and isinstance(b, (int, float))
            and math.isclose(a, b, rel_tol=SAMPLED_RTOL)
        )
        for a, b in zip(saved, own, strict=True)
    )
