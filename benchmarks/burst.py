"""Train rows on a machine that is there for minutes, and bring their results home.

python benchmarks/burst.py --minutes M --archives DIR --max-file-mib N [--pack DIR] ROW ...
python benchmarks/burst.py --merge DIR

ROW is <campaign>, <campaign>/<experiment> or either with seeds: @0-4 or @0,2. Rows are trained in
the order given, so the most valuable comes first, until 90 s of the minutes are left. Then, and
after each row, the ended runs are packed into --pack (local/burst) in files of at most N MiB, with
histories and results and without weights; those of an earlier command stay in the pack. What has
ended is not trained again by the same command.

It needs experiments/ and range_tests/ as `dvc repro compose` and `dvc repro range_test` make them,
torch, timm and the images in DIR; no Hydra, DVC or W&B. --merge, in a checkout of the same commit,
puts the runs of a pack into runs/, all of them or none; `anneal grid` or `dvc repro` then finds
them finished and records them.
"""

import argparse
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anneal.io.files import read_yaml_mapping
from anneal.io.terminal import command, complain, describe_error, say
from anneal.io.text import duration_words
from anneal.runs.abreast import train_abreast, without_bar
from anneal.runs.code_digest import code_of_run
from anneal.runs.committed import committed_seeds
from anneal.runs.directory import RunDirectory
from anneal.runs.inputs import Loaded, load_experiment, load_range_test
from anneal.runs.layout import CAMPAIGN_FILE, EXPERIMENTS, REPLACED, RUNS
from anneal.runs.memory import memory_explained
from anneal.runs.observers import Observer, Tracking
from anneal.runs.packs import MANIFEST, PackedRun, merge_pack, packed_here, write_pack
from anneal.runs.preemption import Interrupted, interruptible
from anneal.runs.processes import refuse_several
from anneal.runs.run import SeedRun, train_run, usual_observers
from anneal.runs.setup import plan_experiment

RESERVE_SECONDS = 90.0  # of the minutes, left for the last checkpoint and the way home
ARCHIVES = "ANNEAL_ARCHIVES"


@dataclass(frozen=True, kw_only=True)
class Row:
    """An experiment of a campaign, or a subject of one, and its seeds."""

    campaign: str
    loaded: Loaded
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """What the terminal calls it."""
        return self.loaded.experiment.name


class Deadline(Observer):
    """Stop the run after the first update past a time, as SIGTERM does."""

    def __init__(self, until: float) -> None:
        self._until = until

    def between(self, update: int, *, stopping: bool) -> None:  # noqa: ARG002
        """Look at the clock."""
        if not stopping and time.monotonic() > self._until:
            signal.raise_signal(signal.SIGTERM)


def read_rows(words: Sequence[str]) -> list[Row]:
    """Return the rows that the command line names, in their order.

    Raises:
        ValueError: one is not in ``experiments/``, has no such seed, or keeps snapshots.
    """
    rows = []
    for word in words:
        place, _, seeds = word.partition("@")
        campaign, _, experiment = place.partition("/")
        path = EXPERIMENTS / campaign / CAMPAIGN_FILE
        names = [experiment] if experiment else list(read_yaml_mapping(path)["experiments"])
        for name in names:
            loaded = load_experiment(campaign, name)
            wanted = read_seeds(seeds) if seeds else loaded.seeds
            if unknown := set(wanted) - set(loaded.seeds):
                raise ValueError(f"{loaded.path}: seeds has no {min(unknown)}")
            if (kept := loaded.experiment.training.snapshots) != "none":
                raise ValueError(
                    f"{loaded.path}: configuration.training.snapshots must be none, got {kept}: a "
                    "pack has no weights"
                )
            refuse_several(loaded.experiment.hardware, for_what="a burst")
            rows += [
                Row(campaign=campaign, loaded=part, seeds=tuple(wanted))
                for part in loaded.of_each_subject()
            ]
    return rows


def read_seeds(words: str) -> list[int]:
    """Return the seeds of ``0-4`` or ``0,2``.

    >>> read_seeds("0-2,5")
    [0, 1, 2, 5]

    Raises:
        ValueError: it is no such list.
    """
    found: list[int] = []
    for part in words.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise ValueError(f"seeds of a row must be like @0-4 or @0,2, got @{words}")
        found += range(int(first), int(last or first) + 1)
    return found


def train_rows(
    rows: Sequence[Row], *, until: float, after_row: Callable[[Sequence[PackedRun]], None]
) -> list[str]:
    """Train rows in their order until a time, or until a signal.

    Args:
        rows: see :func:`read_rows`.
        until: of ``time.monotonic``.
        after_row: takes the runs that have ended so far.

    Returns:
        names of the runs that failed.
    """
    ended: list[PackedRun] = []
    failed: list[str] = []
    with interruptible() as interrupted:
        for row in rows:
            if interrupted() or time.monotonic() > until:
                say(f"{row.name}: not begun")
                continue
            try:
                with memory_explained(row.loaded.experiment):
                    _train_row(row, until=until, interrupted=interrupted, ended=ended)
            except Interrupted:
                say(f"{row.name}: stopped; the same command resumes it")
                until = 0.0  # whatever stopped it
            except (ValueError, OSError, RuntimeError, ImportError) as error:
                failed.append(row.name)
                complain(f"{row.name}: {describe_error(error)}")
            after_row(ended)
    return failed


def _train_row(
    row: Row, *, until: float, interrupted: Callable[[], int], ended: list[PackedRun]
) -> None:
    """Train the seeds of a row, and add those that have ended to ``ended``."""
    plan, setup = plan_experiment(row.loaded, load_range_test(row.campaign, row.name))
    committed = committed_seeds(row.campaign, row.name, plan.configuration_hash)
    runs: dict[PackedRun, SeedRun] = {}
    for seed in row.seeds:
        if seed in committed:
            say(f"{row.name} seed {seed}: already in results/{row.campaign}, not run again")
            continue
        packed = PackedRun(campaign=row.campaign, experiment=row.name, seed=seed)
        directory = RunDirectory(
            packed.path,
            configuration_hash=plan.configuration_hash,
            code=code_of_run(setup.settings.numerics),
        )
        runs[packed] = SeedRun(
            plan=plan,
            setup=setup,
            seed=seed,
            directory=directory,
            replaced=RUNS / row.campaign / REPLACED / row.name,
            label=f"{row.name} seed {seed}",
        )
    try:
        if row.loaded.experiment.hardware.abreast == 1:
            _train_in_turn([*runs.values()], until=until, interrupted=interrupted)
        elif runs and not interrupted():
            train_abreast([*runs.values()], lambda run: without_bar(_observers_until(until, run)))
    finally:  # one may have been stopped after its last update; rows may overlap
        ended += [
            packed
            for packed, run in runs.items()
            if packed not in ended and run.directory.result() is not None
        ]


def _train_in_turn(
    runs: Sequence[SeedRun], *, until: float, interrupted: Callable[[], int]
) -> None:
    """Train runs of a row one after another, as long as there is time for the longest so far."""
    longest = 0.0
    for run in runs:
        if interrupted():
            return
        if run.directory.result() is None and until - time.monotonic() < longest:
            say(f"{run.name}: not begun, it needs {duration_words(longest)}")
            return
        began = time.monotonic()
        with run.held():
            result = train_run(run, _observers_until(until, run))
        took = time.monotonic() - began
        longest = max(longest, took)
        say(f"{run.name}: {result['status']} after {duration_words(took)}")


def _observers_until(until: float, run: SeedRun) -> list[Observer]:
    """Return the usual observers of a run without a tracker, and the one that ends it in time."""
    usual = usual_observers(run, job_type="train")
    return [*(one for one in usual if not isinstance(one, Tracking)), Deadline(until)]


@command(free=True)
def main(arguments: list[str]) -> None:
    """Train and pack, or merge."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--archives", type=Path)
    parser.add_argument("--max-file-mib", type=int, default=8)
    parser.add_argument("--pack", type=Path, default=Path("local/burst"))
    parser.add_argument("--merge", type=Path)
    asked = parser.parse_args(arguments)
    if asked.merge is not None:
        _merge(asked.merge)
        return
    if asked.minutes is None or not asked.rows:
        raise ValueError("needs --minutes and at least one ROW, or --merge")
    if asked.max_file_mib < 1 or asked.minutes * 60 <= RESERVE_SECONDS:
        raise ValueError(
            f"--max-file-mib must be at least 1, got {asked.max_file_mib}, and --minutes more "
            f"than {RESERVE_SECONDS / 60}, got {asked.minutes:g}"
        )
    until = time.monotonic() + 60 * asked.minutes - RESERVE_SECONDS
    if asked.archives is not None:
        if not asked.archives.is_dir():
            raise ValueError(f"--archives must be a folder, got {asked.archives}")
        os.environ[ARCHIVES] = str(asked.archives)

    def pack(runs: Sequence[PackedRun]) -> None:
        if not runs:
            return
        both = list(dict.fromkeys([*packed_here(asked.pack), *runs]))
        manifest = write_pack(asked.pack, both, max_file_mib=asked.max_file_mib)
        say(f"{asked.pack}: {len(both)} runs in {len(manifest.files)} files and {MANIFEST}")

    packed_here(asked.pack)  # a damaged one is refused before minutes are spent
    failed = train_rows(read_rows(asked.rows), until=until, after_row=pack)
    if failed:
        raise ValueError(f"{len(failed)} of the rows failed: {', '.join(failed)}")


def _merge(folder: Path) -> None:
    merged, before = merge_pack(folder)
    for run in merged:
        say(f"{run.path}: merged")
    for run in before:
        say(f"{run.path}: has ended here before, left alone")
    campaigns = sorted({run.campaign for run in merged})
    for campaign in campaigns:
        say(f"record them: anneal params campaign={campaign}, then anneal grid")


if __name__ == "__main__":
    main()
