"""The table over a multirun, made from what its runs left on disk (edge)."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anneal.config import parse
from anneal.statistics import mean_interval
from anneal.yaml_files import read_json, write_json


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


def multirun_table(cells: Sequence[Cell]) -> str:
    """Return one line per combination: mean test accuracy, 95 % interval (Student's t), n."""
    rows = [("combination", "test accuracy", "95 % interval", "n", "best on the way", "diverged")]
    for name in dict.fromkeys(cell.combination for cell in cells):
        # The same run asked for twice counts once.
        here = {(c.configuration_hash, c.seed): c for c in cells if c.combination == name}.values()
        finals = [c.accuracy_pct for c in here if c.accuracy_pct is not None]
        bests = [c.best_accuracy_pct for c in here if c.best_accuracy_pct is not None]
        diverged = sum(c.status == "diverged" for c in here)
        interval = mean_interval(finals) if finals else None
        known = interval is not None and interval.low is not None and interval.high is not None
        rows.append(
            (
                name,
                f"{interval.mean:.2f} %" if interval else "none",
                f"{interval.low:.2f} to {interval.high:.2f}"
                if interval and known
                else "needs n >= 2",
                str(len(finals)),
                f"{sum(bests) / len(bests):.2f} %" if bests else "none",
                str(diverged) if diverged else "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)
