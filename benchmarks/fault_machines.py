"""Clocks, trackers, memories and file systems that fail a real run, for ``faults.py``."""

import errno
import fcntl
import functools
import itertools
import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from damage import SECONDS, Attempt
from fault_runs import Runs, at_checkpoint, run, seed_folder
from kill_moments import die

from anneal.runs.directory import TIMING, read_lines

# A tracker's background process in which one method misbehaves.
BROKEN = """
import os, signal, time
from anneal.runs.tracking import serve_pipe
class Backend:
    def open(self, message): pass
    def log(self, update, values): pass
    def summary(self, values): pass
    def close(self, status): pass
def broken(self, *_): {fault}
Backend.{method} = broken
serve_pipe(Backend())
"""
METHODS = ("open", "log", "summary", "close")
TRACKER_FAULTS = {
    "raises": "raise RuntimeError('no such project')",
    "hangs": "time.sleep(60)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
}
TEN_YEARS = 10 * 365 * 86400.0
SPARE = 300 << 20  # bytes that a run may take beyond those that it has


def jumping_clock(runs: Runs, *, direction: int) -> Attempt:
    """Let the wall clock jump by up to a year at each look, and files have such times."""
    from anneal.runs import environment

    place, jump = runs.interrupted(), direction * runs.draw.uniform(1, TEN_YEARS)
    for path in place.rglob("*"):
        os.utime(path, (time.time() + jump,) * 2)
    looks, clock = itertools.count(), time.time

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:  # noqa: ARG003
            return datetime.now(UTC) + next(looks) * timedelta(seconds=jump / 10)

    def arm() -> None:
        environment.datetime = Jumping  # type: ignore[misc]
        time.time = lambda: clock() + next(looks) * jump / 10

    ended = run(place, arm)
    lost = ended.fault(refused=False) or odd_seconds(place) or runs.differs(place)
    return Attempt(how="wrapped", lost=lost, said=ended.said)


def odd_seconds(place: Path) -> str | None:
    """Return seconds of a run that no clock without jumps has counted; None: there are none."""
    found = [line["seconds"] for line in read_lines(seed_folder(place) / TIMING)]
    return next((f"{odd} s of training" for odd in found if not 0 <= odd < SECONDS), None)


def broken_tracker(runs: Runs, *, fault: str, method: str) -> Attempt:
    """Let W&B raise, hang or be killed in one of its calls."""
    from anneal.runs import side_process, tracking

    program = BROKEN.format(fault=TRACKER_FAULTS[fault], method=method)

    def arm() -> None:
        side_process.START_SECONDS = 3.0
        tracking.open_tracker.__kwdefaults__.update(
            command=(sys.executable, "-c", program), close_seconds=1.0
        )

    place = runs.fresh()
    ended = run(place, arm, "tracking=offline")
    silent = None if "tracking failed" in ended.errors else "said nothing"
    lost = ended.fault(refused=False) or silent or runs.differs(place)
    return Attempt(how=f"in {method}", lost=lost, said=ended.said)


def out_of_memory(runs: Runs) -> Attempt:
    """Let the memory of a process not hold a batch."""

    def arm() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + SPARE
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    images = runs.draw.randint(600, 1400)
    ended = run(runs.fresh(), arm, f"training.batch_size={images}", "dataset.image_size=128")
    named = f"training.batch_size is {images}" in ended.said
    lost = ended.fault(refused=True) or (None if named else f"no advice: {ended.said}")
    return Attempt(how="RLIMIT_AS", lost=lost, said=ended.said)


def no_renaming(runs: Runs) -> Attempt:
    """Take renaming over a file from the file system, before some checkpoint."""
    replace = Path.replace

    def refused(self: Path, target: Path) -> Path:
        if Path(target).exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))
        return replace(self, target)

    place, number = runs.interrupted(), runs.draw.randint(1, 4)
    ended = run(place, lambda: at_checkpoint(number, lambda: setattr(Path, "replace", refused)))
    lost = ended.fault(refused=True, words="replaces no file by renaming") or runs.lost(place)
    return Attempt(how="wrapped", lost=lost, said=ended.said)


def no_hard_links(runs: Runs) -> Attempt:
    """Take hard links from the file system."""
    place = runs.interrupted()
    ended = run(place, lambda: setattr(os, "link", failing(errno.EPERM)))
    lost = ended.fault(refused=False) or runs.differs(place)
    return Attempt(how="wrapped", lost=lost, said=ended.said)


def no_locks(runs: Runs) -> Attempt:
    """Let the file system have no lock to give."""
    place = runs.interrupted()
    ended = run(place, lambda: setattr(fcntl, "flock", failing(errno.ENOLCK)))
    lost = ended.fault(refused=True, words="a file system with locks") or runs.lost(place)
    return Attempt(how="wrapped", lost=lost, said=ended.said)


def no_call_for_locks(runs: Runs) -> Attempt:
    """Let the file system not know locks, in a run that is killed too: files of locks do."""
    place, number = runs.fresh(), runs.draw.randint(3, 25)

    def arm() -> None:
        fcntl.flock = failing(errno.ENOSYS)

    def arm_to_die() -> None:
        arm()
        at_checkpoint(number, die)

    run(place, arm_to_die)
    ended = run(place, arm)
    lost = ended.fault(refused=False) or runs.differs(place)
    said = next((line for line in ended.errors.splitlines() if "flock" in line), "")
    return Attempt(how="wrapped", lost=lost, said=said)


def failing(number: int) -> Callable[..., None]:
    """Return a function that raises this error of the system."""

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


CASES: tuple[tuple[str, Callable[[Runs], Attempt]], ...] = (
    ("clock jumps forward", functools.partial(jumping_clock, direction=1)),
    ("clock jumps back", functools.partial(jumping_clock, direction=-1)),
    *(
        (f"W&B {fault}", functools.partial(broken_tracker, fault=fault, method=method))
        for fault in TRACKER_FAULTS
        for method in METHODS
    ),
    ("out of memory", out_of_memory),
    ("no renaming over a file", no_renaming),
    ("no hard links", no_hard_links),
    ("no locks: ENOLCK", no_locks),
    ("no locks: ENOSYS", no_call_for_locks),
)
