"""What the report says, before it is known how it looks (edge).

One structure that the Markdown page is made of, and any other page can be: numbers are already
chosen, none is formatted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anneal.claims import Claim
from anneal.judging import Judgement, judge_all
from anneal.metrics import Evidence
from anneal.range_test_record import RangeTestRecord, read_range_test
from anneal.report.sources import Deviation
from anneal.results import CampaignResults, MeasuredExperiment, gather_evidence
from anneal.statistics import Interval, mean_interval


@dataclass(frozen=True, kw_only=True)
class Row:
    """One experiment in one campaign.

    Args:
        experiment: what was run.
        evidence: its runs under the current configuration.
        final: mean test accuracy at the end with its interval, in percent; None when no run
            finished.
        best: the same of the highest accuracy on the way.
        look: place in the campaign, which fixes the colour.
        deviations: ids of the deviations that touch it.
    """

    experiment: MeasuredExperiment
    evidence: Evidence
    final: Interval | None
    best: Interval | None
    look: int
    deviations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One campaign.

    Args:
        name: of the campaign.
        title: of the campaign.
        budget_fraction: in (0, 1].
        is_reproduction: whether any of its rows is what a claim is about.
        days: first and last day on which its current runs were started, as ISO dates.
        rows: its experiments in order.
        groups: the rows by what was trained (dataset and model): the ones to compare, one figure
            each.
        range_tests: by name.
    """

    name: str
    title: str
    budget_fraction: float
    is_reproduction: bool
    days: tuple[str, str] | None
    rows: tuple[Row, ...]
    groups: Mapping[str, tuple[Row, ...]]
    range_tests: Mapping[str, RangeTestRecord]


@dataclass(frozen=True, kw_only=True)
class Redrawn:
    """One figure of a paper, drawn from our runs.

    Args:
        id: the paper first.
        at: where it stands, paper and figure.
        title: of the figure.
        shows: what the paper says of it, and what is drawn otherwise.
        note: how to read the picture.
        missing: what has not been run at full length.
        file: name of its picture.
        svg: the picture; None when nothing of it has been run.
    """

    id: str
    at: str
    title: str
    shows: str
    note: str
    missing: tuple[str, ...]
    file: str
    svg: str | None

    @property
    def paper(self) -> str:
        """The paper, as the ids of its claims begin."""
        return self.id.split("/")[0]


@dataclass(frozen=True, kw_only=True)
class Content:
    """The whole report."""

    sections: tuple[Section, ...]
    judgements: Mapping[str, tuple[Judgement, ...]]  # by paper, the first part of a claim's id
    deviations: tuple[Deviation, ...]
    figures: tuple[Redrawn, ...] = ()  # of the papers

    def all_judgements(self) -> tuple[Judgement, ...]:
        """Return the judgements of every paper, in order."""
        return tuple(found for paper in self.judgements.values() for found in paper)


def make_content(
    campaigns: Sequence[CampaignResults],
    claims: Sequence[Claim],
    deviations: Sequence[Deviation],
) -> Content:
    """Put the report together.

    Campaigns that stand for rows of papers come first, the larger budget before the smaller.
    """
    claimed = {name for claim in claims for name in claim.experiments}
    sections = [_section(results, claimed, deviations) for results in campaigns]
    sections.sort(key=lambda s: (not s.is_reproduction, -s.budget_fraction, s.name))
    evidence = gather_evidence(campaigns)
    judgements: dict[str, list[Judgement]] = {}
    for found in judge_all(claims, evidence):
        judgements.setdefault(found.claim.id.split("/")[0], []).append(found)
    return Content(
        sections=tuple(sections),
        judgements={paper: tuple(found) for paper, found in judgements.items()},
        deviations=tuple(deviations),
    )


def _section(
    results: CampaignResults, claimed: set[str], deviations: Sequence[Deviation]
) -> Section:
    evidence = results.evidence()
    rows = tuple(
        Row(
            experiment=experiment,
            evidence=evidence[experiment.name],
            final=_mean(evidence[experiment.name], "test_accuracy_pct@final"),
            best=_mean(evidence[experiment.name], "test_accuracy_pct@best"),
            look=look,
            deviations=tuple(d.id for d in deviations if experiment.name in d.experiments),
        )
        for look, experiment in enumerate(results.ordered())
    )
    groups: dict[str, list[Row]] = {}
    for row in rows:
        about = row.experiment.about
        groups.setdefault(f"{about['dataset']}, {about['model']}", []).append(row)
    started = sorted(
        run.environment["started"][:10]
        for row in rows
        for run in row.evidence.runs
        if run.environment.get("started")
    )
    return Section(
        name=results.name,
        title=str(results.campaign.get("title", results.name)),
        budget_fraction=float(results.campaign["budget_fraction"]),
        is_reproduction=any(row.experiment.name in claimed for row in rows),
        days=(started[0], started[-1]) if started else None,
        rows=rows,
        groups={about: tuple(found) for about, found in groups.items()},
        range_tests={
            name: read_range_test(plain, where=f"range test {name} of campaign {results.name}")
            for name, plain in results.range_tests.items()
        },
    )


def _mean(evidence: Evidence, metric: str) -> Interval | None:
    values = list(evidence.values(metric).values())
    return mean_interval(values) if values else None
