"""Composed schedules: in phases, after a warm-up, held, or lowered in steps."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from anneal.schedules.decay import check_milestones
from anneal.schedules.schedule import (
    Schedule,
    check_count,
    check_factor,
    check_order,
    check_rate,
    check_schedule,
    check_steps,
    interpolate,
)

__all__ = ["held", "lowered", "staged", "warmup", "warmup_stable_decay"]


def staged(*, stages: Sequence[tuple[int, Schedule]]) -> Schedule:
    """Hand over from one schedule to the next, each counting from its own start.

    How the red curve of CLR's figure 1 was made: three stages of ``triangular2``, starting at
    0, 16,000 and 22,000 (Smith 2017, arXiv 1506.01186v6, table 2). Index 0 has index 0 of the first
    stage; index ``first_update`` of a stage has index 0 of that stage's schedule. The last stage
    continues for ever, or holds its last value if it is finite.

    >>> from anneal.schedules.ramp import linear_ramp
    >>> down = linear_ramp(first_lr=9.0, last_lr=1.0, total_steps=3)
    >>> rate = staged(stages=[(0, down), (2, down)])
    >>> [rate(update) for update in range(6)]
    [9.0, 5.0, 9.0, 5.0, 1.0, 1.0]

    Args:
        stages: (first update, schedule) pairs; first updates are integers, strictly increasing
            from 0.

    Raises:
        ValueError: ``stages`` is empty, does not start at 0, is unsorted, or holds anything else
            than pairs of an update and a Schedule.
    """
    pairs = check_stages(stages)
    starts = [first_update for first_update, _ in pairs]

    def curve(update: int) -> float:
        first_update, schedule = pairs[bisect_right(starts, update) - 1]
        return schedule(update - first_update)

    return Schedule(staged, {"stages": pairs}, curve)


def warmup(*, first_lr: float, warmup_steps: int, schedule: Schedule) -> Schedule:
    """Climb along a line to where another schedule starts, then follow it from its own start.

    Index 0 has ``first_lr``; index ``warmup_steps`` has ``schedule(0)``, and index
    ``warmup_steps + n`` has ``schedule(n)``. The peak and the last index are the schedule's, later
    by ``warmup_steps``.

    >>> from anneal.schedules.ramp import linear_ramp
    >>> down = linear_ramp(first_lr=8.0, last_lr=0.0, total_steps=3)
    >>> rate = warmup(first_lr=0.0, warmup_steps=4, schedule=down)
    >>> [rate(update) for update in range(8)]
    [0.0, 2.0, 4.0, 6.0, 8.0, 4.0, 0.0, 0.0]

    Args:
        first_lr: The first learning rate, at least 0 and at most ``schedule(0)``.
        warmup_steps: Updates before ``schedule`` starts, positive.
        schedule: What follows.

    Raises:
        ValueError: A value is out of range, or ``schedule`` is not a Schedule or starts below
            ``first_lr``.
    """
    first_lr = check_rate("first_lr", first_lr)
    warmup_steps = check_steps("warmup_steps", warmup_steps)
    schedule = check_schedule("schedule", schedule)
    target = schedule(0)
    check_order(low=("first_lr", first_lr), high=("schedule(0)", target))

    def curve(update: int) -> float:
        if update < warmup_steps:
            return interpolate(first_lr, target, update / warmup_steps)
        return schedule(update - warmup_steps)

    arguments = {"first_lr": first_lr, "warmup_steps": warmup_steps, "schedule": schedule}
    return Schedule(warmup, arguments, curve)


def warmup_stable_decay(
    *, max_lr: float, final_lr: float, warmup_steps: int, stable_steps: int, decay_steps: int
) -> Schedule:
    """Climb, stay, fall: the WSD schedule (Hu et al. 2024, MiniCPM, arXiv 2404.06395v3).

    Three straight lines. Index 0 has 0, as the paper's s / W has at s = 0; index ``warmup_steps``
    is the first with ``max_lr`` and index ``warmup_steps + stable_steps`` the last; the last index,
    ``warmup_steps + stable_steps + decay_steps - 1``, has ``final_lr``, which is held from there
    on. MiniCPM leaves the form of the fall open and takes an exponential; ours is a line.

    >>> rate = warmup_stable_decay(
    ...     max_lr=8.0, final_lr=2.0, warmup_steps=2, stable_steps=1, decay_steps=4
    ... )
    >>> [rate(update) for update in range(8)]
    [0.0, 4.0, 8.0, 8.0, 6.0, 4.0, 2.0, 2.0]

    Args:
        max_lr: The rate of the stable phase, at least ``final_lr``.
        final_lr: The last learning rate, at least 0.
        warmup_steps: Updates below the stable rate at the start, positive.
        stable_steps: Updates of the stable phase, positive.
        decay_steps: Updates of the fall, at least 2: its first has ``max_lr``.

    Raises:
        ValueError: A value is out of range, or the rates are the wrong way round.
    """
    max_lr = check_rate("max_lr", max_lr)
    final_lr = check_rate("final_lr", final_lr)
    warmup_steps = check_steps("warmup_steps", warmup_steps)
    stable_steps = check_steps("stable_steps", stable_steps)
    decay_steps = check_steps("decay_steps", decay_steps, least=2)
    check_order(low=("final_lr", final_lr), high=("max_lr", max_lr))
    last = warmup_steps + stable_steps + decay_steps - 1

    def curve(update: int) -> float:
        if update < warmup_steps:
            return interpolate(0.0, max_lr, update / warmup_steps)
        left = min(max(last - update, 0), decay_steps - 1)
        return interpolate(final_lr, max_lr, left / (decay_steps - 1))

    arguments = {
        "max_lr": max_lr,
        "final_lr": final_lr,
        "warmup_steps": warmup_steps,
        "stable_steps": stable_steps,
        "decay_steps": decay_steps,
    }
    return Schedule(warmup_stable_decay, arguments, curve)


def check_stages(value: object) -> tuple[tuple[int, Schedule], ...]:
    """Return ``value`` as a tuple of (first update, schedule), starting at 0 and increasing."""
    if not isinstance(value, Iterable):
        raise ValueError(f"stages must be a sequence of (first update, schedule), got {value!r}")
    pairs = []
    for stage in value:
        if not isinstance(stage, (tuple, list)) or len(stage) != 2:
            raise ValueError(f"each of stages must be (first update, schedule), got {stage!r}")
        first_update = check_count("each first update of stages", stage[0])
        pairs.append((first_update, check_schedule("each schedule of stages", stage[1])))
    starts = [first_update for first_update, _ in pairs]
    if not starts or starts[0] != 0:
        raise ValueError(f"stages must start at update 0, got {starts!r}")
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise ValueError(f"stages must be strictly increasing, got {starts!r}")
    return tuple(pairs)


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
    """Follow another schedule, multiplied by a factor at each milestone; its phase continues.

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
