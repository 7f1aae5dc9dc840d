"""Ramps from one learning rate to another, for the LR range test.

Smith 2017 (arXiv 1506.01186v6, section 3.3) sweeps along a line; many later range tests sweep along
an exponential. Both reach the last value at the last update of the sweep.
"""

import math

from anneal.schedules.schedule import (
    Schedule,
    check_positive,
    check_rate,
    check_steps,
    interpolate,
)

__all__ = ["exponential_ramp", "linear_ramp"]


def linear_ramp(*, first_lr: float, last_lr: float, total_steps: int) -> Schedule:
    """Go from one learning rate to another along a line (Smith 2017, section 3.3).

    Index 0 has ``first_lr``; the last index, ``total_steps - 1``, has ``last_lr``, which is held
    from there on. Up or down.

    >>> rate = linear_ramp(first_lr=0.0, last_lr=8.0, total_steps=5)
    >>> [rate(update) for update in range(6)]
    [0.0, 2.0, 4.0, 6.0, 8.0, 8.0]

    Args:
        first_lr: The first learning rate, at least 0.
        last_lr: The last learning rate, at least 0.
        total_steps: Updates in the ramp, at least 2.

    Raises:
        ValueError: A value is out of range.
    """
    first_lr = check_rate("first_lr", first_lr)
    last_lr = check_rate("last_lr", last_lr)
    total_steps = check_steps("total_steps", total_steps, least=2)
    last = total_steps - 1

    def climb(update: int) -> float:
        return interpolate(first_lr, last_lr, min(update, last) / last)

    def descend(update: int) -> float:
        return interpolate(last_lr, first_lr, max(last - update, 0) / last)

    arguments = {"first_lr": first_lr, "last_lr": last_lr, "total_steps": total_steps}
    return Schedule(linear_ramp, arguments, climb if first_lr <= last_lr else descend)


def exponential_ramp(*, first_lr: float, last_lr: float, total_steps: int) -> Schedule:
    """Go from one learning rate to another by the same factor at every update.

    Index 0 has ``first_lr``; the last index, ``total_steps - 1``, has ``last_lr``, which is held
    from there on. Up or down. No factor leads away from zero or to it, so zero is refused.

    >>> rate = exponential_ramp(first_lr=1.0, last_lr=16.0, total_steps=5)
    >>> [rate(update) for update in range(6)]
    [1.0, 2.0, 4.0, 8.0, 16.0, 16.0]

    Args:
        first_lr: The first learning rate, positive.
        last_lr: The last learning rate, positive.
        total_steps: Updates in the ramp, at least 2.

    Raises:
        ValueError: A value is out of range.
    """
    first_lr = check_positive("first_lr", first_lr)
    last_lr = check_positive("last_lr", last_lr)
    total_steps = check_steps("total_steps", total_steps, least=2)
    last = total_steps - 1

    def curve(update: int) -> float:
        done = min(update, last) / last
        # exact at both ends, and last_lr / first_lr, which may overflow, is never formed
        return math.pow(first_lr, 1.0 - done) * math.pow(last_lr, done)

    arguments = {"first_lr": first_lr, "last_lr": last_lr, "total_steps": total_steps}
    return Schedule(exponential_ramp, arguments, curve)
