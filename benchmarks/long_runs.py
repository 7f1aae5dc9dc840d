"""Measure memory and file handles over a long campaign, and the report of 1,000 runs.

``python benchmarks/long_runs.py [--updates 50000] [--runs 500] [--reported 1000] [--write PAGE]``

One process makes so many updates of one small run, then so many short runs one after the other.
Resident memory and open files are read at ten moments of each. The first moment is left out of the
growth: it loads libraries. Then a report of made-up runs is written, and timed. Growth beyond the
limits below, a report that takes more processor time, or a larger page ends the command with
status 1.
"""

import argparse
import dataclasses
import os
import random
import shutil
import sys
import tempfile
import time
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from anneal.io.files import renew_page
from anneal.io.text import markdown_table
from anneal.results.campaign import CampaignResults

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = (
    "hardware=cpu", "tracking=off", "model.architecture=caffe_cifar", "dataset.image_size=16",
    "training.batch_size=2", "training.log_lines=100", "training.evaluations=1",
    "hardware.threads=1",
)  # fmt: skip
MOMENTS = 10
MOST_GROWTH_MIB = 50.0
MOST_GROWTH_FILES = 0
MOST_SECONDS = 60.0
MOST_PAGE_MB = 5.0


@dataclass
class Gauge:
    """Resident memory and open files of this process, read from time to time."""

    mib: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def read(self) -> None:
        """Read both."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.mib.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        self.files.append(len(list(Path("/proc/self/fd").iterdir())))

    def row(self, name: str) -> list[str]:
        """Return a row of the table: at the second moment and at the last."""
        return [
            name, f"{self.mib[1]:.0f}", f"{self.mib[-1]:.0f}", str(self.files[1]),
            str(self.files[-1]),
        ]  # fmt: skip

    @property
    def is_flat(self) -> bool:
        """Whether neither grew after the second moment."""
        return (
            self.mib[-1] - self.mib[1] <= MOST_GROWTH_MIB
            and self.files[-1] - self.files[1] <= MOST_GROWTH_FILES
        )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--reported", type=int, default=1_000)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="long-") as folder, chdir(folder):
        gauges = {
            f"{arguments.updates:,} updates of a run": one_long_run(arguments.updates),
            f"{arguments.runs:,} runs of 2 updates": many_short_runs(arguments.runs),
        }
        seconds, megabytes = report_many(Path(folder, "project"), arguments.reported)
    header = ["in one process", "MiB at 1/10", "MiB at the end", "files at 1/10", "at the end"]
    rows = [gauge.row(name) for name, gauge in gauges.items()]
    made = markdown_table(header, rows, sides=["left", *["right"] * 4])
    made += (
        f"\n\nThe report of {arguments.reported:,} runs: {seconds:.0f} s of processor time, "
        f"its page {megabytes:.1f} MB."
    )
    print(made)
    grown = [name for name, gauge in gauges.items() if not gauge.is_flat]
    if grown or seconds > MOST_SECONDS or megabytes > MOST_PAGE_MB:
        sys.exit(f"grown: {grown}; report {seconds:.0f} s, {megabytes:.1f} MB")
    if arguments.write:
        renew_page(arguments.write, {"long": made})


def one_long_run(updates: int) -> Gauge:
    """Make so many updates of one run; read at each tenth."""
    from anneal.runs.observers import Checkpoints

    gauge, between = Gauge(), Checkpoints.between
    gauge.read()

    def reading(self: Checkpoints, update: int, *, stopping: bool) -> None:
        if update % max(1, updates // MOMENTS) == 0:
            gauge.read()
        between(self, update, stopping=stopping)

    Checkpoints.between = reading  # type: ignore[method-assign]
    try:
        train(f"training.length={updates} steps", "seed=0")
    finally:
        Checkpoints.between = between  # type: ignore[method-assign]
    return gauge


def many_short_runs(runs: int) -> Gauge:
    """Make so many runs; read at each tenth."""
    gauge = Gauge()
    gauge.read()
    for seed in range(1, runs + 1):
        train("training.length=2 steps", "training.log_lines=2", f"seed={seed}")
        if seed % max(1, runs // MOMENTS) == 0:
            gauge.read()
    return gauge


def train(*options: str) -> None:
    """Train one run in this process."""
    from anneal.commands.run import main as run

    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        run([*OPTIONS, *options])


def report_many(folder: Path, runs: int) -> tuple[float, float]:
    """Write the report of made-up runs; return its processor seconds and its page's megabytes."""
    from anneal.commands.stages import report
    from anneal.results.store import load_results, save_results

    shutil.copytree(ROOT / "paper", folder / "paper")
    (results,) = filter(None, [load_results(ROOT / "results" / "clr_cifar10")])
    save_results(folder / "results" / results.name, many_seeds(results, runs))
    began = time.process_time()
    with chdir(folder), Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        report.main([])
    page = folder / "paper" / "report.html"
    return time.process_time() - began, page.stat().st_size / 1e6


def many_seeds(results: CampaignResults, count: int) -> CampaignResults:
    """Return results with so many runs: copies of theirs, with other seeds and metrics."""
    draw = random.Random(0)
    runs = dict(results.runs)
    for copy in range(1, 1 + count // len(results.runs)):
        for (name, seed, digest), run in results.runs.items():
            metrics = {key: value + draw.gauss(0, 0.3) for key, value in run.metrics.items()}
            other = dataclasses.replace(run, seed=seed + 1_000 * copy, metrics=metrics)
            runs[name, other.seed, digest] = other
    return dataclasses.replace(results, runs=dict(list(runs.items())[:count]))


if __name__ == "__main__":
    main()
