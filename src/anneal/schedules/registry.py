"""Registry of schedules: builder, cycle ends and roles of the bounds.

The names that ``anneal`` and ``anneal.schedules`` export, ``conf/scheduler``, ``cycle_ends`` and
``anneal.config.bounds`` read these entries and have no lists of their own.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from anneal.schedules.composed import held, lowered, staged, warmup, warmup_stable_decay
from anneal.schedules.cosine import cosine, cosine_restarts
from anneal.schedules.cycle_ends import (
    CycleEnds,
    Phases,
    after_warmup,
    of_one_cycle,
    of_restarts,
    of_stages,
    of_triangles,
    throughout,
)
from anneal.schedules.cyclical import exp_range, hann, triangular, triangular2, welch
from anneal.schedules.decay import (
    constant,
    exponential,
    inverse,
    linear_decay,
    polynomial,
    step_decay,
)
from anneal.schedules.one_cycle import one_cycle, one_cycle_momentum
from anneal.schedules.ramp import exponential_ramp, linear_ramp
from anneal.schedules.schedule import Schedule, check_count

__all__ = ["SCHEDULES", "cycle_ends", "from_description"]

# Which bound a keyword takes. "with base" and "with max" keep their ratio to the keyword that takes
# that bound. "inside" is a schedule that takes the bounds in its turn, "stages" a list of them;
# "with inside" keeps its ratio to the highest rate of the schedule inside.
Role = Literal["base", "max", "with base", "with max", "inside", "with inside", "stages"]


@dataclass(frozen=True)
class Entry:
    """What is known of one schedule.

    Args:
        build: the builder.
        bounds: keyword -> the role that it takes when a range test has found bounds; a keyword that
            is not named (a length, a factor, a floor) stays. Empty where the schedule takes none.
        no_bounds: why it takes none, for people.
        cycle_ends: rule for the ends of its cycles; None where it has none of its own.
        phases: rule for the schedules inside it, whose cycles then are its cycles.
    """

    build: Callable[..., Schedule]
    bounds: Mapping[str, Role]
    no_bounds: str = ""
    cycle_ends: CycleEnds | None = None
    phases: Phases | None = None


_BETWEEN: Mapping[str, Role] = {"base_lr": "base", "max_lr": "max"}
_SWEEPS = "it is the sweep that finds bounds, not a use of them"

SCHEDULES: dict[str, Entry] = {
    # Rates that are held for long take the lower bound, as every fixed row of Smith's does: "just
    # the lower bound was used for base_lr for the fixed policy" (1506.01186v6, Table 3); 0.001 of
    # 0.001-0.006 and 0.01 of 0.01-0.015 with their drops (Table 1), 0.1 of 0.1-0.3 (Table 4).
    "constant": Entry(constant, bounds={"lr": "base"}),
    "step_decay": Entry(step_decay, bounds={"initial_lr": "base"}),
    # Rates that fall from the first update on see their first value only then: they start at the
    # upper bound, as CLR's "decay" policy does (section 4.1.1).
    "exponential": Entry(exponential, bounds={"initial_lr": "max"}),
    "inverse": Entry(inverse, bounds={"initial_lr": "max"}),
    "polynomial": Entry(polynomial, bounds={"initial_lr": "max"}),
    "linear_decay": Entry(linear_decay, bounds=_BETWEEN),
    # Cycles run between the bounds: what the range test is for (section 3.3).
    "triangular": Entry(triangular, bounds=_BETWEEN, cycle_ends=of_triangles),
    "triangular2": Entry(triangular2, bounds=_BETWEEN, cycle_ends=of_triangles),
    "welch": Entry(welch, bounds=_BETWEEN, cycle_ends=of_triangles),
    "hann": Entry(hann, bounds=_BETWEEN, cycle_ends=of_triangles),
    "exp_range": Entry(exp_range, bounds=_BETWEEN, cycle_ends=of_triangles),
    # Annealing goes down to its own floor, 0 in SGDR (1608.03983v5, section 4.1): that is not where
    # learning starts but where it ends, so the lower bound is no reading of it.
    "cosine": Entry(cosine, bounds={"max_lr": "max"}, cycle_ends=of_one_cycle),
    "cosine_restarts": Entry(cosine_restarts, bounds={"max_lr": "max"}, cycle_ends=of_restarts),
    # 1cycle climbs between the bounds; its last rate is far below them by design (1803.09820,
    # section 4), as far below base_lr as before.
    "one_cycle": Entry(
        one_cycle, bounds={**_BETWEEN, "final_lr": "with base"}, cycle_ends=of_one_cycle
    ),
    "one_cycle_momentum": Entry(
        one_cycle_momentum, bounds={}, no_bounds="it sets a momentum and no rate"
    ),
    "linear_ramp": Entry(linear_ramp, bounds={}, no_bounds=_SWEEPS),
    "exponential_ramp": Entry(exponential_ramp, bounds={}, no_bounds=_SWEEPS),
    # The first stage gets the bounds, later stages are scaled with it, each keeping its ratio to
    # the first (Smith, Table 2, divides both bounds by 10 at each stage).
    "staged": Entry(staged, bounds={"stages": "stages"}, phases=of_stages),
    # A warm-up starts below the bounds by design.
    "warmup": Entry(
        warmup, bounds={"schedule": "inside", "first_lr": "with inside"}, phases=after_warmup
    ),
    "warmup_stable_decay": Entry(
        warmup_stable_decay, bounds={"max_lr": "max", "final_lr": "with max"}
    ),
    "held": Entry(held, bounds={"schedule": "inside"}, phases=throughout),
    "lowered": Entry(lowered, bounds={"schedule": "inside"}, phases=throughout),
}


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
    phase continues while a value is held. Any other schedule, including your own, has none.

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
    entry = SCHEDULES.get(schedule.name)
    if entry is None:
        return ()
    if entry.phases is not None:
        return tuple(
            first + end
            for first, inner, steps in entry.phases(schedule.arguments, total_steps)
            for end in cycle_ends(inner, steps)
        )
    return () if entry.cycle_ends is None else entry.cycle_ends(schedule.arguments, total_steps)


def from_description(description: Mapping[str, Any]) -> Schedule:
    """Return the schedule that ``describe()`` described, nested schedules included.

    >>> from_description({"name": "constant", "arguments": {"lr": 0.1}})
    constant(lr=0.1)

    Args:
        description: ``{"name": ..., "arguments": {...}}``, also after a journey through JSON or
            YAML. Arguments with a default may be left out.

    Raises:
        ValueError: The description has other keys, the name is none of ours, arguments are unknown
            or missing, or the builder refuses a value.
    """
    if not _is_description(description):
        raise ValueError(
            f"a description must be a dict of name and arguments alone, got {description!r}"
        )
    name, arguments = description["name"], description["arguments"]
    entry = SCHEDULES.get(name) if isinstance(name, str) else None
    if entry is None:
        raise ValueError(f"name must be one of {', '.join(SCHEDULES)}, got {name!r}")
    if not isinstance(arguments, Mapping):
        raise ValueError(f"arguments of {name} must be a dict, got {arguments!r}")
    parameters = inspect.signature(entry.build).parameters
    unknown = sorted(str(key) for key in arguments if key not in parameters)
    missing = [
        key
        for key, parameter in parameters.items()
        if key not in arguments and parameter.default is parameter.empty
    ]
    if unknown or missing:
        raise ValueError(
            f"arguments of {name} must be {', '.join(parameters)}: "
            f"unknown {unknown}, missing {missing}"
        )
    return entry.build(**{key: _from_plain(value) for key, value in arguments.items()})


def _is_description(value: object) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"name", "arguments"}


def _from_plain(value: Any) -> Any:
    if _is_description(value):
        return from_description(value)
    if isinstance(value, (list, tuple)):
        return tuple(_from_plain(item) for item in value)
    return value
