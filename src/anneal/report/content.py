"""Report content, independent of its format.

The Markdown page, the web page and README's table are made from it. Its numbers are chosen but not
formatted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anneal.claims.files import Deviation, Link
from anneal.claims.places import place_named, spelled
from anneal.claims.schema import Claim
from anneal.claims.verdict import Judgement, judge_all
from anneal.claims.words import SIGNS
from anneal.range_test.record import RangeTestRecord, read_range_test
from anneal.results.campaign import CampaignResults, MeasuredExperiment, gather_evidence
from anneal.results.ensemble_store import seeds_words
from anneal.results.ensembles import ensemble_of
from anneal.results.metrics import Evidence, Run
from anneal.results.statistics import Interval, mean_interval
from anneal.results.subjects import mean_over_subjects

VERDICTS = tuple(SIGNS)
NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """One experiment in one campaign.

    Args:
        experiment: its configuration.
        evidence: its runs under the current configuration.
        final: mean test accuracy at the end with its interval, in percent; None when no run
            finished.
        best: the same for the highest accuracy of each run.
        look: place in the campaign, which fixes the colour.
        deviations: ids of the deviations that touch it.
        has_subjects: whether its runs are means over subjects, each of which has results.
    """

    experiment: MeasuredExperiment
    evidence: Evidence
    final: Interval | None
    best: Interval | None
    look: int
    deviations: tuple[str, ...]
    has_subjects: bool


@dataclass(frozen=True, kw_only=True)
class EnsembleRow:
    """One ensemble that was evaluated.

    Args:
        experiment: whose snapshots were averaged.
        num_runs: N, runs that they come from.
        num_snapshots: M, the last snapshots taken of each run.
        group: which runs, by their seeds.
        accuracy_pct: on the test images.
    """

    experiment: str
    num_runs: int
    num_snapshots: int
    group: str
    accuracy_pct: float


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
        runs: of its rows, those of each subject too.
        groups: the rows by what was trained (:func:`group_rows`): the ones to compare, one figure
            each.
        range_tests: by name.
        ensembles: what ensembles of its snapshots reached, in the file's order.
        link: its published W&B report, if there is one.
    """

    name: str
    title: str
    budget_fraction: float
    is_reproduction: bool
    days: tuple[str, str] | None
    rows: tuple[ReportRow, ...]
    runs: tuple[Run, ...]
    groups: Mapping[str, tuple[ReportRow, ...]]
    range_tests: Mapping[str, RangeTestRecord]
    ensembles: tuple[EnsembleRow, ...]
    link: Link | None


@dataclass(frozen=True, kw_only=True)
class RedrawnCurve:
    """One of our experiments in a figure of a paper.

    Args:
        experiment: its name.
        label: of the paper's curve.
        look: place in the figure, which fixes the colour.
        campaign: whose row is drawn.
        marks: the paper's numbers on it: update and accuracy (%).
    """

    experiment: str
    label: str
    look: int
    campaign: str
    marks: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Redrawn:
    """One figure of a paper, drawn from our runs.

    Args:
        id: the paper first.
        at: its place, paper and figure.
        place: the figure alone.
        title: of the figure.
        shows: the paper's caption in our words, and how our drawing differs.
        note: how to read the picture.
        missing: what has not been run.
        missing_where: where it is looked for: a campaign, or all at full length.
        file: name of its picture.
        svg: the picture; None when nothing of it has been run.
        curves: what is drawn in a figure of curves; of any other none.
    """

    id: str
    at: str
    place: str
    title: str
    shows: str
    note: str
    missing: tuple[str, ...]
    missing_where: str
    file: str
    svg: str | None
    curves: tuple[RedrawnCurve, ...] = ()

    @property
    def paper(self) -> str:
        """The paper, as the ids of its claims begin."""
        return self.id.split("/")[0]


@dataclass(frozen=True, kw_only=True)
class Content:
    """The whole report.

    Args:
        sections: the campaigns.
        judgements: by paper, the first part of a claim's id.
        evidence: by experiment, what the judgements rest on.
        deviations: in the order of their file.
        titles: of papers, by arXiv number without its version.
        figures: of the papers, drawn from our runs.
        costs: updates and flop of one run, by experiment.
        planned: what each experiment without a row lacks: ``data`` or ``code``.
    """

    sections: tuple[Section, ...]
    judgements: Mapping[str, tuple[Judgement, ...]]
    evidence: Mapping[str, Evidence]
    deviations: tuple[Deviation, ...]
    titles: Mapping[str, str]
    figures: tuple[Redrawn, ...] = ()
    costs: Mapping[str, Any] = field(default_factory=dict)
    planned: Mapping[str, str] = field(default_factory=dict)

    def all_judgements(self) -> tuple[Judgement, ...]:
        """Return the judgements of every paper, in order."""
        return tuple(found for paper in self.judgements.values() for found in paper)


@dataclass(frozen=True, kw_only=True)
class ReportExtras:
    """Optional parts of the report.

    Args:
        titles: of papers, by arXiv number without its version.
        links: published reports, by campaign.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)


def make_content(
    campaigns: Sequence[CampaignResults],
    claims: Sequence[Claim],
    deviations: Sequence[Deviation],
    extras: ReportExtras | None = None,
) -> Content:
    """Make the content of the report.

    Campaigns of papers' rows come first, the larger budget before the smaller.
    """
    extras = extras or ReportExtras()
    claimed = {name for claim in claims for name in claim.experiments}
    sections = [_section(results, claimed, deviations, extras) for results in campaigns]
    sections.sort(key=lambda s: (not s.is_reproduction, -s.budget_fraction, s.name))
    evidence = gather_evidence(campaigns)
    return Content(
        sections=tuple(sections),
        judgements=by_paper(judge_all(claims, evidence)),
        evidence=evidence,
        deviations=tuple(deviations),
        titles=extras.titles,
    )


def by_table(judgements: Sequence[Judgement]) -> dict[str, tuple[Judgement, ...]]:
    """Return the judgements of one paper by the table they belong to, the second part of an id."""
    tables: dict[str, list[Judgement]] = {}
    for found in judgements:
        tables.setdefault(found.claim.id.split("/")[1], []).append(found)
    return {table: tuple(found) for table, found in tables.items()}


def table_words(table: str) -> str:
    """Return the name of a table as a paper prints it.

    >>> table_words("table1"), table_words("section3.1"), table_words("wrn_zca")
    ('Table 1', 'section 3.1', 'WRN ZCA')
    """
    return place_named(table) or spelled(table)


def by_paper(judgements: Sequence[Judgement]) -> dict[str, tuple[Judgement, ...]]:
    """Return the judgements by paper, in order but for the papers of which nothing was run."""
    papers: dict[str, list[Judgement]] = {}
    for found in judgements:
        papers.setdefault(found.claim.paper, []).append(found)
    ordered = sorted(papers.items(), key=lambda p: all(j.verdict == NOT_RUN for j in p[1]))
    return {paper: tuple(found) for paper, found in ordered}


def group_rows(rows: Iterable[ReportRow]) -> dict[str, tuple[ReportRow, ...]]:
    """Return rows by data set and model, and by optimizer where a pair of these has several."""

    def name(row: ReportRow, keys: Sequence[str]) -> str:
        return ", ".join(str(row.experiment.about[key]) for key in keys)

    trained = ("dataset", "model")
    found: dict[str, list[ReportRow]] = {}
    for row in rows:
        found.setdefault(name(row, trained), []).append(row)
    groups: dict[str, list[ReportRow]] = {}
    for together in found.values():
        several = len({row.experiment.about["optimizer"] for row in together}) > 1
        for row in together:
            groups.setdefault(
                name(row, (*trained, "optimizer") if several else trained), []
            ).append(row)
    return {about: tuple(those) for about, those in groups.items()}


def _section(
    results: CampaignResults,
    claimed: set[str],
    deviations: Sequence[Deviation],
    extras: ReportExtras,
) -> Section:
    measured = results.evidence()
    evidence = {  # a seed of an experiment over subjects is the mean over them
        name: mean_over_subjects(part, part.subjects) if part.subjects else part
        for name, part in measured.items()
    }
    rows = tuple(
        ReportRow(
            experiment=experiment,
            evidence=evidence[experiment.name],
            final=_mean(evidence[experiment.name], "test_accuracy_pct@final"),
            best=_mean(evidence[experiment.name], "test_accuracy_pct@best"),
            look=look,
            deviations=tuple(d.id for d in deviations if experiment.name in d.experiments),
            has_subjects=bool(measured[experiment.name].subjects),
        )
        for look, experiment in enumerate(results.ordered())
    )
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
        runs=tuple(run for row in rows for run in measured[row.experiment.name].runs),
        groups=group_rows(rows),
        range_tests={
            name: read_range_test(plain, where=f"range test {name} of campaign {results.name}")
            for name, plain in results.range_tests.items()
        },
        ensembles=tuple(found for row in rows for found in _ensembles(row.evidence)),
        link=extras.links.get(results.name),
    )


def _ensembles(evidence: Evidence) -> list[EnsembleRow]:
    """Return what each group of seeds reached together, or one seed with its own snapshots."""
    alone = {(run.seed,): run.metrics for run in evidence.runs if run.finished}
    return [
        EnsembleRow(
            experiment=evidence.experiment,
            num_runs=size[0],
            num_snapshots=size[1],
            group=seeds_words(seeds),
            accuracy_pct=value,
        )
        for seeds, metrics in sorted((alone | dict(evidence.ensembles)).items())
        for metric, value in metrics.items()
        if (size := ensemble_of(metric))
    ]


def _mean(evidence: Evidence, metric: str) -> Interval | None:
    values = list(evidence.values(metric).values())
    return mean_interval(values) if values else None
