"""The end of a run says how long the tests of each room took; the longest files start first."""

from pathlib import Path
from types import SimpleNamespace

from tests.room_times import LONGEST, times_by_room


def phase(nodeid: str, duration: float) -> SimpleNamespace:
    return SimpleNamespace(nodeid=nodeid, duration=duration)


def test_times_are_summed_by_room_the_longest_first() -> None:
    lines = times_by_room(
        [
            phase("tests/io/test_files.py::test_a", 1.0),
            phase("tests/io/test_files.py::test_a", 0.5),  # its teardown
            phase("tests/runs/test_plan.py::test_b[x::y/z]", 2.25),
            phase("tests/runs/sub/test_plan.py::test_c", 1.0),
            phase("src/anneal/io/git.py::anneal.io.git", 0.25),
        ]
    )
    assert lines == [
        "     3.2 s  runs  (2 tests)",
        "     1.5 s  io  (1 tests)",
        "     0.2 s  src (doctests)  (1 tests)",
    ]


def test_files_that_start_first_exist(repository: Path) -> None:
    assert [name for name in LONGEST if not (repository / name).is_file()] == []
