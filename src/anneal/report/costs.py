"""Open runs of each table and their cost, from ``paper/costs.json``.

``anneal costs --claims`` writes the file: updates and floating-point operations of one run of each
experiment that claims name. Hours are those of committed runs of the same experiment.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from anneal.claims.schema import Claim, OrderClaim
from anneal.claims.verdict import Judgement
from anneal.claims.words import SETTLED, paper_name
from anneal.io.files import read_json
from anneal.io.text import NOTHING, Alignment, markdown_table, number
from anneal.report.content import Content, by_table, table_words
from anneal.report.counts import COUNTED, of_role
from anneal.results.ensembles import ensemble_of
from anneal.results.metrics import Evidence, restate
from anneal.results.statistics import FEWEST_RUNS

COSTS_FILE = "costs.json"
LEFT_HEADER = ["paper", "table or figure", "claims", "runs", "updates", "PFLOP", "hours, measured"]
PETA = 1e15


@dataclass(frozen=True, kw_only=True)
class Left:
    """Missing runs until every row of one table has three runs, or three ensembles.

    Args:
        paper: its name.
        table: its place in the paper.
        claims: without a full verdict whose experiments all have a configuration.
        runs: missing.
        updates: of them.
        flop: of them.
        hours: of them, on the machines that ran some; None where a row was never timed.
    """

    paper: str
    table: str
    claims: int
    runs: int
    updates: int
    flop: float
    hours: float | None

    def cells(self) -> list[str]:
        """Return its row of the table."""
        hours = NOTHING if self.hours is None else f"{self.hours:.1f}"
        peta = f"{self.flop / PETA:,.3g}"
        counts = [str(self.claims), str(self.runs), number(self.updates)]
        return [self.paper, self.table, *counts, peta, hours]


def load_costs(paper: Path) -> dict[str, Any]:
    """Read what one run of each experiment costs; empty without the file."""
    path = paper / COSTS_FILE
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{path}: must map each experiment to its updates and flop")
    return found


def what_is_left(content: Content) -> tuple[Left, ...]:
    """Return each table with open claims, the cheapest first."""
    found = []
    for paper, judgements in content.judgements.items():
        for table, those in by_table(of_role(judgements, *COUNTED)).items():
            open_claims = [one for one in those if _is_open(one, content.costs)]
            needed = Counter[str]()
            for one in open_claims:
                needed |= _runs_for(one.claim)
            missing = needed - Counter(
                {name: _num_runs(content.evidence.get(name)) for name in needed}
            )
            if not missing:
                continue
            seconds = {name: _seconds(content.evidence.get(name)) for name in missing}
            known = [n * value for name, n in missing.items() if (value := seconds[name])]
            found.append(
                Left(
                    paper=paper_name(paper),
                    table=table_words(table),
                    claims=sum(
                        any(name in missing for name in one.claim.experiments)
                        for one in open_claims
                    ),
                    runs=sum(missing.values()),
                    updates=sum(n * content.costs[name]["updates"] for name, n in missing.items()),
                    flop=sum(n * content.costs[name]["flop"] for name, n in missing.items()),
                    hours=sum(known) / 3600 if len(known) == len(missing) else None,
                )
            )
    return tuple(sorted(found, key=lambda left: left.flop))


def left_table(content: Content) -> str:
    """Return the open runs as a table."""
    sides: list[Alignment] = ["left", "left", "right", "right", "right", "right", "right"]
    return markdown_table(
        LEFT_HEADER, [left.cells() for left in what_is_left(content)], sides=sides
    )


def _is_open(found: Judgement, costs: Mapping[str, Any]) -> bool:
    known = all(name in costs for name in found.claim.experiments)
    return known and found.verdict not in SETTLED


def _runs_for(claim: Claim) -> Counter[str]:
    """Return how many runs of each experiment give a verdict; an ensemble takes several."""
    metrics = claim.metrics if isinstance(claim, OrderClaim) else (claim.metric,) * 2
    found = Counter[str]()
    for name, metric in zip((claim.experiments[0], claim.experiments[-1]), metrics, strict=True):
        ensemble = ensemble_of(restate(metric, 0)[0])
        found |= Counter({name: FEWEST_RUNS * (ensemble[0] if ensemble else 1)})
    return found


def _num_runs(evidence: Evidence | None) -> int:
    whole = evidence is not None and evidence.budget_fraction == 1
    return sum(run.finished for run in evidence.runs) if evidence is not None and whole else 0


def _seconds(evidence: Evidence | None) -> float | None:
    """Return how long a run of the full length took, the median of those that say."""
    if evidence is None or evidence.budget_fraction < 1:
        return None
    timed = [run.environment.get("seconds") for run in evidence.runs if run.finished]
    return median(float(value) for value in timed if value) if any(timed) else None
