"""Where a schedule's cycles end: the moments at which a snapshot of the weights is worth taking."""

from collections.abc import Callable, Mapping
from itertools import accumulate, count, pairwise, takewhile
from typing import Any

from anneal.schedules.schedule import Schedule, check_count

Ends = Callable[[Mapping[str, Any], int], tuple[int, ...]]


def cycle_ends(schedule: Schedule, total_steps: int) -> tuple[int, ...]:
    """Return the numbers of updates after which a cycle has ended, within a run.

    A cycle that starts at index s and has n updates, the last of them at index s + n - 1, ends
    after s + n updates: the weights that these leave are those of SGDR's restarts (Loshchilov &
    Hutter, arXiv 1608.03983v5, section 4.3) and of Snapshot Ensembles (Huang et al., arXiv
    1704.00109). A cosine's last rate is then just above its minimum. A triangle's is one step
    above its trough, which opens the next cycle: CLR's advice is to stop after a multiple of
    ``2 * half_cycle_steps`` updates. A cycle that the run, or the next stage, cuts short ends
    nowhere.

    Cycles have ``triangular``, ``triangular2``, ``welch``, ``hann``, ``exp_range``,
    ``cosine_restarts``; ``cosine`` and ``one_cycle`` are a single one; ``warmup``, ``staged``,
    ``held`` and ``lowered`` have those of the schedules inside them. ``held`` moves no end: the
    phase goes on while a value is held. Any other schedule, one of your own too, has none.

    >>> from anneal.schedules import cosine_restarts, triangular, warmup
    >>> cosines = cosine_restarts(min_lr=0.0, max_lr=1.0, first_cycle_steps=10, growth=2)
    >>> cycle_ends(cosines, 150), cycle_ends(cosines, 149)
    ((10, 30, 70, 150), (10, 30, 70))
    >>> triangles = triangular(base_lr=0.0, max_lr=1.0, half_cycle_steps=4)
    >>> cycle_ends(warmup(first_lr=0.0, warmup_steps=3, schedule=triangles), 20)
    (11, 19)

    Args:
        schedule: of the learning rate.
        total_steps: updates of the run, at least 0.

    Returns:
        Ascending, each in 1..``total_steps``.

    Raises:
        ValueError: ``total_steps`` is negative or no integer.
    """
    total_steps = check_count("total_steps", total_steps)
    ends = _ENDS.get(schedule.name)
    return () if ends is None else ends(schedule.arguments, total_steps)


def _of_triangles(arguments: Mapping[str, Any], total_steps: int) -> tuple[int, ...]:
    length = 2 * arguments["half_cycle_steps"]
    return tuple(range(length, total_steps + 1, length))


def _of_restarts(arguments: Mapping[str, Any], total_steps: int) -> tuple[int, ...]:
    first, growth = arguments["first_cycle_steps"], arguments["growth"]
    ends = accumulate(first * growth**cycle for cycle in count())
    return tuple(takewhile(lambda end: end <= total_steps, ends))


def _of_one(arguments: Mapping[str, Any], total_steps: int) -> tuple[int, ...]:
    end = arguments["total_steps"]
    return (end,) if end <= total_steps else ()


def _of_warmup(arguments: Mapping[str, Any], total_steps: int) -> tuple[int, ...]:
    first = arguments["warmup_steps"]
    return _later(first, arguments["schedule"], max(0, total_steps - first))


def _of_stages(arguments: Mapping[str, Any], total_steps: int) -> tuple[int, ...]:
    stages = [stage for stage in arguments["stages"] if stage[0] < total_steps]
    bounds = pairwise([*(first for first, _ in stages), total_steps])
    return tuple(
        end
        for (_, schedule), (first, last) in zip(stages, bounds, strict=True)
        for end in _later(first, schedule, last - first)
    )


def _of_inner(arguments: Mapping[str, Any], total_steps: int) -> tuple[int, ...]:
    return cycle_ends(arguments["schedule"], total_steps)


def _later(first: int, schedule: Schedule, steps: int) -> tuple[int, ...]:
    return tuple(first + end for end in cycle_ends(schedule, steps))


_ENDS: dict[str, Ends] = {
    "triangular": _of_triangles,
    "triangular2": _of_triangles,
    "welch": _of_triangles,
    "hann": _of_triangles,
    "exp_range": _of_triangles,
    "cosine": _of_one,
    "cosine_restarts": _of_restarts,
    "one_cycle": _of_one,
    "warmup": _of_warmup,
    "staged": _of_stages,
    "held": _of_inner,
    "lowered": _of_inner,
}
