"""Summary table of a multirun, from what its runs left on disk."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anneal.config.strict import parse
from anneal.io.files import read_json, write_json
from anneal.io.text import text_table
from anneal.results.statistics import mean_interval

JOB = "job.json"  # in the folder of each job that ended well


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a multirun.

    Args:
        combination: the overrides but for the seed, as written: what its row is called.
        accuracy_pct: test accuracy at the end, 0..100; None for a run that diverged.
        best_accuracy_pct: highest over the evaluations on the way; None without any.
    """

    combination: str
    configuration_hash: str
    seed: int
    status: str
    updates: int
    accuracy_pct: float | None
    best_accuracy_pct: float | None


def combination_of(overrides: Iterable[str]) -> str:
    """Return what tells a combination apart: its overrides without the seed.

    >>> combination_of(["scheduler=triangular", "seed=1"])
    'scheduler=triangular'
    """
    return " ".join(o for o in overrides if not o.lstrip("+").startswith("seed=")) or "defaults"


def write_cell(path: Path, cell: Cell) -> None:
    """Leave one run's line of the table in its job's folder."""
    write_json(path, dataclasses.asdict(cell))


def read_cells(paths: Iterable[Path]) -> list[Cell]:
    """Read what the jobs left; a job that failed left nothing."""
    return [parse(Cell, read_json(path), where=str(path)) for path in paths if path.is_file()]


HEADER = ("combination", "test accuracy", "95 % interval", "n", "best on the way", "diverged")


def multirun_table(cells: Sequence[Cell]) -> str:
    """Return one line per combination: mean test accuracy, 95 % interval (Student's t), n.

    What all combinations have in common stands above the table.
    """
    names = list(dict.fromkeys(cell.combination for cell in cells))
    common = [part for part in _parts(names[0]) if all(part in _parts(n) for n in names)]
    if len(names) == 1:
        common = []
    rows = []
    for name in names:
        own = " ".join(part for part in _parts(name) if part not in common) or "nothing else"
        # The same run asked for twice counts once.
        here = {(c.configuration_hash, c.seed): c for c in cells if c.combination == name}
        rows.append((own, *_numbers(list(here.values()))))
    lines = text_table(HEADER, rows)
    return "\n".join([f"all with {' '.join(common)}", *lines] if common else lines)


def _parts(combination: str) -> list[str]:
    """Return the overrides of a combination; a value may hold spaces (``half_cycle=9 steps``)."""
    return re.split(r" (?=[+~]*[\w./@]+=)", combination)


def _numbers(cells: Sequence[Cell]) -> tuple[str, str, str, str, str]:
    """Return the cells of one row: a diverged run has no accuracy and is counted apart."""
    finals = [c.accuracy_pct for c in cells if c.accuracy_pct is not None]
    bests = [c.best_accuracy_pct for c in cells if c.best_accuracy_pct is not None]
    diverged = sum(c.status == "diverged" for c in cells)
    mean, ends = "none", "none"
    if finals:
        found = mean_interval(finals)
        mean, ends = f"{found.mean:.2f} %", "needs n >= 2"
        if found.low is not None and found.high is not None:
            ends = f"{found.low:.2f} to {found.high:.2f}"
    best = f"{sum(bests) / len(bests):.2f} %" if bests else "none"
    return mean, ends, str(len(finals)), best, str(diverged) if diverged else ""
