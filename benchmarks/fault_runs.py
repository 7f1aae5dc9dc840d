"""Damage to the disk and the files of a real run, for ``faults.py``; the run then resumes."""

import functools
import itertools
import json
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from damage import (
    DAMAGES,
    Attempt,
    Ended,
    can_mount,
    damage,
    disk,
    fill,
    forked,
    limit_files,
    read_only,
    rewrite,
)
from kill_campaign import differences_of_runs
from kill_moments import die, on_call

OPTIONS = (
    "hardware=cpu", "tracking=off", "dataset.image_size=16", "training.batch_size=10",
    "training.length=30 steps", "training.log_lines=30", "training.evaluations=3",
    "training.snapshots=every 10 steps", "hardware.threads=1", "seed=0",
)  # fmt: skip
Arm = Callable[[], object]


class Runs:
    """Runs to break, and the one that was never broken.

    Args:
        folder: of all runs.
        draw: of moments and damages.
    """

    def __init__(self, folder: Path, draw: random.Random) -> None:
        import anneal.commands.multirun_job  # noqa: F401 - before forking, for speed

        folder.mkdir()
        self.folder, self.draw = folder, draw
        self._numbers = itertools.count()
        self.reference = folder / "reference"
        self.reference.mkdir()
        self.must(run(self.reference))

    def fresh(self) -> Path:
        """Return a folder for a run."""
        place = self.folder / f"run-{next(self._numbers)}"
        place.mkdir()
        return place

    @functools.cached_property
    def other(self) -> Path:
        """A finished run of another configuration."""
        place = self.fresh()
        self.must(run(place, nothing, "scheduler.max_lr=0.004"))
        return place

    def must(self, ended: Ended) -> None:
        """Stop if a command without a fault failed."""
        if ended.status:
            sys.exit(f"a run without a fault failed: {ended.errors}")

    def lost(self, place: Path) -> str | None:
        """Resume a run; return what is lost against the one never broken, None: nothing."""
        again = run(place)
        if (wrong := again.fault(refused=False)) is not None:
            return f"not resumed: {wrong}"
        starts = json.loads((seed_folder(place) / "environment.json").read_text())
        if starts[-1]["from_update"] == 0:
            return "the last checkpoint"
        return self.differs(place)

    def differs(self, place: Path) -> str | None:
        """Return in what a finished run differs from the one never broken; None: nothing."""
        return "; ".join(differences_of_runs(self.reference, place, "run")) or None

    def interrupted(self) -> Path:
        """Return a run that was killed after some checkpoints."""
        place = self.fresh()
        number = self.draw.randint(3, 25)
        ended = run(place, lambda: at_checkpoint(number, die))
        assert ended.status < 0, ended
        return place


def nothing() -> None:
    """Arm no fault."""


def run(place: Path, arm: Arm = nothing, *options: str) -> Ended:
    """Train or resume a run in a child, with a checkpoint after each update."""

    def work() -> None:
        from anneal.commands.run import main
        from anneal.runs import observers

        observers.CHECKPOINT_SECONDS = -1.0
        arm()
        main([*OPTIONS, *options])

    return forked(place, work)


def seed_folder(place: Path) -> Path:
    """Return the directory of the run."""
    (found,) = place.glob("multirun/*/seed-0")
    return found


def at_checkpoint(number: int, act: Callable[[], object]) -> None:
    """Act before a checkpoint is written."""
    from anneal.runs.directory import RunDirectory

    save, now = RunDirectory.save_checkpoint, on_call(number)

    def saved(self: RunDirectory, state: dict[str, Any], **how: Any) -> None:
        if now():
            act()
        save(self, state, **how)

    RunDirectory.save_checkpoint = saved  # type: ignore[method-assign]


def full_disk(runs: Runs) -> Attempt:
    """Fill the disk before a checkpoint, so that a part of it fits."""
    size = (seed_folder(runs.reference) / "checkpoint.pt").stat().st_size
    number, rest = runs.draw.randint(3, 25), runs.draw.randrange(size)
    place = runs.fresh()
    if not can_mount():
        ended = run(place, lambda: at_checkpoint(number, lambda: limit_files(rest)))
        lost = ended.fault(refused=True, words="checkpoint.pt") or runs.lost(place)
        return Attempt(how="RLIMIT_FSIZE", lost=lost, said=ended.said)
    place.rmdir()
    with disk(place, megabytes=64):
        ended = run(place, lambda: at_checkpoint(number, lambda: fill(place, but=rest)))
        (place / ".filler").unlink()
        lost = ended.fault(refused=True, words="checkpoint.pt") or runs.lost(place)
    return Attempt(how="full tmpfs", lost=lost, said=ended.said)


def full_disk_in_history(runs: Runs) -> Attempt:
    """Let a line of the history not fit."""
    from anneal.runs.directory import HISTORY, RunDirectory

    append, now, place = RunDirectory.append, on_call(runs.draw.randint(8, 50)), runs.fresh()

    def appended(self: RunDirectory, name: str, line: dict[str, Any]) -> None:
        if now():
            limit_files((self.path / HISTORY).stat().st_size + 20)
            name = HISTORY
        append(self, name, line)

    ended = run(place, lambda: setattr(RunDirectory, "append", appended))
    lost = ended.fault(refused=True, words=HISTORY) or runs.lost(place)
    return Attempt(how="RLIMIT_FSIZE", lost=lost, said=ended.said)


def read_only_folder(runs: Runs) -> Attempt:
    """Resume where nothing can be written."""
    place = runs.interrupted()
    with read_only(place) as how:
        ended = run(place)
    lost = ended.fault(refused=True) or runs.lost(place)
    return Attempt(how=how, lost=lost, said=ended.said)


def damaged_checkpoint(runs: Runs, *, kind: str) -> Attempt:
    """Damage the newest checkpoint: the previous one is resumed, another run's is refused."""
    place, foreign = runs.interrupted(), seed_folder(runs.other) / "checkpoint.pt"
    file = seed_folder(place) / "checkpoint.pt"
    good = file.read_bytes()
    rewrite(file, damage(good, kind, runs.draw, foreign=foreign.read_bytes()))
    if kind == "foreign":
        ended = run(place)
        rewrite(file, good)
        wrong, said = ended.fault(refused=True, words="checkpoint.pt"), ended.said
    else:
        ended = run(place, lambda: at_checkpoint(1, die))
        said = next(iter(ended.output.splitlines()), "")
        wrong = None if "resuming from" in said else "said nothing"
    lost = wrong or runs.lost(place)
    return Attempt(how="rewritten", lost=lost, said=said)


def damaged_history(runs: Runs, *, kind: str) -> Attempt:
    """Damage the history of a run to resume."""
    place = runs.interrupted()
    file, foreign = seed_folder(place) / "history.jsonl", seed_folder(runs.other) / "history.jsonl"
    good = file.read_bytes()
    rewrite(file, damage(good, kind, runs.draw, foreign=foreign.read_bytes()))
    ended = run(place)
    if ended.status == 0:  # right if what was damaged is behind the checkpoint, and made again
        lost = runs.differs(place)
    else:
        rewrite(file, good)
        lost = ended.fault(refused=True, words="history.jsonl") or runs.lost(place)
    return Attempt(how="rewritten", lost=lost, said=ended.said)


def damaged_result(runs: Runs, *, kind: str) -> Attempt:
    """Damage the result file of a finished run."""
    place = runs.fresh()
    shutil.copytree(runs.reference, place, dirs_exist_ok=True)
    file, foreign = seed_folder(place) / "result.json", seed_folder(runs.other) / "result.json"
    good = json.loads(file.read_text())
    rewrite(file, damage(file.read_bytes(), kind, runs.draw, foreign=foreign.read_bytes()))
    ended = run(place)
    unchanged = ended.status == 0 and json.loads(file.read_text()) == good  # a space of JSON
    lost = None if unchanged else ended.fault(refused=True, words="result.json")
    return Attempt(how="rewritten", lost=lost, said=ended.said)


def two_processes(runs: Runs) -> Attempt:
    """Start a run a second time while the first is in the middle of it."""
    place, number = runs.fresh(), runs.draw.randint(2, 25)
    there, gone = place / "there", place / "gone"

    def wait() -> None:
        there.touch()
        while not gone.exists():
            time.sleep(0.01)

    first: list[Ended] = []
    one = threading.Thread(
        target=lambda: first.append(run(place, lambda: at_checkpoint(number, wait)))
    )
    one.start()
    while one.is_alive() and not there.exists():
        time.sleep(0.01)
    second = run(place)
    gone.touch()
    one.join()
    lost = (
        second.fault(refused=True, words="in use")
        or first[0].fault(refused=False)
        or runs.differs(place)
    )
    return Attempt(how="real", lost=lost, said=second.said)


CASES: tuple[tuple[str, Callable[[Runs], Attempt]], ...] = (
    ("disk full: checkpoint", full_disk),
    ("disk full: history", full_disk_in_history),
    ("read-only folder: run", read_only_folder),
    *(
        (f"{kind} {name}", functools.partial(case, kind=kind))
        for name, case in (
            ("checkpoint", damaged_checkpoint),
            ("history", damaged_history),
            ("result file", damaged_result),
        )
        for kind in DAMAGES
    ),
    ("two processes on one run", two_processes),
)
