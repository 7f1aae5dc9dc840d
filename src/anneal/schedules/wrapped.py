"""Schedules made from another one: read once in a while, or lowered step by step."""

from bisect import bisect_right
from collections.abc import Sequence

from anneal.schedules.core import Schedule, check_factor, check_schedule, check_steps
from anneal.schedules.stepwise import check_milestones


def held(*, every_steps: int, schedule: Schedule) -> Schedule:
    """Read another schedule once every so many updates, and hold the value in between.

    How code that sets its rate once an epoch follows a schedule: the rates of CLR's Table 4 were
    computed from the number of epochs (Smith 2017, arXiv 1506.01186v6). Indices ``k * every_steps``
    to ``(k + 1) * every_steps - 1`` have ``schedule(k * every_steps)``; index 0 is the schedule's.

    >>> from anneal.schedules.cyclical import triangular
    >>> up_and_down = triangular(base_lr=0.0, max_lr=4.0, half_cycle_steps=4)
    >>> rate = held(every_steps=2, schedule=up_and_down)
    >>> [rate(update) for update in range(9)]
    [0.0, 0.0, 2.0, 2.0, 4.0, 4.0, 2.0, 2.0, 0.0]

    Args:
        every_steps: Updates for which a value is held, positive.
        schedule: What is read.

    Raises:
        ValueError: ``every_steps`` is out of range, or ``schedule`` is not a Schedule.
    """
    every_steps = check_steps("every_steps", every_steps)
    schedule = check_schedule("schedule", schedule)
    arguments = {"every_steps": every_steps, "schedule": schedule}
    return Schedule(held, arguments, lambda update: schedule(update - update % every_steps))


def lowered(*, milestones: Sequence[int], factor: float, schedule: Schedule) -> Schedule:
    """Follow another schedule, multiplied by a factor at each milestone; its phase goes on.

    How a cycle and the drops of an original recipe go together in CLR's Table 4: the rate and its
    range are "reduced during the training according to the same schedule used in the original
    implementation" (Smith 2017, arXiv 1506.01186v6). Unlike ``staged``, a milestone starts no new
    cycle. Index ``milestones[i]`` is the first with ``factor ** (i + 1)``.

    >>> from anneal.schedules.cyclical import triangular
    >>> up_and_down = triangular(base_lr=8.0, max_lr=16.0, half_cycle_steps=2)
    >>> rate = lowered(milestones=[3], factor=0.5, schedule=up_and_down)
    >>> [rate(update) for update in range(7)]
    [8.0, 12.0, 16.0, 6.0, 4.0, 6.0, 8.0]

    Args:
        milestones: Updates already made at each drop: positive, strictly increasing.
        factor: What each drop multiplies by, in (0, 1].
        schedule: What is followed.

    Raises:
        ValueError: A value is out of range; ``milestones`` is empty, unsorted or has duplicates;
            ``schedule`` is not a Schedule.
    """
    drops = check_milestones("milestones", milestones)
    factor = check_factor("factor", factor)
    schedule = check_schedule("schedule", schedule)
    factors = [factor**num_drops for num_drops in range(len(drops) + 1)]
    arguments = {"milestones": drops, "factor": factor, "schedule": schedule}
    return Schedule(
        lowered,
        arguments,
        lambda update: schedule(update) * factors[bisect_right(drops, update)],
    )
