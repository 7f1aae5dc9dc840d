"""Kill random ranks of a run on several processes, and resume it each time.

``python benchmarks/kills.py [--kills 20] [--processes 4] [--seed 0]``

Each start gets a moment between the first update and some seconds later; then one rank is killed
with SIGKILL. Printed for each: the rank, how long the others took to end, and the one line. At the
end the run is finished and its history compared with that of a run on one process.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OPTIONS = [
    "hardware=cpu", "tracking=off", "dataset.image_size=16", "training.batch_size=10",
    "training.length=1000 steps", "training.log_lines=30", "training.evaluations=2",
    "hardware.threads=1",
]  # fmt: skip


def main() -> None:
    """Kill and resume; print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    options = [*OPTIONS, f"training.accumulation={arguments.processes}"]
    with tempfile.TemporaryDirectory() as folder:
        several, one = Path(folder, "several"), Path(folder, "one")
        for place in (several, one):
            place.mkdir()
        for number in range(arguments.kills):
            run = start(several, [*options, f"hardware.processes={arguments.processes}"])
            ranks = wait_for_ranks(run, arguments.processes)
            wait_for_start(several, run)
            time.sleep(draw.random() * 2)
            rank = draw.randrange(arguments.processes)
            os.kill(ranks[rank], signal.SIGKILL)
            began = time.monotonic()
            while any(map(is_there, ranks.values())):
                time.sleep(0.02)
            seconds = time.monotonic() - began
            _, errors = run.communicate(timeout=120)
            line = errors.strip().split("\n")
            print(f"{number + 1}: rank {rank}, {seconds:.1f} s, status {run.returncode}, {line}")
            if run.returncode != 1 or len(line) != 1 or f"rank {rank} of" not in line[0]:
                sys.exit("not one line that names the rank, with status 1")
            if seconds > 10:
                sys.exit("the others took longer than 10 s")
        records = []
        for place, processes in ((several, arguments.processes), (one, 1)):
            run = start(place, [*options, f"hardware.processes={processes}"])
            _, errors = run.communicate()
            if run.returncode:
                sys.exit(errors)
            (file,) = place.glob("multirun/*/seed-0/history.jsonl")
            records.append([json.loads(line) for line in file.read_text().splitlines()])
        pairs = list(zip(*records, strict=True))
        print(f"finished: {len(pairs)} records after {arguments.kills} kills")
        difference = max(abs(a["loss"] - b["loss"]) for a, b in pairs)
        print(f"largest difference of a loss from one process, never killed: {difference:.1e}")


def start(folder: Path, options: list[str]) -> "subprocess.Popen[str]":
    """Start or resume the run."""
    command = [sys.executable, "-m", "anneal", "run", *options]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def wait_for_ranks(run: "subprocess.Popen[str]", size: int) -> dict[int, int]:
    """Return the process of each rank, once all are there."""
    while run.poll() is None:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        ranks = {}
        for child in children:
            words = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            named = dict(word.split(b"=", 1) for word in words if b"=" in word)
            if b"ANNEAL_RANK_FOLDER" in named:
                ranks[int(named[b"RANK"])] = int(child)
        if len(ranks) == size:
            return ranks
        time.sleep(0.05)
    sys.exit(f"the run ended by itself: {run.communicate()[1]}")


def is_there(process: int) -> bool:
    """Tell whether a process is there, and not only its exit status."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except OSError:
        return False


def wait_for_start(folder: Path, run: "subprocess.Popen[str]") -> None:
    """Wait until this start has written its entry of the environment, before its first update."""

    def starts() -> int:
        files = list(folder.glob("multirun/*/seed-*/environment.json"))
        return len(json.loads(files[0].read_text())) if files else 0

    before = starts()
    while starts() == before and run.poll() is None:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
