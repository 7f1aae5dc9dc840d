"""Decaying schedules: constant, in steps, exponential, inverse, polynomial, linear."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from anneal.schedules.schedule import (
    Schedule,
    check_factor,
    check_order,
    check_positive,
    check_rate,
    check_steps,
    interpolate,
)

__all__ = ["constant", "exponential", "inverse", "linear_decay", "polynomial", "step_decay"]


def exponential(*, initial_lr: float, gamma: float) -> Schedule:
    """Multiply the learning rate by gamma at every update: Caffe's "exp".

    ``initial_lr * gamma ** update``: CLR's "exp" (Smith 2017, arXiv 1506.01186v6, section 4).
    Index 0, the peak, has ``initial_lr``; it falls for ever.

    >>> rate = exponential(initial_lr=8.0, gamma=0.5)
    >>> [rate(update) for update in range(4)]
    [8.0, 4.0, 2.0, 1.0]

    Args:
        initial_lr: The first learning rate, at least 0.
        gamma: What one update multiplies by, in (0, 1]. For every n updates: ``x ** (1 / n)``.

    Raises:
        ValueError: A value is out of range.
    """
    initial_lr = check_rate("initial_lr", initial_lr)
    gamma = check_factor("gamma", gamma)
    arguments = {"initial_lr": initial_lr, "gamma": gamma}
    return Schedule(exponential, arguments, lambda update: initial_lr * gamma**update)


def inverse(*, initial_lr: float, gamma: float, power: float) -> Schedule:
    """Divide the learning rate by a power of a growing line: Caffe's "inv".

    ``initial_lr * (1 + gamma * update) ** -power``. Index 0, the peak, has ``initial_lr``; it falls
    for ever.

    >>> rate = inverse(initial_lr=8.0, gamma=1.0, power=2.0)
    >>> [rate(update) for update in (0, 1, 3)]
    [8.0, 2.0, 0.5]

    Args:
        initial_lr: The first learning rate, at least 0.
        gamma: The growth of the line per update, positive. LeNet in Caffe: 0.0001.
        power: The power, positive. LeNet in Caffe: 0.75.

    Raises:
        ValueError: A value is out of range.
    """
    initial_lr = check_rate("initial_lr", initial_lr)
    gamma = check_positive("gamma", gamma)
    power = check_positive("power", power)
    arguments = {"initial_lr": initial_lr, "gamma": gamma, "power": power}
    return Schedule(
        inverse, arguments, lambda update: initial_lr * (1.0 + gamma * update) ** -power
    )


def polynomial(*, initial_lr: float, power: float, total_steps: int) -> Schedule:
    """Fall as a power of the updates that are left: Caffe's "poly".

    ``initial_lr * (1 - update / total_steps) ** power``. Index 0, the peak, has ``initial_lr``. The
    last index, ``total_steps - 1``, is just above zero, since Caffe reaches zero one update after
    the run; its value is held from there on.

    >>> rate = polynomial(initial_lr=16.0, power=2.0, total_steps=4)
    >>> [rate(update) for update in range(5)]
    [16.0, 9.0, 4.0, 1.0, 1.0]

    Args:
        initial_lr: The first learning rate, at least 0.
        power: The power, positive: 1 is a line, 0.5 is that of Caffe's quick GoogLeNet.
        total_steps: Updates in the run, positive.

    Raises:
        ValueError: A value is out of range.
    """
    initial_lr = check_rate("initial_lr", initial_lr)
    power = check_positive("power", power)
    total_steps = check_steps("total_steps", total_steps)

    def curve(update: int) -> float:
        left = max(total_steps - update, 1)
        return initial_lr * math.pow(left / total_steps, power)

    arguments = {"initial_lr": initial_lr, "power": power, "total_steps": total_steps}
    return Schedule(polynomial, arguments, curve)


def linear_decay(*, max_lr: float, base_lr: float, half_cycle_steps: int) -> Schedule:
    """Fall along a line, then stay: CLR's "decay" (Smith 2017, arXiv 1506.01186v6, section 4.1.1).

    The falling half of one triangle without the rising half: the paper's check that the gain of a
    cyclical rate does not come from the fall alone. Index 0, the peak, has ``max_lr``; index
    ``half_cycle_steps`` and everything after it has ``base_lr``.

    >>> rate = linear_decay(max_lr=9.0, base_lr=1.0, half_cycle_steps=4)
    >>> [rate(update) for update in range(6)]
    [9.0, 7.0, 5.0, 3.0, 1.0, 1.0]

    Args:
        max_lr: The first learning rate, at least ``base_lr``.
        base_lr: The last learning rate, at least 0.
        half_cycle_steps: Updates from the first to the last, the paper's *stepsize*, positive.

    Raises:
        ValueError: A value is out of range, or the bounds are the wrong way round.
    """
    max_lr = check_rate("max_lr", max_lr)
    base_lr = check_rate("base_lr", base_lr)
    half_cycle_steps = check_steps("half_cycle_steps", half_cycle_steps)
    check_order(low=("base_lr", base_lr), high=("max_lr", max_lr))

    def curve(update: int) -> float:
        left = max(half_cycle_steps - update, 0)
        return interpolate(base_lr, max_lr, left / half_cycle_steps)

    arguments = {"max_lr": max_lr, "base_lr": base_lr, "half_cycle_steps": half_cycle_steps}
    return Schedule(linear_decay, arguments, curve)


def constant(*, lr: float) -> Schedule:
    """Hold one learning rate for ever: CLR's "fixed" (Smith 2017, arXiv 1506.01186v6).

    Every index, the first and the last too, has ``lr``.

    >>> rate = constant(lr=0.001)
    >>> rate(0), rate(70_000)
    (0.001, 0.001)

    Args:
        lr: The learning rate, at least 0.

    Raises:
        ValueError: ``lr`` is negative or not a finite number.
    """
    lr = check_rate("lr", lr)
    return Schedule(constant, {"lr": lr}, lambda _: lr)


def step_decay(*, initial_lr: float, milestones: Sequence[int], factor: float) -> Schedule:
    """Multiply the learning rate by a factor at each milestone.

    Caffe's "multistep" with gamma = ``factor`` (sgd_solver.cpp, commit 9b89154), and the baseline
    of SGDR: x 0.2 at epochs 60, 120 and 160 (Loshchilov & Hutter, arXiv 1608.03983v5, section
    4.1). Index 0, the peak, has ``initial_lr``; index ``milestones[i]`` is the first one with
    ``initial_lr * factor ** (i + 1)``. The value of the last milestone is held for ever.

    >>> rate = step_decay(initial_lr=8.0, milestones=[2, 3], factor=0.5)
    >>> [rate(update) for update in range(5)]
    [8.0, 8.0, 4.0, 2.0, 2.0]

    Args:
        initial_lr: The learning rate before the first milestone, at least 0.
        milestones: Updates already made at each drop: positive, strictly increasing.
        factor: What each drop multiplies by, in (0, 1].

    Raises:
        ValueError: A value is out of range; ``milestones`` is empty, unsorted or has duplicates.
    """
    initial_lr = check_rate("initial_lr", initial_lr)
    factor = check_factor("factor", factor)
    drops = check_milestones("milestones", milestones)
    values = [initial_lr * factor**num_drops for num_drops in range(len(drops) + 1)]
    arguments = {"initial_lr": initial_lr, "milestones": drops, "factor": factor}
    return Schedule(step_decay, arguments, lambda update: values[bisect_right(drops, update)])


def check_milestones(name: str, value: object) -> tuple[int, ...]:
    """Return ``value`` as a tuple; it must have positive updates, strictly increasing.

    >>> check_milestones("milestones", [60, 60])
    Traceback (most recent call last):
    ValueError: milestones must be strictly increasing, got [60, 60]
    """
    if not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a sequence of updates, got {value!r}")
    milestones = tuple(check_steps(f"each of {name}", milestone) for milestone in value)
    if not milestones:
        raise ValueError(f"{name} must not be empty, got {value!r}")
    if any(later <= earlier for earlier, later in pairwise(milestones)):
        raise ValueError(f"{name} must be strictly increasing, got {value!r}")
    return milestones
