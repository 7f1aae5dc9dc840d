"""Cyclical learning rates (Smith 2017).

The source is arXiv 1506.01186v6, section 3.1 and the code in its appendix, unless a docstring says
otherwise. All share three arguments, the paper's *base_lr*, *max_lr* and *stepsize*:
``half_cycle_steps`` updates up, as many down. A peak is at every odd multiple of
``half_cycle_steps``, a trough at every even one, index 0 included. They have no last index: the
paper's advice is to stop at the end of a cycle, that is after a multiple of
``2 * half_cycle_steps`` updates.
"""

import math
from typing import Literal

from anneal.schedules.schedule import (
    Schedule,
    check_factor,
    check_flag,
    check_order,
    check_rate,
    check_steps,
    interpolate,
)

__all__ = ["exp_range", "hann", "triangular", "triangular2", "welch"]


def triangular(
    *, base_lr: float, max_lr: float, half_cycle_steps: int, divide_by_cycle: bool = False
) -> Schedule:
    """Climb and fall along straight lines, for ever (Smith 2017, section 3.1, figure 2).

    Index 0 has ``base_lr``; the first peak, ``max_lr``, is at index ``half_cycle_steps``.

    The paper's appendix and the author's own Caffe patch of March 2017 ("Instructions for adding
    CLR to Caffe", lnsmith54/exploring-loss, commit 1860765) differ: the patch divides the height
    by the number of the cycle, so its peaks are at 1, 1/2, 1/3, ... of the way. Which of the two
    made the paper's results is not known; ``divide_by_cycle`` chooses.

    >>> rate = triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2)
    >>> [rate(update) for update in range(9)]
    [1.0, 3.0, 5.0, 3.0, 1.0, 3.0, 5.0, 3.0, 1.0]
    >>> patch = triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2, divide_by_cycle=True)
    >>> [patch(update) for update in range(9)]
    [1.0, 3.0, 5.0, 3.0, 1.0, 2.0, 3.0, 2.0, 1.0]

    Args:
        base_lr: The lower bound, at least 0.
        max_lr: The upper bound, at least ``base_lr``.
        half_cycle_steps: Updates from a trough to the next peak, the paper's *stepsize*, positive.
        divide_by_cycle: False: the paper's appendix. True: the author's Caffe patch.

    Raises:
        ValueError: A value is out of range, or the bounds are the wrong way round.
    """
    base_lr, max_lr, half_cycle_steps = check_bounds(base_lr, max_lr, half_cycle_steps)
    divide_by_cycle = check_flag("divide_by_cycle", divide_by_cycle)

    def curve(update: int) -> float:
        cycle, from_trough = locate_in_cycle(update, half_cycle_steps)
        height = from_trough / half_cycle_steps
        return interpolate(base_lr, max_lr, height / (cycle + 1) if divide_by_cycle else height)

    arguments = {
        "base_lr": base_lr,
        "max_lr": max_lr,
        "half_cycle_steps": half_cycle_steps,
        "divide_by_cycle": divide_by_cycle,
    }
    return Schedule(triangular, arguments, curve)


def triangular2(*, base_lr: float, max_lr: float, half_cycle_steps: int) -> Schedule:
    """Climb and fall along straight lines, half as high in each cycle (Smith 2017, section 3.1).

    Index 0 has ``base_lr``; the first peak, ``max_lr``, is at index ``half_cycle_steps``. The
    difference of the bounds is halved at the end of each cycle: peak c (from 0) is at
    ``base_lr + (max_lr - base_lr) / 2**c``.

    >>> rate = triangular2(base_lr=1.0, max_lr=9.0, half_cycle_steps=2)
    >>> [rate(update) for update in range(11)]
    [1.0, 5.0, 9.0, 5.0, 1.0, 3.0, 5.0, 3.0, 1.0, 2.0, 3.0]

    Args:
        base_lr: The lower bound, at least 0.
        max_lr: The upper bound of the first cycle, at least ``base_lr``.
        half_cycle_steps: Updates from a trough to the next peak, the paper's *stepsize*, positive.

    Raises:
        ValueError: A value is out of range, or the bounds are the wrong way round.
    """
    base_lr, max_lr, half_cycle_steps = check_bounds(base_lr, max_lr, half_cycle_steps)

    def curve(update: int) -> float:
        cycle, from_trough = locate_in_cycle(update, half_cycle_steps)
        # ldexp(x, -cycle) is x / 2**cycle, and 0 where 2**cycle is too large for a float
        return interpolate(base_lr, max_lr, math.ldexp(from_trough / half_cycle_steps, -cycle))

    arguments = {"base_lr": base_lr, "max_lr": max_lr, "half_cycle_steps": half_cycle_steps}
    return Schedule(triangular2, arguments, curve)


def welch(*, base_lr: float, max_lr: float, half_cycle_steps: int) -> Schedule:
    """Climb and fall along a parabola, for ever: a Welch window (Smith 2017, section 3.1).

    The paper names the window and prints no formula; this is the usual one, ``1 - x**2`` with x
    from -1 to 1 over a cycle. Index 0 has ``base_lr``; the first peak, ``max_lr``, is at index
    ``half_cycle_steps``.

    >>> rate = welch(base_lr=1.0, max_lr=5.0, half_cycle_steps=2)
    >>> [rate(update) for update in range(6)]
    [1.0, 4.0, 5.0, 4.0, 1.0, 4.0]

    Args:
        base_lr: The lower bound, at least 0.
        max_lr: The upper bound, at least ``base_lr``.
        half_cycle_steps: Updates from a trough to the next peak, the paper's *stepsize*, positive.

    Raises:
        ValueError: A value is out of range, or the bounds are the wrong way round.
    """
    base_lr, max_lr, half_cycle_steps = check_bounds(base_lr, max_lr, half_cycle_steps)

    def curve(update: int) -> float:
        _, from_trough = locate_in_cycle(update, half_cycle_steps)
        # 1 - x**2 = (1 - x)(1 + x) in integers: no digit is lost near the trough
        height = from_trough * (2 * half_cycle_steps - from_trough) / half_cycle_steps**2
        return interpolate(base_lr, max_lr, height)

    arguments = {"base_lr": base_lr, "max_lr": max_lr, "half_cycle_steps": half_cycle_steps}
    return Schedule(welch, arguments, curve)


def hann(*, base_lr: float, max_lr: float, half_cycle_steps: int) -> Schedule:
    """Climb and fall along a sine, for ever: a Hann window (Smith 2017, section 3.1).

    The paper names the window and prints no formula; this is the usual one, ``sin(x)**2`` with x
    from 0 to pi over a cycle. Index 0 has ``base_lr``; the first peak, ``max_lr``, is at index
    ``half_cycle_steps``.

    >>> rate = hann(base_lr=1.0, max_lr=5.0, half_cycle_steps=3)
    >>> [round(rate(update), 12) for update in range(7)]
    [1.0, 2.0, 4.0, 5.0, 4.0, 2.0, 1.0]

    Args:
        base_lr: The lower bound, at least 0.
        max_lr: The upper bound, at least ``base_lr``.
        half_cycle_steps: Updates from a trough to the next peak, the paper's *stepsize*, positive.

    Raises:
        ValueError: A value is out of range, or the bounds are the wrong way round.
    """
    base_lr, max_lr, half_cycle_steps = check_bounds(base_lr, max_lr, half_cycle_steps)

    def curve(update: int) -> float:
        _, from_trough = locate_in_cycle(update, half_cycle_steps)
        height = math.sin(math.pi * from_trough / (2 * half_cycle_steps)) ** 2
        return interpolate(base_lr, max_lr, height)

    arguments = {"base_lr": base_lr, "max_lr": max_lr, "half_cycle_steps": half_cycle_steps}
    return Schedule(hann, arguments, curve)


def exp_range(
    *,
    base_lr: float,
    max_lr: float,
    half_cycle_steps: int,
    gamma: float,
    decays: Literal["bounds", "amplitude"] = "bounds",
) -> Schedule:
    """Climb and fall between bounds that shrink at every update (Smith 2017, section 3.1).

    "Each boundary value declines by an exponential factor of gamma^iteration": with
    ``decays="bounds"``, as printed, both bounds shrink. Popular ports (bckenstler/CLR, commit
    968cf5a, and torch's ``CyclicLR``, which credits it) shrink the height alone over a fixed
    ``base_lr``: ``decays="amplitude"``. After 42,000 updates at the paper's gamma of 0.99994 the
    paper's lower bound is 0.08 ``base_lr``; the ports still have all of it.

    Index 0 has ``base_lr``. Index ``half_cycle_steps``, the top of the first triangle, has
    ``max_lr * gamma**half_cycle_steps`` in the paper's form.

    >>> rate = exp_range(base_lr=16.0, max_lr=48.0, half_cycle_steps=2, gamma=0.5)
    >>> [rate(update) for update in range(5)]
    [16.0, 16.0, 12.0, 4.0, 1.0]
    >>> port = exp_range(
    ...     base_lr=16.0, max_lr=48.0, half_cycle_steps=2, gamma=0.5, decays="amplitude"
    ... )
    >>> [port(update) for update in range(5)]
    [16.0, 24.0, 24.0, 18.0, 16.0]

    Args:
        base_lr: The lower bound at index 0, at least 0.
        max_lr: The upper bound at index 0, at least ``base_lr``.
        half_cycle_steps: Updates from a trough to the next peak, the paper's *stepsize*, positive.
        gamma: What one update multiplies the bounds by, in (0, 1].
        decays: What shrinks: "bounds" (the paper) or "amplitude" (the ports).

    Raises:
        ValueError: A value is out of range, the bounds are the wrong way round, or ``decays`` is
            neither word.
    """
    base_lr, max_lr, half_cycle_steps = check_bounds(base_lr, max_lr, half_cycle_steps)
    gamma = check_factor("gamma", gamma)
    if decays not in ("bounds", "amplitude"):
        raise ValueError(f"decays must be 'bounds' or 'amplitude', got {decays!r}")

    def shrink_bounds(update: int) -> float:
        _, from_trough = locate_in_cycle(update, half_cycle_steps)
        return gamma**update * interpolate(base_lr, max_lr, from_trough / half_cycle_steps)

    def shrink_amplitude(update: int) -> float:
        _, from_trough = locate_in_cycle(update, half_cycle_steps)
        return interpolate(base_lr, max_lr, gamma**update * (from_trough / half_cycle_steps))

    curve = shrink_bounds if decays == "bounds" else shrink_amplitude
    arguments = {
        "base_lr": base_lr,
        "max_lr": max_lr,
        "half_cycle_steps": half_cycle_steps,
        "gamma": gamma,
        "decays": decays,
    }
    return Schedule(exp_range, arguments, curve)


def locate_in_cycle(update: int, half_cycle_steps: int) -> tuple[int, int]:
    """Return (number of the cycle from 0, updates to the nearest trough), in integers.

    >>> [locate_in_cycle(update, 2) for update in range(6)]
    [(0, 0), (0, 1), (0, 2), (0, 1), (1, 0), (1, 1)]
    """
    cycle, into_cycle = divmod(update, 2 * half_cycle_steps)
    return cycle, min(into_cycle, 2 * half_cycle_steps - into_cycle)


def check_bounds(
    base_lr: object, max_lr: object, half_cycle_steps: object
) -> tuple[float, float, int]:
    """Return the three arguments that every cycle has, checked."""
    low = check_rate("base_lr", base_lr)
    high = check_rate("max_lr", max_lr)
    check_order(low=("base_lr", low), high=("max_lr", high))
    return low, high, check_steps("half_cycle_steps", half_cycle_steps)
