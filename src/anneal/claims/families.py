"""Families of claims that are judged together: one table of one paper, one kind.

The intervals of ten claims at 95 % each are all right in 60 of 100 repetitions only. The claims of
one family are therefore judged by intervals that hold all at once in 95 of 100 (Bonferroni). Holm's
steps would gain nothing here: a verdict names one of the places where the truth can be (inside,
above or below the tolerance), exactly one of them is true for each claim whatever was decided about
the others, and so as many true hypotheses are to be protected at Holm's last step as at his first.
An order can be judged falsely on one side only, so that a family of orders errs in 2.5 of 100
tables at most: the reserve that each plain interval has as well.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from anneal.claims.schema import Claim
from anneal.results.metrics import Evidence
from anneal.results.statistics import FEWEST_RUNS

_NAMES = {"table": "Table", "fig": "Fig.", "section": "section", "sec": "section"}
_NAMES |= {"appendix": "appendix"}  # in this order: a claim of Table 1 and section 4 is Table 1's
_PLACE = re.compile(
    r"\b(?i:(table|fig|section|sec|appendix)(?:ure)?s?)\.?\s*"
    r"([A-Z]?[0-9]+(?:\.[0-9]+)*|[A-Z]+(?:\.[0-9]+)*\b)"
)


class Family(NamedTuple):
    """Claims that are judged together."""

    paper: str
    place: str
    kind: str


def place_of(at: str) -> str:
    """Return the table that ``source.at`` names, else the figure, else the section, else its text.

    A letter behind the number names a panel or a part, which is of the same table.

    >>> place_of("Table 1 and section 4.1.1"), place_of("section 4.2, Figure 6b")
    ('Table 1', 'Fig. 6')
    >>> place_of("Sec. 4.2"), place_of("the authors' log")
    ('section 4.2', "the authors' log")
    """
    order = list(_NAMES)
    found = [(order.index(name.lower()), number) for name, number in _PLACE.findall(at)]
    if not found:
        return " ".join(at.split())
    rank, number = min(found, key=lambda place: place[0])
    return f"{_NAMES[order[rank]]} {number}"


def place_named(name: str) -> str | None:
    """Return the place that a whole name stands for, as :func:`place_of` writes it, or None.

    >>> place_named("section3.1"), place_named("fig2a"), place_named("appendix_a")
    ('section 3.1', 'Fig. 2a', 'appendix A')
    >>> place_named("text"), place_named("table1_extra")
    (None, None)
    """
    words = re.sub(r"\b[a-z]$", lambda letter: letter[0].upper(), name.replace("_", " "))
    found = _PLACE.match(words)
    panel = words[found.end() :] if found else ""
    if not found or len(panel) > 1:
        return None
    return place_of(found[0]) + panel


def family_of(claim: Claim) -> Family:
    """Return the family of a claim, from its source and its kind."""
    return Family(claim.source.paper, place_of(claim.source.at), claim.kind)


def can_be_settled(claim: Claim, evidence: Mapping[str, Evidence]) -> bool:
    """Return whether each experiment of a claim has three runs at the paper's budget.

    What the runs measured plays no part, so that a family does not depend on its outcomes.
    """
    parts = [evidence.get(name) for name in claim.experiments]
    return all(p and p.budget_fraction >= 1 and len(p.runs) >= FEWEST_RUNS for p in parts)


def count_together(claims: Iterable[Claim], evidence: Mapping[str, Evidence]) -> dict[str, int]:
    """Return, by id, with how many claims each is judged, itself included.

    Only claims that can be settled count; one that can not yet is counted in for itself alone, so
    that its power view tells of the family it will be in.
    """
    claims = tuple(claims)
    settled = {claim.id for claim in claims if can_be_settled(claim, evidence)}
    sizes = Counter(family_of(claim) for claim in claims if claim.id in settled)
    return {claim.id: sizes[family_of(claim)] + (claim.id not in settled) for claim in claims}
