"""Schedules that hold a value: for ever, or until the next milestone."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from anneal.schedules.core import Schedule, check_factor, check_rate, check_steps


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
    """Return ``value`` as a tuple; it must hold positive updates, strictly increasing.

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
