"""Cosine annealing, once or with warm restarts (Loshchilov & Hutter 2017, SGDR).

The source is arXiv 1608.03983v5, equation 5: within a cycle of length T, at t updates into it,
``min + (max - min) * (1 + cos(pi * t / T)) / 2``. As printed, t / T stays below 1: the last update
of a cycle is just above the minimum and the next one is the restart.
"""

import math

from anneal.schedules.schedule import (
    Schedule,
    check_factor,
    check_order,
    check_rate,
    check_steps,
    interpolate,
)

__all__ = ["cosine", "cosine_restarts"]


def cosine(*, min_lr: float, max_lr: float, total_steps: int) -> Schedule:
    """Fall along half a cosine, once (SGDR, arXiv 1608.03983v5, equation 5 without a restart).

    Index 0, the peak, has ``max_lr``. The last index, ``total_steps - 1``, is just above
    ``min_lr``; its value is held from there on.

    >>> rate = cosine(min_lr=1.0, max_lr=5.0, total_steps=3)
    >>> [round(rate(update), 12) for update in range(5)]
    [5.0, 4.0, 2.0, 2.0, 2.0]

    Args:
        min_lr: What the curve falls towards, the paper's eta_min, at least 0.
        max_lr: The first learning rate, the paper's eta_max, at least ``min_lr``.
        total_steps: Updates in the run, positive.

    Raises:
        ValueError: A value is out of range, or the bounds are the wrong way round.
    """
    min_lr = check_rate("min_lr", min_lr)
    max_lr = check_rate("max_lr", max_lr)
    total_steps = check_steps("total_steps", total_steps)
    check_order(low=("min_lr", min_lr), high=("max_lr", max_lr))

    def curve(update: int) -> float:
        into_cycle = min(update, total_steps - 1)
        return interpolate(min_lr, max_lr, cosine_height(into_cycle, total_steps))

    arguments = {"min_lr": min_lr, "max_lr": max_lr, "total_steps": total_steps}
    return Schedule(cosine, arguments, curve)


def cosine_restarts(
    *,
    min_lr: float,
    max_lr: float,
    first_cycle_steps: int,
    growth: int = 1,
    max_lr_factor: float = 1.0,
) -> Schedule:
    """Fall along half a cosine and restart at the peak, for ever (SGDR, equation 5).

    The paper's T_0 is ``first_cycle_steps`` and its T_mult is ``growth``: cycle i (from 0) has
    ``first_cycle_steps * growth**i`` updates. Index 0 and the first index of every later cycle
    have the peak; the last index of a cycle is just above ``min_lr``. Snapshot Ensembles' schedule
    (Huang et al., arXiv 1704.00109, equation 2) is this one with ``min_lr=0`` and ``growth=1``.

    The authors' code (loshchil/SGDR, SGDR_WRNs.py, commit 5269a61) differs in two small ways. It
    divides an epoch into 100,000 / 128 = 781.25 updates and makes 781 of them, so that t / T is
    smaller by 0.03 %. And it sets the rate after an update but not at a restart, so that the first
    update of every cycle but the first still has the lowest rate, and only the second is near the
    peak.

    >>> rate = cosine_restarts(min_lr=1.0, max_lr=5.0, first_cycle_steps=1, growth=3)
    >>> [round(rate(update), 12) for update in range(5)]
    [5.0, 5.0, 4.0, 2.0, 5.0]

    Args:
        min_lr: What each cycle falls towards, the paper's eta_min, at least 0.
        max_lr: The peak of the first cycle, the paper's eta_max, at least ``min_lr``.
        first_cycle_steps: Updates in the first cycle, positive.
        growth: How many times longer each cycle is than the one before, an integer of at least 1.
        max_lr_factor: What each restart multiplies the peak by, in (0, 1] (1: the paper's
            experiments). A peak that would fall below ``min_lr`` is ``min_lr``.

    Raises:
        ValueError: A value is out of range, or the bounds are the wrong way round.
    """
    min_lr = check_rate("min_lr", min_lr)
    max_lr = check_rate("max_lr", max_lr)
    first_cycle_steps = check_steps("first_cycle_steps", first_cycle_steps)
    growth = check_steps("growth", growth)
    max_lr_factor = check_factor("max_lr_factor", max_lr_factor)
    check_order(low=("min_lr", min_lr), high=("max_lr", max_lr))

    def curve(update: int) -> float:
        into_cycle, length, cycle = locate_cycle(update, first_cycle_steps, growth)
        peak = max(min_lr, max_lr * max_lr_factor**cycle)
        return interpolate(min_lr, peak, cosine_height(into_cycle, length))

    arguments = {
        "min_lr": min_lr,
        "max_lr": max_lr,
        "first_cycle_steps": first_cycle_steps,
        "growth": growth,
        "max_lr_factor": max_lr_factor,
    }
    return Schedule(cosine_restarts, arguments, curve)


def locate_cycle(update: int, first_cycle_steps: int, growth: int) -> tuple[int, int, int]:
    """Return (updates into the cycle, length of the cycle, number of the cycle from 0).

    In integers: a logarithm misses restarts, for instance the one at update 1210 of
    ``first_cycle_steps=10, growth=3`` (torch's ``step(epoch)`` and timm do).

    >>> locate_cycle(1209, 10, 3), locate_cycle(1210, 10, 3)
    ((809, 810, 4), (0, 2430, 5))
    """
    if growth == 1:
        cycle, into_cycle = divmod(update, first_cycle_steps)
        return into_cycle, first_cycle_steps, cycle
    cycle, length = 0, first_cycle_steps
    while update >= length:  # a few turns: the length grows as fast as a power of 2
        update -= length
        length *= growth
        cycle += 1
    return update, length, cycle


def cosine_height(into_cycle: int, length: int) -> float:
    """Return how far above the minimum a half cosine is, from 1 at index 0 to 0 at ``length``."""
    # As printed, and as torch has it: sin(...)**2 would keep more digits near the minimum, at the
    # price of no longer agreeing with either to the last bit.
    return (1.0 + math.cos(math.pi * into_cycle / length)) / 2.0
