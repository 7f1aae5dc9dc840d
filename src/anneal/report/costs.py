"""Open runs of each table and their cost, from ``paper/costs.json``.

``anneal costs --claims`` writes the file: updates and floating-point operations of one run of each
experiment that claims name. How hours come from it: :mod:`anneal.report.effort`.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal.claims.verdict import Judgement
from anneal.claims.words import SETTLED, paper_name
from anneal.io.files import read_json
from anneal.io.text import NOTHING, Alignment, markdown_table, number
from anneal.report.content import NOT_RUN, Content, by_table, table_words
from anneal.report.counts import COUNTED, of_role
from anneal.report.effort import MOST_HOURS, Effort, Need, hours_words

COSTS_FILE = "costs.json"
LEFT_HEADER = [
    "paper",
    "table or figure",
    "claims",
    "here",
    "runs",
    "updates",
    "PFLOP",
    "hours here",
]
PETA = 1e15


@dataclass(frozen=True, kw_only=True)
class Left:
    """Missing runs until every row of one table has three runs, or three ensembles.

    Args:
        paper: its name.
        table: its place in the paper.
        claims: without a full verdict whose experiments all have a configuration.
        here: those of them that take at most 100 hours each without a GPU.
        runs: missing.
        updates: of them.
        flop: of them.
        hours: of them, one after the other on a processor; None where nothing tells.
    """

    paper: str
    table: str
    claims: int
    here: int
    runs: int
    updates: int
    flop: float
    hours: float | None

    def cells(self) -> list[str]:
        """Return its row of the table."""
        hours = NOTHING if self.hours is None else _short(self.hours, digits=2)
        peta = _short(self.flop / PETA, digits=3)
        counts = [str(self.claims), str(self.here), str(self.runs), number(self.updates)]
        return [self.paper, self.table, *counts, peta, hours]


def load_costs(paper: Path) -> dict[str, Any]:
    """Read what one run of each experiment costs; empty without the file."""
    path = paper / COSTS_FILE
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{path}: must map each experiment to its updates and flop")
    return found


def what_is_left(content: Content) -> tuple[Left, ...]:
    """Return each table with claims that runs would settle, the cheapest first."""
    effort, found = Effort(content), []
    for paper, judgements in content.judgements.items():
        for table, those in by_table(of_role(judgements, *COUNTED)).items():
            open_claims = [one for one in those if _is_open(one, content.costs)]
            missing = effort.missing(open_claims)
            if not missing:
                continue
            lacking = [
                one
                for one in open_claims
                if any(
                    name in missing
                    for each in one.claim.experiments
                    for name in effort.trained_for(each)
                )
            ]
            found.append(
                Left(
                    paper=paper_name(paper),
                    table=table_words(table),
                    claims=len(lacking),
                    here=sum(effort.need(one).way == "here" for one in lacking),
                    runs=sum(missing.values()),
                    updates=sum(n * content.costs[name]["updates"] for name, n in missing.items()),
                    flop=sum(n * content.costs[name]["flop"] for name, n in missing.items()),
                    hours=effort.hours(missing),
                )
            )
    return tuple(sorted(found, key=lambda left: (left.hours or math.inf, left.flop)))


def left_words(content: Content) -> str:
    """Return what a reader could do, in a sentence: claims within an hour, a day, with a GPU."""
    effort = Effort(content)
    open_claims = [
        found for found in of_role(content.all_judgements(), *COUNTED) if found.verdict == NOT_RUN
    ]
    needs = [(found, effort.need(found)) for found in open_claims]
    parts = []
    for limit, words in ((1.0, "an hour"), (24.0, "a day")):
        within = [one for one, need in needs if need.way == "here" and _fits(need, limit)]
        if within:
            total = hours_words(effort.hours(effort.missing(within)) or 0.0)
            parts.append(f"{len(within)} take at most {words} each, {total} together")
    counts = Counter(need.way for _, need in needs)
    lacks = {
        "GPU": f"take more than {MOST_HOURS:.0f} hours and want a GPU",
        "data": "have no data",
        "code": "have no row yet",
    }
    parts += [f"{counts[way]} {words}" for way, words in lacks.items() if counts[way]]  # type: ignore[index]
    if not parts:
        return ""
    speed = effort.usual_speed
    behind = ""
    if speed:
        behind = (
            " Hours are of one machine without a GPU: of our own runs of a row, or its operations "
            f"at {speed / 1e9:.0f} GFLOP/s, the median of the networks that ran."
        )
    return f"Of {len(open_claims)} claims that were not run {'; '.join(parts)}.{behind}"


def _short(value: float, *, digits: int) -> str:
    """Return a number with so many digits, and never with an exponent.

    >>> _short(0.7134, digits=3), _short(1368.2, digits=3), _short(24.1, digits=2)
    ('0.713', '1,370', '24')
    """
    return f"{float(f'{value:.{digits}g}'):,}".removesuffix(".0")


def _fits(need: Need, hours: float) -> bool:
    return need.hours is not None and need.hours <= hours


def left_table(content: Content) -> str:
    """Return what is left as a table."""
    sides: list[Alignment] = ["left", "left"]
    sides += ["right"] * (len(LEFT_HEADER) - len(sides))
    return markdown_table(
        LEFT_HEADER, [left.cells() for left in what_is_left(content)], sides=sides
    )


def _is_open(found: Judgement, costs: Mapping[str, Any]) -> bool:
    known = all(name in costs for name in found.claim.experiments)
    return known and found.verdict not in SETTLED
