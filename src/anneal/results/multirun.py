"""Summary table of a multirun, from the files of its runs."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anneal.config.strict import parse
from anneal.io.files import read_json, write_json
from anneal.io.text import text_table
from anneal.results.statistics import mean_interval

JOB = "job.json"  # in the folder of each successful job


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a multirun.

    Args:
        combination: its overrides without the seed, the label of its row.
        accuracy_pct: final test accuracy, 0..100; None for a diverged run.
        best_accuracy_pct: highest over all evaluations; None without any.
    """

    combination: str
    configuration_hash: str
    seed: int
    status: str
    updates: int
    accuracy_pct: float | None
    best_accuracy_pct: float | None


def combination_of(overrides: Iterable[str]) -> str:
    """Return the label of a combination: its overrides without the seed.

    >>> combination_of(["scheduler=triangular", "seed=1"])
    'scheduler=triangular'
    """
    return " ".join(o for o in overrides if not o.lstrip("+").startswith("seed=")) or "defaults"


def write_cell(path: Path, cell: Cell) -> None:
    """Write the result of one run to the folder of its job."""
    write_json(path, dataclasses.asdict(cell))


def read_cells(paths: Iterable[Path]) -> list[Cell]:
    """Read the results of jobs; a failed job has none."""
    return [parse(Cell, read_json(path), where=str(path)) for path in paths if path.is_file()]


HEADER = ("combination", "test accuracy", "95 % interval", "n", "best on the way", "diverged")


def multirun_table(cells: Sequence[Cell]) -> str:
    """Return one line per combination: mean test accuracy, 95 % interval (Student's t), n.

    Overrides that all combinations share are printed above the table.
    """
    names = list(dict.fromkeys(cell.combination for cell in cells))
    common = [part for part in _parts(names[0]) if all(part in _parts(n) for n in names)]
    if len(names) == 1:
        common = []
    rows = []
    for name in names:
        own = " ".join(part for part in _parts(name) if part not in common) or "nothing else"
        # A run requested twice counts once.
        here = {(c.configuration_hash, c.seed): c for c in cells if c.combination == name}
        rows.append((own, *_numbers(list(here.values()))))
    lines = text_table(HEADER, rows)
    return "\n".join([f"all with {' '.join(common)}", *lines] if common else lines)


def _parts(combination: str) -> list[str]:
    """Return the overrides of a combination; a value may have spaces (``half_cycle=9 steps``)."""
    return re.split(r" (?=[+~]*[\w./@]+=)", combination)


def _numbers(cells: Sequence[Cell]) -> tuple[str, str, str, str, str]:
    """Return the cells of one row; diverged runs have no accuracy and a column of their own."""
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
