"""Tables and curves as CSV files (edge)."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from anneal.results.curves import COLUMNS, Curve, Point


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV as one mapping for each row; a file that is not there has none."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(file)]


def csv_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def read_columns(path: Path) -> dict[str, list[float | None]]:
    """Read a CSV of numbers as columns; empty cells and NaN become None."""
    rows = read_rows(path)
    columns: dict[str, list[float | None]] = {name: [] for name in (rows[0] if rows else ())}
    for row in rows:
        for name, cell in row.items():
            columns[name].append(_number_or_none(cell))
    return columns


def read_curves(path: Path) -> dict[tuple[str, int], Curve]:
    """Read curves by (configuration hash, seed); fresh ones carry no hash and get an empty one.

    Numbers are cut to six digits on the way in, so that what was just measured and what comes back
    from the committed file are equal.
    """
    points: dict[tuple[str, int], list[Point]] = {}
    for line, row in enumerate(read_rows(path), start=2):
        try:
            key = (row.get("configuration_hash", ""), int(row["seed"]))
            values = {column: _number_or_none(row.get(column) or "") for column in COLUMNS}
            points.setdefault(key, []).append(Point(update=int(row["update"]), **values))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return {key: tuple(sorted(found, key=lambda p: p.update)) for key, found in points.items()}


def _number_or_none(cell: str) -> float | None:
    if not cell:
        return None
    value = float(cell)
    return float(f"{value:.6g}") if math.isfinite(value) else None


def short(value: float) -> str:
    """Return a number with the ten digits that the record keeps of a metric."""
    return f"{value:.10g}"
