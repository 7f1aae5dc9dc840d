"""Kill real training processes at random moments, resume them, and compare with runs never killed.

``python benchmarks/kill_campaign.py [--kills 200] [--seed 0] [--only MOMENT] [--write PAGE]``

Moments: in an update, in an evaluation, while a line of the history, a checkpoint or the result is
written (before, in the middle of and after each step), in ``dvc repro`` with all its stages, one
worker of ``anneal grid``, one rank of a run on two processes. Each kill is SIGKILL, and the next
start resumes what it left. At the end histories, weights, metrics and ``results/`` must be those of
a run on as many processes that was never killed, bit for bit, but for times. A difference ends the
command with status 1 and keeps the runs.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from kill_moments import Moment

from anneal.io.files import renew_page
from anneal.io.text import markdown_table

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = (
    "hardware=cpu", "tracking=off", "dataset.image_size=16", "training.batch_size=10",
    "training.length=300 steps", "training.log_lines=60", "training.evaluations=10",
    "training.snapshots=every 100 steps", "hardware.threads=1",
)  # fmt: skip
IN_ONE_RUN = ("update", "evaluation", "history", "checkpoint", "result")
SHARES = {"dvc repro": 0.08, "grid worker": 0.06, "rank": 0.1}  # of the kills; the rest in one run
OFTEN = {"ANNEAL_CHECKPOINT_SECONDS": "0.05"}
TIMES = ("started", "seconds", "commit")  # columns of runs.csv that no two runs share


@dataclass
class Tally:
    """Kills, runs ended after them, and differences, by moment."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return the counts as a table."""
        rows = [[moment, str(count)] for moment, count in self.kills.items()]
        rows.append(["**all**", f"**{self.kills.total()}**"])
        made = markdown_table(["killed in or while", "kills"], rows, sides=["left", "right"])
        return (
            f"{made}\n\n{self.runs.total()} runs and campaigns ended after these kills; "
            f"{len(self.differences)} differences from one that was never killed."
        )


def main() -> None:
    """Kill, resume, compare and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=(*IN_ONE_RUN, *SHARES))
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    draw, tally, began = random.Random(arguments.seed), Tally(), time.monotonic()
    shares = {kind: round(share * arguments.kills) for kind, share in SHARES.items()}
    moments = IN_ONE_RUN
    if (only := arguments.only) is not None:
        shares = {kind: arguments.kills * (kind == only) for kind in SHARES}
        moments = tuple(kind for kind in IN_ONE_RUN if kind == only)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    kill_runs(folder, arguments.kills - sum(shares.values()), draw, tally, moments)
    kill_ranks(folder, shares["rank"], draw, tally)
    for kind, command in (
        ("dvc repro", ["dvc", "repro"]),
        ("grid worker", ["anneal", "grid", "--workers", "2", "--retries", "0"]),
    ):
        kill_campaigns(folder, kind, command, shares[kind], draw, tally)
    print(tally.table())
    print(f"{time.monotonic() - began:.0f} s")
    if arguments.write and not tally.differences:
        renew_page(arguments.write, {"kills": tally.table()})
    if tally.differences:
        sys.exit("\n".join([*tally.differences, f"the runs are in {folder}"]))
    shutil.rmtree(folder)


def kill_runs(
    folder: Path, kills: int, draw: random.Random, tally: Tally, moments: Sequence[str]
) -> None:
    """Kill single runs in this process's children, which need not import torch again."""
    import anneal.commands.multirun_job  # noqa: F401 - before forking, for speed

    seed = 0
    done = 0
    while done < kills:
        options = [*OPTIONS, f"seed={seed}"]
        reference, killed = folder / f"reference-{seed}", folder / f"killed-{seed}"
        fork_run(reference, options, None)
        while True:
            kind = draw.choice(moments) if done < kills else None
            moment = kind and Moment(kind, draw.randrange(2**32), turn=tally.kills[kind])
            status = fork_run(killed, options, moment or None)
            if status == 0:
                break
            if status != -signal.SIGKILL:
                said = (killed / "errors").read_text().strip().splitlines()[-1:]
                sys.exit(f"seed {seed}, before a kill in {kind}: status {status}, {said}")
            tally.kills[str(kind)] += 1
            done += 1
        tally.runs["run"] += 1
        if found := differences_of_runs(reference, killed, f"seed {seed}"):
            tally.differences += found
        else:
            shutil.rmtree(reference)
            shutil.rmtree(killed)
        seed += 1


def fork_run(folder: Path, options: list[str], moment: Moment | None) -> int:
    """Train or resume a run in a child; return its exit status, negative if a signal ended it."""
    folder.mkdir(exist_ok=True)
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.chdir(folder)
            with Path(os.devnull).open("w") as nowhere, Path("errors").open("a") as errors:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(errors.fileno(), 2)
            from anneal.commands import run

            os.environ |= OFTEN
            if moment:
                moment.arm()
            run.main(options)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def differences_of_runs(reference: Path, killed: Path, name: str) -> list[str]:
    """Return what differs between two folders of one run: history, weights, snapshots, metrics."""
    import torch

    (one,), (other,) = (list(place.glob("multirun/*/seed-*/")) for place in (reference, killed))
    found = []
    if (one / "history.jsonl").read_bytes() != (other / "history.jsonl").read_bytes():
        found.append(f"{name}: the histories differ")
    if json.loads((one / "result.json").read_text()) != json.loads(
        (other / "result.json").read_text()
    ):
        found.append(f"{name}: the metrics differ")
    names = [sorted(path.name for path in (run / "snapshots").iterdir()) for run in (one, other)]
    if names[0] != names[1]:
        found.append(f"{name}: the snapshots are of other updates")
    for file in ("checkpoint.pt", *(f"snapshots/{snapshot}" for snapshot in names[0])):
        weights = [
            torch.load(run / file, weights_only=True)
            for run in (one, other)
            if (run / file).exists()
        ]
        if len(weights) != 2 or not same(*weights):
            found.append(f"{name}: {file} differs")
    return found


def same(one: Any, other: Any) -> bool:
    """Return whether nested plain data with tensors is equal, bit for bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(
            one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def kill_ranks(folder: Path, kills: int, draw: random.Random, tally: Tally) -> None:
    """Kill one rank of runs on two processes at a time."""
    while tally.kills["rank"] < kills:
        seed = tally.runs["ranks"]
        options = ["training.accumulation=2", "hardware.processes=2", f"seed={seed}"]
        command = ["anneal", "run", *OPTIONS, *options]
        reference, killed = (folder / f"{name}-ranks-{seed}" for name in ("reference", "killed"))
        for place in (reference, killed):
            place.mkdir()
        finish(reference, command)
        while tally.kills["rank"] < kills and kill_rank(killed, command, draw):
            tally.kills["rank"] += 1
        finish(killed, command)
        tally.runs["ranks"] += 1
        tally.differences += differences_of_runs(reference, killed, f"two ranks, seed {seed}")


def kill_rank(folder: Path, command: list[str], draw: random.Random) -> bool:
    """Start or resume a run on two processes and kill one; False where it ended before."""
    from kills import wait_for_ranks, wait_for_start

    run = start(folder, command)
    ranks = wait_for_ranks(run, 2)
    wait_for_start(folder, run)
    with suppress(subprocess.TimeoutExpired):
        run.wait(draw.uniform(0, 3))
    is_early = run.returncode is not None
    if not is_early:
        with suppress(ProcessLookupError):  # it has ended since
            os.kill(ranks[draw.randrange(2)], signal.SIGKILL)
    _, errors = run.communicate()
    if is_early and run.returncode:
        sys.exit(f"{folder.name}, before a kill: {errors.strip()}")
    return run.returncode != 0


def kill_campaigns(
    folder: Path, kind: str, command: list[str], kills: int, draw: random.Random, tally: Tally
) -> None:
    """Kill ``dvc repro`` with its children, or one worker of ``anneal grid``; compare results/."""
    if not kills:
        return
    reference, killed = (copy_of_project(folder / f"{kind[:4]}-{name}") for name in ("a", "b"))
    finish(reference, command)
    done = 0
    while done < kills:
        run = start(killed, command)
        ended = wait_or_kill(run, kind, draw.uniform(1, 25))
        if ended == 0:  # whole before the kill: again from nothing but the sources
            tally.runs[kind] += 1
            tally.differences += differences_of_results(reference, killed, kind)
            shutil.rmtree(killed)
            killed = copy_of_project(killed)
            continue
        done += ended is None
        tally.kills[kind] += ended is None
    finish(killed, command)
    tally.runs[kind] += 1
    tally.differences += differences_of_results(reference, killed, kind)


def wait_or_kill(run: "subprocess.Popen[str]", kind: str, seconds: float) -> int | None:
    """Wait so long, then kill; return the exit status of a command that ended before, else None."""
    try:
        return run.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    if kind == "dvc repro":
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return None
    while run.poll() is None:
        if workers := workers_of(run.pid):
            os.kill(workers[-1], signal.SIGKILL)
            run.wait()
            return None
        time.sleep(0.05)
    return run.returncode  # after its last run


def workers_of(grid: int) -> list[int]:
    """Return the processes in which ``anneal grid`` trains: forks that lead their own session."""
    found = []
    for process in psutil.Process(grid).children(recursive=True):
        with suppress(psutil.Error, OSError):  # it has ended since
            is_fork = any("forkserver" in word for word in process.cmdline())
            if is_fork and os.getsid(process.pid) == process.pid:
                found.append(process.pid)
    return found


def copy_of_project(folder: Path) -> Path:
    """Clone the project with the small campaign of its own tests."""
    folder.parent.mkdir(exist_ok=True)
    quiet = {"check": True, "capture_output": True}
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(folder)], **quiet)
    shutil.copytree(ROOT / "tests" / "pipeline" / "conf", folder / "conf", dirs_exist_ok=True)
    shutil.rmtree(folder / "results")
    (folder / "dvc.lock").unlink(missing_ok=True)
    options = ["campaign=smoke", "tracking=off", "hardware=cpu", "hardware.threads=1"]
    subprocess.run(["anneal", "params", *options], cwd=folder, **quiet)
    return folder


def finish(folder: Path, command: list[str]) -> None:
    """Run a command to its end."""
    run = start(folder, command)
    said = run.communicate()
    if run.returncode:
        sys.exit(f"{' '.join(command)} did not go on after the kills:\n{said[0] or said[1]}")


def start(folder: Path, command: list[str]) -> "subprocess.Popen[str]":
    """Start a command in a process group of its own."""
    own = {"PYTHONPATH": str(folder / "src")} if (folder / "src").exists() else {}
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | OFTEN | own, text=True, start_new_session=True,
        stdout=subprocess.PIPE if command[0] == "dvc" else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if command[0] == "dvc" else subprocess.PIPE,
    )  # fmt: skip


def differences_of_results(reference: Path, killed: Path, name: str) -> list[str]:
    """Return which files of two ``results/`` differ, but for times."""
    one, other = (
        {
            path.relative_to(place).as_posix(): without_times(path)
            for path in (place / "results").rglob("*")
            if path.is_file()
        }
        for place in (reference, killed)
    )
    return [
        f"{name}: {file} differs"
        for file in sorted(one.keys() | other.keys())
        if one.get(file) != other.get(file)
    ]


def without_times(path: Path) -> object:
    """Return a file's content; of runs.csv its rows without times."""
    if path.name != "runs.csv":
        return path.read_bytes()
    with path.open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in TIMES}
            for row in csv.DictReader(file)
        ]


if __name__ == "__main__":
    main()
