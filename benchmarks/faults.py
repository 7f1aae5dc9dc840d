"""Try each fault of disks, files, clocks, trackers and memories on real runs; print the table.

``python benchmarks/faults.py [--tries 3] [--seed 0] [--write docs/what_holds.md]``

After each fault the run goes on, or the file is put back, and is compared with one that had no
fault. Lost is what differs, what was wrong and passed unnoticed, a hang, a traceback, an error of
more than one line, a partial file. Any ends the command with status 1.
"""

import argparse
import dataclasses
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import fault_data
import fault_files
import fault_machines
import fault_runs
from damage import Attempt, shortened

from anneal.io.files import renew_page
from anneal.io.text import escape_markdown, markdown_table


def main() -> None:
    """Try, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        attempts = attempt_all(Path(folder), tries=arguments.tries, seed=arguments.seed)
    made = table(attempts)
    print(made)
    print(f"{time.monotonic() - began:.0f} s")
    lost = [f"{attempt.fault}: {attempt.lost}" for attempt in attempts if attempt.lost]
    if lost:
        sys.exit("\n".join(lost))
    if arguments.write:
        renew_page(arguments.write, {"faults": made})


def attempt_all(folder: Path, *, tries: int, seed: int) -> list[Attempt]:
    """Try each fault so many times; one line for each on the terminal."""
    attempts = []
    for cases, subject in (
        (fault_runs.CASES + fault_machines.CASES, fault_runs.Runs),
        (fault_data.CASES, fault_data.Data),
        (fault_files.CASES, fault_files.Files),
    ):
        place = folder / subject.__name__.lower()
        made = subject(place, random.Random(seed))
        for case in cases:
            for _ in range(tries):
                found = case(made)
                said = shortened(found.said, place)
                attempts.append(dataclasses.replace(found, said=said))
                print(
                    f"{found.fault} ({found.how}): {found.lost or 'nothing lost'}", file=sys.stderr
                )
        shutil.rmtree(place)
    return attempts


def table(attempts: list[Attempt]) -> str:
    """Return a row for each fault, with the message of its first try that had one."""
    rows = []
    for fault in dict.fromkeys(attempt.fault for attempt in attempts):
        same = [attempt for attempt in attempts if attempt.fault == fault]
        ways = dict.fromkeys(attempt.how for attempt in same)
        said = next((attempt.said for attempt in same if attempt.said), "")
        num_lost = sum(attempt.lost is not None for attempt in same)
        rows.append([fault, ", ".join(ways), str(len(same)), str(num_lost), escape_markdown(said)])
    num_lost = sum(attempt.lost is not None for attempt in attempts)
    rows.append(["**all**", "", f"**{len(attempts)}**", f"**{num_lost}**", ""])
    return markdown_table(
        ["fault", "made by", "tries", "lost", "message"],
        rows,
        sides=["left", "left", "right", "right", "left"],
    )


if __name__ == "__main__":
    main()
