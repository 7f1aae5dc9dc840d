"""Identity of a schedule inside a checkpoint: its description, or samples of a function.

A resumed run refuses the state of another schedule, so each state says which one it belongs to.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from anneal.schedules.schedule import Schedule

# Where a function without a description is sampled: from the first update to a million, close
# enough for a change of bounds, of cycle length or of total length to show.
SAMPLED_UPDATES = (0, *(n * 10**power for power in range(6) for n in (1, 2, 3, 5, 7)), 10**6)
# The saved values may come from another machine, whose pow and cos differ in the last bits.
SAMPLED_RTOL = 1e-9


def describe(schedule: Callable[[int], float]) -> dict[str, Any]:
    """Return a schedule's description; of any other function, values at fixed updates."""
    if isinstance(schedule, Schedule):
        return schedule.describe()
    return {
        "function": getattr(schedule, "__qualname__", type(schedule).__qualname__),
        "updates": list(SAMPLED_UPDATES),
        "values": [_sample(schedule, update) for update in SAMPLED_UPDATES],
    }


def _sample(schedule: Callable[[int], float], update: int) -> float | None:
    """Return the value, or None after a function's last update."""
    try:
        value = float(schedule(update))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def refuse_another(name: str, *, saved: object, own: dict[str, Any] | None) -> None:
    """Refuse the description of another schedule than one's own, naming both."""
    if not _are_same(saved, own):
        raise ValueError(f"{name} must be that of the state, {saved!r}, got {own!r}")


def _are_same(saved: object, own: dict[str, Any] | None) -> bool:
    """Return whether two descriptions are of one schedule; names of functions are ignored."""
    if own is None or "function" not in own:
        return saved == own
    return (
        isinstance(saved, Mapping)
        and saved.get("updates") == own["updates"]
        and are_close(saved.get("values"), own["values"])
    )


def are_close(saved: object, own: list[Any]) -> bool:
    """Return whether two lists of numbers (or None) agree up to rounding."""
    if not isinstance(saved, list) or len(saved) != len(own):
        return False
    return all(
        a == b
        or (
            isinstance(a, (int, float))
            and isinstance(b, (int, float))
            and math.isclose(a, b, rel_tol=SAMPLED_RTOL)
        )
        for a, b in zip(saved, own, strict=True)
    )
