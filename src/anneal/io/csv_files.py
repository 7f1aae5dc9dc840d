"""Read and write tables as CSV."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from anneal.io.files import read_text


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV as one mapping for each row; a missing file has none.

    Raises:
        ValueError: the file is empty, even of a header, or no text; names it.
    """
    if not path.is_file():
        return []
    text = read_text(path)
    if not text:
        raise ValueError(f"{path} is empty: a table has a header")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [{k: v or "" for k, v in row.items() if k} for row in rows]


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table as CSV; None is an empty cell, floats keep all digits.

    Raises:
        ValueError: a cell begins as a formula of a spreadsheet does.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        cells = list(row)
        for cell in cells:
            if isinstance(cell, str) and re.match(r"[=@\t\r]|[+-](?![\d.]|inf|nan)", cell):
                raise ValueError(f"a cell must not begin as a formula, got {cell!r}")
        writer.writerow(cells)
    return buffer.getvalue()


def read_columns(path: Path) -> dict[str, list[float | None]]:
    """Read a CSV of numbers as columns; empty cells and NaN become None."""
    rows = read_rows(path)
    columns: dict[str, list[float | None]] = {name: [] for name in (rows[0] if rows else ())}
    for row in rows:
        for name, cell in row.items():
            columns[name].append(number_or_none(cell))
    return columns


def number_or_none(cell: str) -> float | None:
    """Return the number in a cell, rounded to six digits; None if it is empty or not finite."""
    if not cell:
        return None
    value = float(cell)
    return float(f"{value:.6g}") if math.isfinite(value) else None


def short(value: float) -> str:
    """Return a number with ten significant digits, the precision of recorded metrics."""
    return f"{value:.10g}"
