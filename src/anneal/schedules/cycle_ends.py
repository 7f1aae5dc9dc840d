"""Ends of the cycles of a schedule.

A rule takes a schedule's arguments and the updates of the run, and returns the numbers of updates
after which a cycle has ended: ascending, each in 1..``total_steps``.
"""

from collections.abc import Callable, Mapping
from itertools import accumulate, count, pairwise, takewhile
from typing import Any

from anneal.schedules.schedule import Schedule

CycleEnds = Callable[[Mapping[str, Any], int], tuple[int, ...]]
# The same arguments -> the schedules inside one, each with its first update and its length.
Phases = Callable[[Mapping[str, Any], int], tuple[tuple[int, Schedule, int], ...]]


def of_triangles(arguments: Mapping[str, Any], total_steps: int) -> tuple[int, ...]:
    """Return the ends of cycles that climb and fall for ``half_cycle_steps`` each."""
    length = 2 * arguments["half_cycle_steps"]
    return tuple(range(length, total_steps + 1, length))


def of_restarts(arguments: Mapping[str, Any], total_steps: int) -> tuple[int, ...]:
    """Return the ends of cycles each ``growth`` times as long as the one before."""
    first, growth = arguments["first_cycle_steps"], arguments["growth"]
    ends = accumulate(first * growth**cycle for cycle in count())
    return tuple(takewhile(lambda end: end <= total_steps, ends))


def of_one_cycle(arguments: Mapping[str, Any], total_steps: int) -> tuple[int, ...]:
    """Return the end of a single cycle, the schedule's own ``total_steps``."""
    end = arguments["total_steps"]
    return (end,) if end <= total_steps else ()


def after_warmup(
    arguments: Mapping[str, Any], total_steps: int
) -> tuple[tuple[int, Schedule, int], ...]:
    """Return the schedule that a warm-up leads to."""
    first = arguments["warmup_steps"]
    return ((first, arguments["schedule"], max(0, total_steps - first)),)


def of_stages(
    arguments: Mapping[str, Any], total_steps: int
) -> tuple[tuple[int, Schedule, int], ...]:
    """Return each stage that the run reaches; the next stage or the run's end cuts it short."""
    stages = [stage for stage in arguments["stages"] if stage[0] < total_steps]
    bounds = pairwise([*(first for first, _ in stages), total_steps])
    return tuple(
        (first, schedule, last - first)
        for (_, schedule), (first, last) in zip(stages, bounds, strict=True)
    )


def throughout(
    arguments: Mapping[str, Any], total_steps: int
) -> tuple[tuple[int, Schedule, int], ...]:
    """Return the one schedule that is followed from the first update to the last."""
    return ((0, arguments["schedule"], total_steps),)
