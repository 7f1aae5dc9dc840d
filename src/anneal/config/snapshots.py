"""Which of a run's weights are kept as snapshots (PURE).

``training.snapshots`` says it; it changes no number, so that it is no part of a configuration's
hash. The updates follow from the plan alone: a run that is stopped and goes on keeps the same.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Literal

from anneal.config.durations import Duration, parse_duration

KEY = "training.snapshots"
WORDS = (
    "must be none, cycle_ends, last <number of cycles> or every <duration> "
    "('last 3', 'every 0.2 run')"
)


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What ``training.snapshots`` asks for.

    Args:
        rule: none of them; at the end of each cycle; at the ends of the last few cycles of the
            run; at equal distances, whatever the schedule (the NoCycle snapshots of Huang et al.,
            arXiv 1704.00109).
        num_cycles: for ``last``, >= 1.
        distance: for ``every``.
    """

    rule: Literal["none", "cycle_ends", "last", "every"]
    num_cycles: int | None = None
    distance: Duration | None = None


def parse_keep(written: str) -> Keep:
    """Read what ``training.snapshots`` says.

    >>> parse_keep("last 3").num_cycles, str(parse_keep("every 0.2 run").distance)
    (3, '0.2 run')

    Raises:
        ValueError: it says none of what it may.
    """
    rule, _, rest = written.strip().partition(" ")
    if written in ("none", "cycle_ends"):
        return Keep(rule=written)  # type: ignore[arg-type]  # one of the two
    if rule == "last" and re.fullmatch(r"[1-9][0-9]{0,5}", rest.strip()):
        return Keep(rule="last", num_cycles=int(rest))
    if rule == "every":
        try:
            distance = parse_duration(rest)
        except ValueError:
            distance = None
        if distance is not None and distance.value > 0:
            return Keep(rule="every", distance=distance)
    raise ValueError(f"{WORDS}, got {written!r}")


def is_keep(written: str) -> bool:
    """Tell whether ``training.snapshots`` may say this."""
    try:
        parse_keep(written)
    except ValueError:
        return False
    return True


def snapshot_updates(
    keep: Keep,
    *,
    ends: tuple[int, ...],
    total_steps: int,
    to_steps: Callable[[Duration], int],
) -> tuple[int, ...]:
    """Return the numbers of updates after which the weights are kept, ascending.

    >>> keep = parse_keep("last 2")
    >>> snapshot_updates(keep, ends=(10, 30, 70), total_steps=99, to_steps=lambda _: 1)
    (30, 70)

    Args:
        keep: what is asked for.
        ends: of the cycles of the whole run, as ``cycle_ends`` says.
        total_steps: updates of the run.
        to_steps: converts a duration into updates, at the run's budget.
    """
    if keep.rule == "cycle_ends":
        return ends
    if keep.num_cycles is not None:
        return ends[-keep.num_cycles :]
    if keep.distance is None:
        return ()
    updates: list[int] = []
    update = 0
    for times in count(1):
        # each multiple is converted for itself, so that 5 x 0.2 run is the run; at a small budget
        # they may lie closer than an update
        far = to_steps(Duration(times * keep.distance.value, keep.distance.unit))
        update = max(update + 1, far)
        if update > total_steps:
            break
        updates.append(update)
    return tuple(updates)
