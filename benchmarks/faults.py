"""Try each fault of disks, files, clocks, trackers and memories on real runs; print the table.

``python benchmarks/faults.py [--tries 3] [--seed 0] [--only FAULT ...] [--write PAGE]``

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
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import fault_data
import fault_files
import fault_machines
import fault_runs
from damage import Attempt, shortened

from anneal.io.files import renew_page
from anneal.io.text import escape_markdown, markdown_table

SUBJECTS: tuple[tuple[Sequence[tuple[str, Callable[[Any], Attempt]]], type], ...] = (
    (fault_runs.CASES + fault_machines.CASES, fault_runs.Runs),
    (fault_data.CASES, fault_data.Data),
    (fault_files.CASES, fault_files.Files),
)


def main() -> None:
    """Try, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="FAULT", help="rows of the table")
    parser.add_argument("--until-lost", action="store_true", help="as guards.py does")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        attempts = attempt_all(
            Path(folder),
            tries=arguments.tries,
            seed=arguments.seed,
            only=arguments.only,
            until_lost=arguments.until_lost,
        )
    made = table(attempts)
    print(made)
    print(f"{time.monotonic() - began:.0f} s")
    lost = [
        f"{fault}: {attempt.lost}"
        for fault, same in attempts.items()
        for attempt in same
        if attempt.lost
    ]
    if lost:
        sys.exit("\n".join(lost))
    if arguments.write:
        renew_page(arguments.write, {"faults": made})


def attempt_all(
    folder: Path,
    *,
    tries: int,
    seed: int,
    only: Collection[str] | None = None,
    until_lost: bool = False,
) -> dict[str, list[Attempt]]:
    """Try each fault, or ``only`` these, so many times, or until it loses something.

    Each has a line on the terminal.

    Raises:
        ValueError: ``only`` names no fault.
    """
    names = {fault for cases, _ in SUBJECTS for fault, _ in cases}
    if unknown := sorted(set(only or ()) - names):
        raise ValueError(f"--only must name faults of the table, got {unknown[0]!r}")
    attempts: dict[str, list[Attempt]] = {}
    for cases, subject in SUBJECTS:
        wanted = [(fault, case) for fault, case in cases if only is None or fault in only]
        if not wanted:
            continue
        place = folder / subject.__name__.lower()
        made = subject(place, random.Random(seed))
        for fault, case in wanted:
            for _ in range(tries):
                if until_lost and any(attempt.lost for attempt in attempts.get(fault, ())):
                    break
                found = case(made)
                found = dataclasses.replace(found, said=shortened(found.said, place))
                attempts.setdefault(fault, []).append(found)
                print(f"{fault} ({found.how}): {found.lost or 'nothing lost'}", file=sys.stderr)
        shutil.rmtree(place)
    return attempts


def table(attempts: Mapping[str, Sequence[Attempt]]) -> str:
    """Return a row for each fault, with the message of its first try that had one."""
    rows, num_tries, num_lost = [], 0, 0
    for fault, same in attempts.items():
        ways = dict.fromkeys(attempt.how for attempt in same)
        said = next((attempt.said for attempt in same if attempt.said), "")
        lost = sum(attempt.lost is not None for attempt in same)
        rows.append([fault, ", ".join(ways), str(len(same)), str(lost), escape_markdown(said)])
        num_tries, num_lost = num_tries + len(same), num_lost + lost
    rows.append(["**all**", "", f"**{num_tries}**", f"**{num_lost}**", ""])
    return markdown_table(
        ["fault", "made by", "tries", "lost", "message"],
        rows,
        sides=["left", "left", "right", "right", "left"],
    )


if __name__ == "__main__":
    main()
