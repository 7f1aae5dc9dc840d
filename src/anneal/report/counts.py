"""Counts of claims by their role: a front page counts headline claims only."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from anneal.claims.verdict import Judgement, Verdict
from anneal.claims.words import SIGNS, UNJUDGED, paper_name
from anneal.io.text import NOTHING
from anneal.report.content import Content
from anneal.report.effort import Effort
from anneal.results.statistics import FEWEST_RUNS

COUNTED = ("headline", "detail")  # roles: a claim that is context is shown, and not counted


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Progress of one paper.

    Args:
        paper: as the ids of its claims begin.
        name: as people call it.
        headlines: its headline claims.
        judged: those of them that have a verdict.
        details: its other claims that count and have a verdict.
        num_details: its other claims that count.
    """

    paper: str
    name: str
    headlines: tuple[Judgement, ...]
    judged: tuple[Judgement, ...]
    details: tuple[Judgement, ...]
    num_details: int


def of_role(judgements: Sequence[Judgement], *roles: str) -> tuple[Judgement, ...]:
    """Return the judgements on claims of these roles."""
    return tuple(found for found in judgements if found.claim.role in roles)


def judged(judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """Return the judgements that are a verdict on the paper: provisional and open ones too."""
    return tuple(found for found in judgements if found.verdict not in UNJUDGED)


def strips(content: Content) -> tuple[Strip, ...]:
    """Return the progress of each paper with headline claims, in the report's order."""
    found = []
    for paper, judgements in content.judgements.items():
        headlines, details = of_role(judgements, "headline"), of_role(judgements, "detail")
        if headlines:
            found.append(
                Strip(
                    paper=paper,
                    name=paper_name(paper),
                    headlines=headlines,
                    judged=judged(headlines),
                    details=judged(details),
                    num_details=len(details),
                )
            )
    return tuple(found)


def by_verdict(judgements: Sequence[Judgement]) -> dict[Verdict, int]:
    """Return verdict -> number of claims, in the reader's order, without zeros."""
    counts = Counter(found.verdict for found in judgements)
    return {verdict: counts[verdict] for verdict in SIGNS if counts[verdict]}


def verdicts_words(judgements: Sequence[Judgement]) -> str:
    """Return how many claims got which verdict, with signs; empty where none was judged."""
    counts = by_verdict(judgements)
    return ", ".join(f"{SIGNS[verdict]} {n} {verdict}" for verdict, n in counts.items())


def strips_rows(content: Content) -> list[list[str]]:
    """Return a row a paper: name, headlines judged, verdicts, hours to go, others judged."""
    effort = Effort(content)
    return [
        [
            one.name,
            f"{len(one.judged)} of {len(one.headlines)}",
            verdicts_words(one.judged) or NOTHING,
            effort.total(one.headlines).words.removeprefix("left: ") or NOTHING,
            f"{len(one.details)} of {one.num_details}",
        ]
        for one in strips(content)
    ]


def headlines_words(content: Content) -> str:
    """Return how many headline claims there are and how many are judged, in a sentence."""
    headlines = of_role(content.all_judgements(), "headline")
    papers = len(strips(content))
    total = f"{len(headlines)} headline claim{'s' * (len(headlines) != 1)}"
    source = f"{papers} paper{'s' * (papers != 1)}"
    found = judged(headlines)
    words = f"{total} of {source}, what the abstracts say; {len(found)} judged so far"
    return f"{words}: {verdicts_words(found)}." if found else f"{words}."


def shown_first(content: Content, *, most: int) -> tuple[Judgement, ...]:
    """Return the claims for a short table, in the papers' order: judged headlines, then details.

    A detail is shown where three or more runs speak to it.
    """
    everything = content.all_judgements()
    details = judged(of_role(everything, "detail"))
    full = [found for found in details if found.n >= FEWEST_RUNS]
    return (*judged(of_role(everything, "headline")), *full)[:most]
