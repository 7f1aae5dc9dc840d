"""Snapshot rules: the updates after which a run saves its weights.

Snapshots change no number, so the rule is not part of a configuration's hash. The updates follow
from the plan alone: a resumed run saves the same ones.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Literal

from anneal.config.durations import Duration, parse_duration

KEY = "training.snapshots"
SNAPSHOT_WORDS = (
    "must be none, cycle_ends, last <number of cycles> or every <duration> "
    "('last 3', 'every 0.2 run')"
)


@dataclass(frozen=True, kw_only=True)
class SnapshotRule:
    """Parsed value of ``training.snapshots``.

    Args:
        kind: no snapshots; at the end of each cycle; at the ends of the last few cycles of the
            run; at equal distances, whatever the schedule (the NoCycle snapshots of Huang et al.,
            arXiv 1704.00109).
        num_cycles: for ``last``, >= 1.
        distance: for ``every``.
    """

    kind: Literal["none", "cycle_ends", "last", "every"]
    num_cycles: int | None = None
    distance: Duration | None = None


def parse_snapshot_rule(written: str) -> SnapshotRule:
    """Parse ``training.snapshots``.

    >>> parse_snapshot_rule("last 3").num_cycles
    3
    >>> str(parse_snapshot_rule("every 0.2 run").distance)
    '0.2 run'

    Raises:
        ValueError: it is not a snapshot rule.
    """
    kind, _, rest = written.strip().partition(" ")
    if written in ("none", "cycle_ends"):
        return SnapshotRule(kind=written)  # type: ignore[arg-type]  # one of the two
    if kind == "last" and re.fullmatch(r"[1-9][0-9]{0,5}", rest.strip()):
        return SnapshotRule(kind="last", num_cycles=int(rest))
    if kind == "every":
        try:
            distance = parse_duration(rest)
        except ValueError:
            distance = None
        if distance is not None and distance.value > 0:
            return SnapshotRule(kind="every", distance=distance)
    raise ValueError(f"{SNAPSHOT_WORDS}, got {written!r}")


def is_snapshot_rule(written: str) -> bool:
    """Return whether a text is a valid value of ``training.snapshots``."""
    try:
        parse_snapshot_rule(written)
    except ValueError:
        return False
    return True


def snapshot_updates(
    rule: SnapshotRule,
    *,
    ends: tuple[int, ...],
    total_steps: int,
    to_steps: Callable[[Duration], int],
) -> tuple[int, ...]:
    """Return the numbers of updates after which the weights are kept, ascending.

    >>> rule = parse_snapshot_rule("last 2")
    >>> snapshot_updates(rule, ends=(10, 30, 70), total_steps=99, to_steps=lambda _: 1)
    (30, 70)

    Args:
        rule: what is asked for.
        ends: of the cycles of the whole run, as ``cycle_ends`` says.
        total_steps: updates of the run.
        to_steps: converts a duration into updates, at the run's budget.
    """
    if rule.kind == "cycle_ends":
        return ends
    if rule.num_cycles is not None:
        return ends[-rule.num_cycles :]
    if rule.distance is None:
        return ()
    updates: list[int] = []
    update = 0
    for times in count(1):
        # each multiple is converted for itself, so that 5 x 0.2 run is the run; at a small budget
        # they may lie closer than an update
        far = to_steps(Duration(times * rule.distance.value, rule.distance.unit))
        update = max(update + 1, far)
        if update > total_steps:
            break
        updates.append(update)
    return tuple(updates)
