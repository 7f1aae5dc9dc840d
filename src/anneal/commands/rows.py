"""Rows of the papers' tables.

``anneal rows`` lists the tables of conf/table. ``anneal rows <paper>/<table>`` prints the rows of
one: changes against the recipe, length and number of updates. ``--costs`` adds the cost of one run:
images, and floating-point operations counted on the network (needs torch and some seconds).
``anneal run experiment=<paper>/<row>`` trains a row.
"""

from collections import Counter
from collections.abc import Sequence

import yaml

from anneal.config.compose import compose_run
from anneal.config.options import all_rows
from anneal.config.tables import Row
from anneal.io.terminal import command, say
from anneal.io.text import did_you_mean
from anneal.runs.plan import check_plan

COSTS = "--costs"


def table_of(row: Row) -> str:
    """Return the name of a row's table: ``sgdr/table1``."""
    return f"{row.file.parent.name}/{row.file.stem}"


def changes_of(row: Row) -> str:
    """Return the recipe and the changes of a row in one line.

    >>> from pathlib import Path
    >>> changes_of(Row(name="p/r", file=Path("t"), title="r", paper=None, recipe="p/a",
    ...                changes={"dataset": "digits", "scheduler.max_lr": 2.5}))
    'p/a, dataset=digits, scheduler.max_lr=2.5'
    """
    shown = [f"{key}={_flow(value)}" for key, value in row.changes.items()]
    return ", ".join([row.recipe, *shown])


def _flow(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _list_tables(rows: Sequence[Row]) -> None:
    counts = Counter(map(table_of, rows))
    width = max(map(len, counts), default=0)
    files = {table_of(row): row.file for row in rows}
    for name, count in counts.items():
        about = files[name].read_text().partition("\n")[0].removeprefix("# ")
        say(f"{name:<{width}}  {count:>3} row{'s' if count > 1 else ' '}  {about}")


def _print_table(rows: Sequence[Row], *, costs: bool) -> None:
    names = [row.name for row in rows]
    width = max(map(len, names))
    titles = ["images", "TFLOP"] if costs else []
    say("  ".join([f"{'row':<{width}}", f"{'length':>17}", f"{'updates':>9}",
                   *(f"{t:>13}" for t in titles), "recipe and changes"]))  # fmt: skip
    for row in rows:
        experiment = compose_run([f"experiment={row.name}"])
        updates = check_plan(experiment, where=row.place).total_steps
        cells = [f"{row.name:<{width}}", f"{experiment.training.length!s:>17}", f"{updates:>9,}"]
        if costs:
            from anneal.runs.costs import (
                TERA,
                run_cost,  # torch: seconds
            )

            cost = run_cost(experiment, runs=1)
            cells += [f"{cost.images:>13,}", f"{cost.flop / TERA:>13,.1f}"]
        say("  ".join([*cells, changes_of(row)]))


@command(free=True)
def main(arguments: list[str]) -> None:
    """List the tables, or print the rows of one."""
    names = [a for a in arguments if a != COSTS]
    if len(names) > 1 or (not names and COSTS in arguments):
        raise ValueError(f"needs at most one table ({COSTS} needs one), got {' '.join(names)}")
    rows = list(all_rows().values())
    if not names:
        _list_tables(rows)
        return
    found = [row for row in rows if table_of(row) == names[0]]
    if not found:
        near = did_you_mean(names[0], {*map(table_of, rows)})
        raise ValueError(f"conf/table has no table '{names[0]}'{near}")
    _print_table(found, costs=COSTS in arguments)
