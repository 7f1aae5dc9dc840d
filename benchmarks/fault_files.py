"""Damaged configurations, claims, results and reports, for ``faults.py``."""

import functools
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from damage import (
    DAMAGES,
    Attempt,
    Ended,
    damage,
    forked,
    limit_files,
    read_only,
    rewrite,
    tried,
)
from mutation_targets import ROOT, Target, make_targets

WRITTEN = {  # kind of mutation_targets -> name in the table
    "params.yaml": "params.yaml", "claims": "claim", "table": "table", "results": "results/"
}  # fmt: skip


class Files:
    """Good files to damage, each made once.

    Args:
        folder: of all of them.
        draw: of damages.
    """

    def __init__(self, folder: Path, draw: random.Random) -> None:
        folder.mkdir()
        self.folder, self.draw = folder, draw

    def fresh(self) -> Path:
        """Return a folder for one attempt."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    @functools.cached_property
    def targets(self) -> dict[str, list[Target]]:
        """Files that people write, and their readers."""
        place = self.folder / "written"
        place.mkdir()
        with chdir(place):
            made = list(make_targets(place))
        return {kind: [t for t in made if t.kind == kind] for kind in WRITTEN}

    @functools.cached_property
    def report(self) -> Path:
        """A project with a report."""
        place = self.folder / "report"
        shutil.copytree(ROOT / "paper", place / "paper")
        shutil.copytree(ROOT / "results" / "quick", place / "results" / "quick")
        ended = write_report(place)
        assert ended.status == 0, ended
        return place

    @functools.cached_property
    def project(self) -> Path:
        """A clone of the project."""
        place = self.folder / "project"
        quiet = {"check": True, "capture_output": True}
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(place)], **quiet)
        return place

    @functools.cached_property
    def status(self) -> str:
        """What DVC says of the clone before any damage."""
        ended = dvc_status(self.project)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def damaged_written(files: Files, *, of: str, kind: str) -> Attempt:
    """Damage a file that people write: it is refused, or read as what it now says."""
    target = files.draw.choice(files.targets[of])
    path = files.draw.choice(target.files)
    others = [p for targets in files.targets.values() for t in targets for p in t.files]
    foreign = files.draw.choice([p for p in others if p.name != path.name]).read_bytes()
    good = path.read_bytes()
    rewrite(path, damage(good, kind, files.draw, foreign=foreign))
    with chdir(files.folder / "written"):
        refused, said, wrong = tried(target.read)
    rewrite(path, good)
    if refused and path.name not in said and ".yaml" not in said and ".csv" not in said:
        wrong = wrong or f"{path.name}: named no file: {said}"
    if kind == "empty" and not refused:
        wrong = wrong or f"{path.name}: not refused"
    return Attempt(how="rewritten", lost=wrong, said=said)


def damaged_lock(files: Files, *, kind: str) -> Attempt:
    """Damage dvc.lock: DVC names it, or shows a difference; put back, it is as before."""
    project = files.project
    path = project / "dvc.lock"
    good, before = path.read_bytes(), files.status
    foreign = (project / "params.yaml").read_bytes()
    rewrite(path, damage(good, kind, files.draw, foreign=foreign))
    ended = dvc_status(project)
    rewrite(path, good)
    lines = [line for line in ended.stderr.splitlines() if path.name in line]
    said = lines[0].removeprefix("ERROR: ") if ended.returncode and lines else ""
    again = dvc_status(project)
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True, check=True
    ).stdout
    faults = {
        "a traceback": "Traceback" in ended.stderr,
        f"refused without its name: {ended.stderr}": ended.returncode and not said,
        "not noticed": kind != "bit-flipped" and ended.stdout == before,
        f"not as before when put back: {again.stderr}": again.stdout != before,
        f"changed {changed}": changed,
    }
    lost = next((words for words, is_there in faults.items() if is_there), None)
    return Attempt(how="rewritten", lost=lost, said=said)


def dvc_status(project: Path) -> "subprocess.CompletedProcess[str]":
    """Ask DVC in what a clone differs from its lock."""
    command = ["dvc", "status", "--json"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def write_report(place: Path, limit: int | None = None) -> Ended:
    """Write the report of a project, with no file beyond a limit."""

    def work() -> None:
        from anneal.commands.stages.report import main

        if limit is not None:
            limit_files(limit)
        main([])

    return forked(place, work)


def unwritable_report(files: Files, *, is_full: bool) -> Attempt:
    """Write a changed report where it does not fit, or nothing can be written."""
    place = files.fresh() / "project"
    shutil.copytree(files.report, place)
    outputs = [place / "paper" / name for name in ("report.md", "report.html")]
    before = [path.read_bytes() for path in outputs]
    campaign = place / "results" / "quick" / "campaign.yaml"
    campaign.write_text(campaign.read_text().replace("title: ", "title: Changed ", 1))
    if is_full:
        smallest = min(map(len, before))
        ended, how = write_report(place, files.draw.randrange(smallest)), "RLIMIT_FSIZE"
    else:
        with read_only(place / "paper") as how:
            ended = write_report(place)
    changed = [
        path.name for path, old in zip(outputs, before, strict=True) if path.read_bytes() != old
    ]
    partial = [p.name for p in (place / "paper").glob(".*.tmp")]
    kept = None if not changed and not partial else f"changed {changed}, left {partial}"
    lost = ended.fault(refused=True, words="report.") or kept
    return Attempt(how=how, lost=lost, said=ended.said)


CASES: tuple[tuple[str, Callable[[Files], Attempt]], ...] = (
    ("disk full: report", functools.partial(unwritable_report, is_full=True)),
    ("read-only folder: report", functools.partial(unwritable_report, is_full=False)),
    *((f"{kind} dvc.lock", functools.partial(damaged_lock, kind=kind)) for kind in DAMAGES),
    *(
        (f"{kind} {name}", functools.partial(damaged_written, of=of, kind=kind))
        for of, name in WRITTEN.items()
        for kind in DAMAGES
    ),
)
