"""Render a comparison: terminal table and plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

from anneal.io.text import NOTHING, Alignment, shorten, text_table
from anneal.results.compare import Change, ComparedRow, Comparison, Movement
from anneal.results.compare_sources import Side
from anneal.results.metrics import Evidence
from anneal.results.statistics import Interval
from anneal.results.words import fraction_words, mean_words

KEYS_SHOWN = 3
AGREES = "agrees"
VERDICTS: Mapping[Movement, str] = {
    "the same": AGREES,
    "within noise": AGREES,
    "higher": "differs: higher",
    "lower": "differs: lower",
    "diverged": "differs: a seed diverged on one side only",
    "appeared": "not committed",
    "vanished": "not run here",
}


def comparison_lines(
    found: Comparison, before: Side, after: Side, *, names: Sequence[str], width: int
) -> list[str]:
    """Return the two sides, the table of their rows and the method, as lines.

    Args:
        found: the comparison.
        before: side A.
        after: side B.
        names: of the sides, as given by the user.
        width: of the terminal.
    """
    metric = found.metric
    unit = f" ({metric.unit})" if metric.unit else ""
    header = ["row", *names, "B - A [95 %]", "moved", "what changed"]
    return [
        f"A  {before.words}",
        f"B  {after.words}",
        f"{metric.words}{unit}, mean ± 95 % over runs",
        *text_table(header, [_cells_of(row, found) for row in found.rows], width=width),
        *_summary(found),
    ]


def answer_lines(found: Comparison) -> list[str]:
    """Return a short table of what was committed (side A) and what this machine measured (B)."""
    metric = found.metric
    unit = f" ({metric.unit})" if metric.unit else ""
    verdicts = [VERDICTS.get(row.movement, row.movement) for row in found.rows]
    rows = [
        [*_cells_of(row, found)[:3], verdict]
        for row, verdict in zip(found.rows, verdicts, strict=True)
    ]
    sides: list[Alignment] = ["left", "right", "right", "left"]
    return [
        f"{metric.words}{unit}, mean ± 95 % over n runs",
        *text_table(["experiment", "committed", "this machine", ""], rows, sides=sides),
        f"{verdicts.count(AGREES)} of {len(rows)} experiments agree with what is committed: "
        "no difference beyond noise",
    ]


def _cells_of(row: ComparedRow, found: Comparison) -> list[str]:
    """Return the cells of one row."""
    name = row.name
    if row.before and row.before.evidence.experiment != name:
        name += f" (A: {row.before.evidence.experiment})"
    sides = [
        _side_words(side.evidence, mean, found) if side else NOTHING
        for side, mean in zip((row.before, row.after), row.means, strict=True)
    ]
    return [
        name,
        *sides,
        _difference_words(row, found),
        _movement_words(row),
        _changes_words(row),
    ]


def _side_words(evidence: Evidence, mean: Interval | None, found: Comparison) -> str:
    diverged = f", {evidence.num_diverged} diverged" if evidence.num_diverged else ""
    n = mean.n if mean else 0
    return f"{mean_words(mean, metric=found.metric)} (n={n}{diverged})"


def _difference_words(row: ComparedRow, found: Comparison) -> str:
    """Return the difference with its sign and its interval."""
    if row.difference is None:
        return NOTHING
    decimals = found.metric.decimals
    words = f"{row.difference.mean:+.{decimals}f}"
    if row.test is None or row.difference.low is None or row.difference.high is None:
        return words
    return f"{words} [{row.difference.low:+.{decimals}f}, {row.difference.high:+.{decimals}f}]"


def _movement_words(row: ComparedRow) -> str:
    """Return the movement of a row, with its corrected p-value if it has one."""
    if row.corrected is None:
        return row.movement
    p_value = "< 0.001" if row.corrected < 0.001 else f"{row.corrected:.2g}"
    return f"{row.movement}, p {p_value}"


def _changes_words(row: ComparedRow) -> str:
    """Return the differences of a row: budget, configuration, machine and code."""
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
        parts.append(
            "configuration (no key differs: other images, or another version of its schema)"
        )
    parts += [_change_words(change) for change in row.environment]
    return "; ".join(parts) or "nothing on record"


def _change_words(change: Change) -> str:
    return f"{change.key} {_value_words(change.before)} → {_value_words(change.after)}"


def _value_words(value: Any) -> str:
    return "nothing" if value is None else shorten(str(value), 40)


def _summary(found: Comparison) -> list[str]:
    """Return the lines below the table: counts, and the test behind them."""
    higher, lower = found.count("higher"), found.count("lower")
    lines = [
        f"{higher + lower} of {len(found.rows)} rows differ beyond noise ({higher} higher, {lower} "
        f"lower); {found.count('diverged')} diverged on one side only, "
        f"{found.count('appeared')} appeared, {found.count('vanished')} vanished"
    ]
    if found.num_corrected:
        lines.append(
            "Beyond noise: p < 0.05 after Holm's correction over "
            f"{found.num_corrected} row{'s' * (found.num_corrected > 1)}, by Student's t of the "
            "differences if two or more seeds are shared, else by Welch's t of all runs. Intervals "
            "are of each row alone."
        )
    return lines


def describe_comparison(found: Comparison, before: Side, after: Side) -> dict[str, Any]:
    """Return a comparison as plain data, the output of ``--json``."""
    return {
        "before": before.words,
        "after": after.words,
        "metric": found.metric.name,
        "corrected_over": found.num_corrected,
        "rows": [_plain_row(row) for row in found.rows],
    }


def _plain_row(row: ComparedRow) -> dict[str, Any]:
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
