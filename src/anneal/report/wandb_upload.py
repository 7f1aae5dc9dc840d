"""Find a campaign's offline runs and upload them to Weights & Biases.

Tracking writes offline runs to ``wandb/offline-run-<time>-<id>``; the id is in the run's
``tracking.json``. ``wandb sync`` uploads a run and marks its folder as synced.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anneal.io.files import read_json, read_yaml
from anneal.results.campaign import CampaignResults
from anneal.runs.directory import PLAN
from anneal.runs.directory_lock import is_held
from anneal.runs.layout import EVALUATIONS, RANGE_TESTS, REPLACED, RUNS
from anneal.runs.tracking import ID_FILE

SYNC = (sys.executable, "-m", "wandb", "sync")
UPLOAD_SECONDS = 60.0  # what an upload may take, and for each run:
RUN_SECONDS = 20.0
_FOLDER = re.compile(r"(offline-)?run-\d+_\d+-(?P<id>[0-9a-z]+)(-\d+)?")


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """One run that tracking gave an id.

    Args:
        place: the folder that keeps the id.
        id: in Weights & Biases.
        waiting: offline folders that were not uploaded yet; a resumed run has several.
        uploaded: whether there is a folder that was uploaded or logged online.
        running: whether a process is at work on it.
    """

    place: Path
    id: str
    waiting: tuple[Path, ...]
    uploaded: bool
    running: bool

    @property
    def on_disk(self) -> bool:
        """Whether there are any files of its tracking."""
        return self.uploaded or bool(self.waiting)


def find_tracked(campaign: str, *, wandb: Path | None = None) -> list[TrackedRun]:
    """Return the tracked trainings, evaluations and range tests of a campaign, by their folders.

    Args:
        campaign: its name.
        wandb: where tracking writes; WANDB_DIR's folder, or the project's, when not given.

    Raises:
        ValueError: a ``tracking.json`` is not as it was written.
    """
    folders: dict[str, list[Path]] = {}
    for path in sorted((wandb or Path(os.environ.get("WANDB_DIR", ".")) / "wandb").glob("*run-*")):
        if found := _FOLDER.fullmatch(path.name):
            folders.setdefault(found["id"], []).append(path)
    tracked = []
    for stage in (RUNS, EVALUATIONS, RANGE_TESTS):
        for path in sorted((stage / campaign).rglob(ID_FILE)):
            if REPLACED in path.parts:
                continue
            content = read_json(path)
            if not isinstance(content, dict) or not isinstance(content.get("id"), str):
                raise ValueError(f"{path}: must have the id of a tracked run")
            here = folders.get(content["id"], [])
            waiting = [p for p in here if p.name.startswith("offline-") and not _uploaded(p)]
            tracked.append(
                TrackedRun(
                    place=path.parent,
                    id=content["id"],
                    waiting=tuple(waiting),
                    uploaded=len(waiting) < len(here),
                    running=is_held(path.parent),
                )
            )
    return tracked


def project_of(runs: Sequence[TrackedRun], results: CampaignResults) -> tuple[str, str | None]:
    """Return (project, entity) that the runs on disk went to; without any, as they were planned.

    The project is empty where neither says it.
    """
    plans = [read_yaml(run.place / PLAN) for run in runs if (run.place / PLAN).is_file()]
    configurations = [plan["configuration"] for plan in plans]
    if not configurations:
        hashes = sorted(found.configuration_hash for found in results.experiments.values())
        configurations = [results.configurations.get(h, {}) for h in hashes]
    tracked = [found["tracking"] for found in configurations if "tracking" in found]
    places = sorted({(str(t["project"]), t["entity"] or "") for t in tracked}) or [("", "")]
    if len(places) > 1:
        shown = ", ".join("/".join(filter(None, (entity, name))) for name, entity in places)
        raise ValueError(f"the runs of {results.name} must be in one project, got {shown}")
    project, entity = places[0]
    return project, entity or None


def _uploaded(folder: Path) -> bool:
    return any(folder.glob("*.wandb.synced"))


def upload(folders: Sequence[Path], *, command: Sequence[str]) -> None:
    """Upload offline folders with ``wandb sync``, except those already uploaded.

    Args:
        folders: as ``TrackedRun.waiting`` has them.
        command: that they are handed to: ``SYNC``.

    Raises:
        ValueError: it failed, or took too long: how many are uploaded, and what it said last.
    """
    seconds = UPLOAD_SECONDS + RUN_SECONDS * len(folders)
    problem = ""
    try:
        ended = run_limited([*command, *map(str, folders)], seconds=seconds)
        problem = last_line(ended.stderr or ended.stdout)
    except TimeoutError as error:
        problem = str(error)
    missing = [folder for folder in folders if not _uploaded(folder)]  # it may say 0 and mean none
    if missing:
        done = len(folders) - len(missing)
        raise ValueError(f"wandb sync uploaded {done} of {len(folders)} runs; it said: {problem}")


def run_limited(command: Sequence[str], *, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command with a time limit, after which it and its children are killed.

    Its environment has no WANDB_MODE, which could be offline.

    Raises:
        TimeoutError: says how long it had.
    """
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimeoutError(f"no answer within {seconds:.0f} s") from None
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def last_line(said: str) -> str:
    r"""Return the last line with something in it, without its colours.

    >>> last_line("one\n\x1b[31mtwo\x1b[0m\n\n")
    'two'
    """
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", said)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"
