"""The 1cycle policy: one triangle, then down to almost nothing (Smith 2018).

Described in words in arXiv 1708.07120 and 1803.09820: "always use one cycle that is smaller than
the total number of iterations/epochs and allow the learning rate to decrease several orders of
magnitude less than the initial learning rate for the remaining iterations". The form of that last
fall was found in neither; here it is a straight line, as in torch's ``OneCycleLR`` with
``three_phase=True`` and ``anneal_strategy="linear"``.
"""

from anneal.schedules.schedule import (
    Schedule,
    check_number,
    check_order,
    check_rate,
    check_steps,
    interpolate,
)

__all__ = ["one_cycle", "one_cycle_momentum"]


def one_cycle(
    *, base_lr: float, max_lr: float, final_lr: float, half_cycle_steps: int, total_steps: int
) -> Schedule:
    """Climb, fall, and fall on: the learning rate of 1cycle (Smith 2018, arXiv 1803.09820).

    Index 0 has ``base_lr``, index ``half_cycle_steps`` the peak ``max_lr``, index
    ``2 * half_cycle_steps`` is back at ``base_lr``, and the last index, ``total_steps - 1``, has
    ``final_lr``, which is held from there on. The rates are absolute, where torch's ``OneCycleLR``
    takes the peak and two factors that divide it.

    >>> rate = one_cycle(base_lr=2.0, max_lr=6.0, final_lr=0.0, half_cycle_steps=2, total_steps=7)
    >>> [rate(update) for update in range(8)]
    [2.0, 4.0, 6.0, 4.0, 2.0, 1.0, 0.0, 0.0]

    Args:
        base_lr: The first learning rate, at least ``final_lr``; the author takes a tenth
            to a twentieth of the peak.
        max_lr: The peak, at least ``base_lr``.
        final_lr: The last learning rate, at least 0.
        half_cycle_steps: Updates from index 0 to the peak, and from there back, positive.
        total_steps: Updates in the run, at least ``2 * half_cycle_steps + 2``: the last fall needs
            an index of its own.

    Raises:
        ValueError: A value is out of range, the bounds are the wrong way round, or the cycle does
            not fit.
    """
    base_lr = check_rate("base_lr", base_lr)
    max_lr = check_rate("max_lr", max_lr)
    final_lr = check_rate("final_lr", final_lr)
    check_order(low=("base_lr", base_lr), high=("max_lr", max_lr))
    check_order(low=("final_lr", final_lr), high=("base_lr", base_lr))
    half_cycle_steps, total_steps = check_cycle_fits(half_cycle_steps, total_steps)
    cycle_steps = 2 * half_cycle_steps
    last = total_steps - 1

    def curve(update: int) -> float:
        if update <= cycle_steps:
            from_base = min(update, cycle_steps - update)
            return interpolate(base_lr, max_lr, from_base / half_cycle_steps)
        left = max(last - update, 0)
        return interpolate(final_lr, base_lr, left / (last - cycle_steps))

    arguments = {
        "base_lr": base_lr,
        "max_lr": max_lr,
        "final_lr": final_lr,
        "half_cycle_steps": half_cycle_steps,
        "total_steps": total_steps,
    }
    return Schedule(one_cycle, arguments, curve)


def one_cycle_momentum(
    *, max_momentum: float, min_momentum: float, half_cycle_steps: int, total_steps: int
) -> Schedule:
    """Fall while the learning rate climbs, and back: the momentum of 1cycle (Smith 2018).

    "Cyclical momentum" of arXiv 1803.09820. Index 0 has ``max_momentum``, index
    ``half_cycle_steps``, the learning rate's peak, has ``min_momentum``, and from index
    ``2 * half_cycle_steps`` to the last one, ``total_steps - 1``, and beyond it is
    ``max_momentum`` again.

    >>> momentum = one_cycle_momentum(
    ...     max_momentum=0.75, min_momentum=0.25, half_cycle_steps=2, total_steps=7
    ... )
    >>> [momentum(update) for update in range(7)]
    [0.75, 0.5, 0.25, 0.5, 0.75, 0.75, 0.75]

    Args:
        max_momentum: The first and the last momentum, in [0, 1); the author takes 0.95.
        min_momentum: The momentum at the learning rate's peak, in [0, ``max_momentum``]; the author
            takes 0.85 or 0.8.
        half_cycle_steps: Updates from index 0 to the minimum, and from there back, positive.
        total_steps: Updates in the run, at least ``2 * half_cycle_steps + 2``, as in ``one_cycle``.

    Raises:
        ValueError: A value is out of range, the bounds are the wrong way round, or the cycle does
            not fit.
    """
    max_momentum = check_momentum("max_momentum", max_momentum)
    min_momentum = check_momentum("min_momentum", min_momentum)
    check_order(low=("min_momentum", min_momentum), high=("max_momentum", max_momentum))
    half_cycle_steps, total_steps = check_cycle_fits(half_cycle_steps, total_steps)

    def curve(update: int) -> float:
        from_minimum = min(abs(update - half_cycle_steps), half_cycle_steps)
        return interpolate(min_momentum, max_momentum, from_minimum / half_cycle_steps)

    arguments = {
        "max_momentum": max_momentum,
        "min_momentum": min_momentum,
        "half_cycle_steps": half_cycle_steps,
        "total_steps": total_steps,
    }
    return Schedule(one_cycle_momentum, arguments, curve)


def check_cycle_fits(half_cycle_steps: object, total_steps: object) -> tuple[int, int]:
    """Return both as ints; the run must be longer than the cycle."""
    half = check_steps("half_cycle_steps", half_cycle_steps)
    return half, check_steps("total_steps", total_steps, least=2 * half + 2)


def check_momentum(name: str, value: object) -> float:
    """Return ``value`` as a float; it must be in [0, 1)."""
    momentum = check_number(name, value)
    if not 0 <= momentum < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")
    return momentum
