"""Two campaigns, commits or folders of runs side by side: what moved, beyond noise or not (edge).

``anneal compare <A> <B> [--metric test_accuracy_pct@final] [--json]``

Each side is a campaign (``quick``), a campaign as it was committed (``quick@HEAD~1``), a folder
like ``results/<campaign>``, or a multirun's folder (``multirun``). Differences are B - A.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from anneal.claims.words import NOTHING, fraction_words, mean_words
from anneal.config.strict import did_you_mean
from anneal.io.terminal import command, say
from anneal.results.compare import Change, Comparison, Row, compare
from anneal.results.compare_sources import Side, read_side, shortened
from anneal.results.metrics import Evidence, find_metric
from anneal.results.statistics import Interval

OPTIONS = ("--metric", "--json", "--help", "--traceback")
METRIC = "test_accuracy_pct@final"
KEYS_SHOWN = 3
WIDE = 200  # columns, where no terminal says how wide it is


@command(free=True)
def main(arguments: list[str]) -> None:
    """Compare two sides: anneal compare quick@HEAD~1 quick."""
    asked, metric, as_json = read_arguments(arguments)
    find_metric(metric)  # before anything is read
    before, after = map(read_side, asked)
    found = compare(before.cells, after.cells, metric=metric)
    if as_json:
        say(json.dumps(describe(found, before, after), indent=2, allow_nan=False))
    else:
        show(found, before, after, names=asked)


def read_arguments(arguments: Sequence[str]) -> tuple[list[str], str, bool]:
    """Return the two sides, the metric, and whether JSON is wanted.

    >>> read_arguments(["quick@HEAD~1", "quick", "--metric=test_loss@final", "--json"])
    (['quick@HEAD~1', 'quick'], 'test_loss@final', True)

    Raises:
        ValueError: an option is unknown or there are not two sides.
    """
    sides, metric, as_json = [], METRIC, False
    left = list(arguments)
    while left:
        option, _, value = (word := left.pop(0)).partition("=")
        if option == "--json" and not value:
            as_json = True
        elif option == "--metric":
            if not value and not left:
                raise ValueError("--metric needs the name of a metric")
            metric = value or left.pop(0)
        elif option.startswith("-"):
            raise ValueError(f"unknown option {word!r}{did_you_mean(option, OPTIONS)}")
        else:
            sides.append(word)
    if len(sides) != 2:
        raise ValueError(f"needs two sides to compare, got {' '.join(sides) or 'nothing'}")
    return sides, metric, as_json


def show(found: Comparison, before: Side, after: Side, *, names: Sequence[str]) -> None:
    """Print the table, and below it what it rests on."""
    metric = found.metric
    unit = f" ({metric.unit})" if metric.unit else ""
    say(f"A  {before.words}\nB  {after.words}\n{metric.words}{unit}, mean ± 95 % over runs")
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("row", names[0], names[1], "B - A [95 %]", "moved", "what changed"):
        table.add_column(heading, overflow="fold", justify="left")
    for row in found.rows:
        table.add_row(*cells_of(row, found))
    width = None if sys.stdout.isatty() else WIDE
    console = Console(markup=False, highlight=False, width=width)
    with console.capture() as drawn:  # rich has an exit of its own where the reader has gone
        console.print(table)
    say(drawn.get().removesuffix("\n"))
    for line in summary(found):
        say(line)


def cells_of(row: Row, found: Comparison) -> list[str]:
    """Return the texts of one row."""
    name = row.name
    if row.before and row.before.evidence.experiment != name:
        name += f" (A: {row.before.evidence.experiment})"
    sides = [
        _side_words(side.evidence, mean, found) if side else NOTHING
        for side, mean in zip((row.before, row.after), row.means, strict=True)
    ]
    return [name, *sides, difference_words(row, found), movement_words(row), changes_words(row)]


def _side_words(evidence: Evidence, mean: Interval | None, found: Comparison) -> str:
    diverged = f", {evidence.num_diverged} diverged" if evidence.num_diverged else ""
    n = mean.n if mean else 0
    return f"{mean_words(mean, metric=found.metric)} (n={n}{diverged})"


def difference_words(row: Row, found: Comparison) -> str:
    """Return the difference with its sign and its interval."""
    if row.difference is None:
        return NOTHING
    decimals = found.metric.decimals
    words = f"{row.difference.mean:+.{decimals}f}"
    if row.test is None or row.difference.low is None or row.difference.high is None:
        return words
    return f"{words} [{row.difference.low:+.{decimals}f}, {row.difference.high:+.{decimals}f}]"


def movement_words(row: Row) -> str:
    """Return how the row moved, with its corrected p-value where it has one."""
    if row.corrected is None:
        return row.movement
    p_value = "< 0.001" if row.corrected < 0.001 else f"{row.corrected:.2g}"
    return f"{row.movement}, p {p_value}"


def changes_words(row: Row) -> str:
    """Return what differs: budget, configuration, then machine and code."""
    if row.before is None or row.after is None:
        return ""
    parts = []
    budgets = [cell.evidence.budget_fraction for cell in (row.before, row.after)]
    if budgets[0] != budgets[1]:
        parts.append(f"budget {fraction_words(budgets[0])} → {fraction_words(budgets[1])}")
    if row.configuration:
        parts += [_change_words(change) for change in row.configuration[:KEYS_SHOWN]]
        if len(row.configuration) > KEYS_SHOWN:
            parts[-1] += f" and {len(row.configuration) - KEYS_SHOWN} more keys"
    elif not row.same_configuration and not parts:
        parts.append("configuration (no key of it: the images, or how it is read)")
    parts += [_change_words(change) for change in row.environment]
    return "; ".join(parts) or "nothing on record"


def _change_words(change: Change) -> str:
    return f"{change.key} {_value_words(change.before)} → {_value_words(change.after)}"


def _value_words(value: Any) -> str:
    return "nothing" if value is None else shortened(str(value), 40)


def summary(found: Comparison) -> list[str]:
    """Return what stands below the table: the count, and how noise is told."""
    higher, lower = found.count("higher"), found.count("lower")
    lines = [
        f"{higher + lower} of {len(found.rows)} rows moved beyond noise ({higher} higher, {lower} "
        f"lower); {found.count('diverged')} diverged on one side alone, "
        f"{found.count('appeared')} appeared, {found.count('vanished')} vanished"
    ]
    if found.num_corrected:
        lines.append(
            "Noise: Student's t of the differences where two seeds or more are shared, Welch's t "
            "of all runs elsewhere; beyond it where p < 0.05 after Holm's correction for the "
            f"{found.num_corrected} measured anew. An interval is of its row alone."
        )
    return lines


def describe(found: Comparison, before: Side, after: Side) -> dict[str, Any]:
    """Return the whole comparison as plain data: what ``--json`` prints."""
    return {
        "before": before.words,
        "after": after.words,
        "metric": found.metric.name,
        "corrected_over": found.num_corrected,
        "rows": [_plain_row(row) for row in found.rows],
    }


def _plain_row(row: Row) -> dict[str, Any]:
    sides = {
        side: cell
        and {
            "name": cell.evidence.experiment,
            "mean": mean.mean if mean else None,
            "half_width": mean.half_width if mean else None,
            "n": mean.n if mean else 0,
            "diverged": cell.evidence.num_diverged,
            "budget_fraction": cell.evidence.budget_fraction,
            "configuration_hash": cell.configuration_hash,
        }
        for side, cell, mean in (
            ("before", row.before, row.means[0]),
            ("after", row.after, row.means[1]),
        )
    }
    moved = row.difference
    return {
        "name": row.name,
        "movement": row.movement,
        **sides,
        "difference": moved
        and {"mean": moved.mean, "low": moved.low, "high": moved.high, "n": moved.n},
        "test": row.test,
        "p_value": row.p_value,
        "corrected_p_value": row.corrected,
        "same_configuration": row.same_configuration,
        "configuration": [vars(change) for change in row.configuration],
        "environment": [vars(change) for change in row.environment],
    }
