"""Seconds that the tests of each room take, and the files that start first."""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

# A process takes one file after another. A long one at the end would keep the others waiting.
LONGEST = (
    "tests/slurm/test_preempted_jobs.py",
    "tests/pipeline/test_grid.py",
    "tests/pipeline/test_pipeline.py",
    "tests/advise/test_advise.py",
    "tests/report/test_wandb.py",
    "tests/contracts/test_conf.py",
    "tests/ssh/test_remotes.py",
    "tests/runs/test_eeg_run.py",
    "tests/benchmarks/test_benchmarks.py",
    "tests/training/test_parts.py",
    "tests/pipeline/test_snapshots_and_ensembles.py",
    "tests/pipeline/test_stops_and_trackers.py",
    "tests/faults/test_bad_input.py",
    "tests/contracts/test_wheel.py",
    "tests/pipeline/test_queued_code.py",
    "tests/golden/test_golden_losses.py",
)


def start_order(nodeid: str) -> int:
    """Return the place of a test's file among those that start first.

    >>> start_order(f"{LONGEST[1]}::test_a"), start_order("tests/io/test_text.py::test_a")
    (1, 16)
    """
    file = nodeid.split("::")[0]
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)


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
