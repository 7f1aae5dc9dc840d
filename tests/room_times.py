"""Seconds that the tests of each room take, for the end of a run."""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol


class Timed(Protocol):
    """One phase of a test: set-up, call or teardown."""

    nodeid: str
    duration: float


def room_of(nodeid: str) -> str:
    """Return the folder below tests/; doctests belong to ``src``.

    >>> room_of("tests/schedules/test_hand.py::test_a"), room_of("src/anneal/io/text.py::text")
    ('schedules', 'src (doctests)')
    """
    folder, *inside = nodeid.split("::")[0].split("/")
    if folder != "tests":
        return f"{folder} (doctests)"
    return inside[0]


def times_by_room(phases: Iterable[Timed]) -> list[str]:
    """Return a line for each room: its seconds and number of tests, the longest first."""
    seconds, tests = Counter[str](), dict[str, set[str]]()
    for phase in phases:
        room = room_of(phase.nodeid)
        seconds[room] += phase.duration
        tests.setdefault(room, set()).add(phase.nodeid)
    return [
        f"{spent:8.1f} s  {room}  ({len(tests[room])} tests)"
        for room, spent in seconds.most_common()
    ]
