"""A campaign by `anneal grid`, killed twice on the way: results/ as `dvc repro` makes them."""

import csv
import io
import os
import shutil
import signal
import time

import pytest

from anneal.runs.directory import CHECKPOINT, HISTORY
from anneal.runs.directory_lock import is_held
from anneal.runs.result_file import RESULT

pytestmark = pytest.mark.slow
GRID = ("-m", "anneal", "grid", "--workers", "2")
OF_THE_CLOCK = ("started", "seconds")  # columns of runs.csv; every other one is compared
MADE = ("runs", "evaluations", "experiments", "range_tests", "results/smoke", "data",
        "dvc.lock", ".dvc/tmp", ".dvc/cache")  # fmt: skip


def results(project):
    """Return every file below results/smoke, runs.csv without the columns of the clock."""
    folder = project.root / "results/smoke"
    found = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    (name,) = (name for name in found if name.name == "runs.csv")
    rows = list(csv.DictReader(io.StringIO(found.pop(name).decode())))
    return found, [{k: v for k, v in row.items() if k not in OF_THE_CLOCK} for row in rows]


def forget(project):
    """Remove all that was made, what DVC knows of it too."""
    for name in MADE:
        path = project.root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def wait_for(what, process):
    deadline = time.monotonic() + 240
    while not what():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.mark.skipif(
    hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < 2, reason="needs two cores"
)
def test_results_equal_those_of_dvc_repro_after_two_kills(project):
    project.python("-m", "anneal", "params", "campaign=smoke", "tracking=off", "hardware=cpu",
                   "hardware.threads=1", "budget_fraction=0.5")  # fmt: skip
    project.run("dvc", "repro")
    alone = results(project)
    assert len(alone[1]) == 6
    forget(project)
    runs = project.root / "runs/smoke/smoke"

    grid = project.start(*GRID)
    wait_for(lambda: (runs / "plain/seed-1" / HISTORY).is_file(), grid)
    assert "Data and pipelines" in project.run("dvc", "status", "compose")  # no lock is held
    grid.send_signal(signal.SIGTERM)
    said, _ = grid.communicate(timeout=240)
    assert grid.returncode == 130, said
    assert "stopping 2 runs at their next checkpoint" in said
    assert (runs / "plain/seed-1" / CHECKPOINT).is_file()
    assert not (runs / "plain/seed-1" / RESULT).is_file()

    grid = project.start(*GRID)  # goes on; then the grid is killed, and its processes outlive it
    seed = runs / "found/seed-0"
    wait_for(lambda: (seed / HISTORY).is_file() and is_held(seed), grid)
    grid.kill()
    grid.wait(timeout=240)  # not for its output, which its runs hold open
    assert is_held(seed)

    said = project.python(*GRID)
    assert "6 of 6 runs ended" in said
    assert results(project) == alone
    assert "up to date" in project.run("dvc", "status")
    assert "6 of 6 runs ended" in project.python("-m", "anneal", "status")


def test_failed_run_leaves_the_results_of_the_others(project):
    project.python("-m", "anneal", "params", "campaign=failing", "tracking=off", "hardware=cpu",
                   "hardware.threads=1")  # fmt: skip
    blocked = project.root / "runs/failing/smoke/diverging/seed-0"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the run's folder should be")
    said = project.python(*GRID, "--retries", "0", expect=1)
    assert "1 of 2 runs ended" in said
    assert "smoke/diverging seed 0 failed: error: runs/failing/smoke/diverging/seed-0" in said
    assert "the same command tries them again" in said
    status = project.python("-m", "anneal", "status")
    assert "seed 0 failed" in status
    rows = (project.root / "results/failing/runs.csv").read_text()
    assert "smoke/plain,0" in rows
    blocked.unlink()
    assert "2 of 2 runs ended" in project.python(*GRID)
    assert "up to date" in project.run("dvc", "status")
