"""Verdicts on the runs of one processor alone, of claims whose rows have runs of several.

The last bits of a run depend on its processor; the report shows where a verdict does too.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anneal.claims.verdict import Judgement, judge
from anneal.claims.words import ours_words
from anneal.io.text import escape_markdown, markdown_table
from anneal.results.metrics import Evidence
from anneal.results.network_prior import find_priors
from anneal.results.statistics import FEWEST_RUNS


@dataclass(frozen=True, kw_only=True)
class Apart:
    """A claim on the runs of every processor, and of each alone.

    Args:
        whole: its judgement.
        alone: by processor; only those with enough runs for a verdict.
    """

    whole: Judgement
    alone: Mapping[str, Judgement]

    @property
    def moved(self) -> bool:
        """Whether a processor alone gives another verdict."""
        return any(found.verdict != self.whole.verdict for found in self.alone.values())


def judge_apart(
    judgements: Sequence[Judgement], evidence: Mapping[str, Evidence]
) -> tuple[Apart, ...]:
    """Judge each claim that rests on runs of several processors again, on each of them alone.

    Args:
        judgements: on all runs.
        evidence: by experiment.
    """
    priors, found = find_priors(evidence), []
    for whole in judgements:
        names = [name for name in whole.claim.experiments if name in evidence]
        devices = sorted({one for name in names for one in _devices(evidence[name])})
        if len(devices) < 2 or whole.n < FEWEST_RUNS:
            continue
        alone = {}
        for device in devices:
            of_it = {name: _only(part, device) for name, part in evidence.items()}
            judgement = judge(whole.claim, of_it, priors)
            if judgement.n >= FEWEST_RUNS:
                alone[device] = judgement
        if alone:
            found.append(Apart(whole=whole, alone=alone))
    return tuple(found)


def processors_words(apart: Sequence[Apart]) -> str:
    """Return how many of these verdicts one processor's runs alone would change, as Markdown."""
    moved = [one for one in apart if one.moved]
    words = (
        f"Claims that rest on runs of several processors, {FEWEST_RUNS} or more of one of them: "
        f"{len(apart)}. Verdicts that this one's runs alone would change: "
        f"{len(moved) or 'none'}."
    )
    rows = [
        [escape_markdown(cell) for cell in (one.whole.claim.text, name, ours, str(n), verdict)]
        for one in moved
        for name, ours, n, verdict in [
            ("all", ours_words(one.whole), one.whole.n, one.whole.verdict),
            *((d, ours_words(f), f.n, f.verdict) for d, f in one.alone.items()),
        ]
    ]
    if not rows:
        return words
    header = ["claim", "runs of", "ours", "n", "verdict"]
    table = markdown_table(header, rows, sides=["left", "left", "left", "right", "left"])
    return f"{words}\n\n{table}"


def _devices(part: Evidence) -> set[str]:
    return {run.environment.get("device", "") for run in part.runs}


def _only(part: Evidence, device: str) -> Evidence:
    """Return the evidence with the runs of one processor, and the ensembles of these."""
    runs = tuple(run for run in part.runs if run.environment.get("device", "") == device)
    seeds = {run.seed for run in runs}
    return dataclasses.replace(
        part,
        runs=runs,
        ensembles={group: found for group, found in part.ensembles.items() if seeds >= {*group}},
        subjects={number: _only(one, device) for number, one in part.subjects.items()},
    )
