"""The report as ``paper/report.md`` with its figures."""

import functools
import re
from collections import Counter
from collections.abc import Sequence

from anneal.claims.by_processor import judge_apart, processors_words
from anneal.claims.verdict import Judgement
from anneal.claims.words import paper_name, total_words, verdicts_table
from anneal.io.text import NOTHING, Alignment, escape_markdown, markdown_table, number
from anneal.range_test.figure import draw_range_test
from anneal.range_test.record import RangeTestRecord
from anneal.report.answer import answer_lines
from anneal.report.content import NOT_RUN, Content, ReportRow, Section, by_table, table_words
from anneal.report.costs import left_table, left_words
from anneal.report.counts import (
    headlines_words,
    of_role,
    shown_first,
    strips_rows,
)
from anneal.report.effort import Effort
from anneal.report.ensemble_figure import draw_ensembles
from anneal.report.figures import PlottedExperiment, draw_accuracy, draw_rates
from anneal.report.forest import counted_claims, draw_forest, forest_rows
from anneal.report.templates import fill_in, make_environment
from anneal.results.campaign import MeasuredExperiment
from anneal.results.ensemble_grid import ensemble_header, ensemble_rows, shared_snapshots
from anneal.results.metrics import Run, find_metric
from anneal.results.store import file_name
from anneal.results.words import (
    budget_words,
    fraction_words,
    interval_words,
    mean_words,
    stage_words,
)
from anneal.schedules import cycle_ends, from_description

FIGURES = "figures"
FOREST, HEADLINES = "forest.svg", "headlines.svg"
FIRST = 8  # claims in README
STRIP_HEADER = ["paper", "headlines judged", "verdicts", "headlines left", "other claims judged"]


def strips_table(content: Content) -> str:
    """Return how far each paper is: its headline claims, and its other claims."""
    return markdown_table(STRIP_HEADER, strips_rows(content), sides=["left"] * 5)


def judged_apart(
    judgements: Sequence[Judgement],
) -> tuple[list[Judgement], list[Judgement]]:
    """Return the claims that have runs, and those that have none."""
    run = [found for found in judgements if found.verdict != NOT_RUN]
    return run, [found for found in judgements if found.verdict == NOT_RUN]


def draw_figures(content: Content) -> dict[str, str]:
    """Return every figure of the report: file name -> SVG."""
    figures: dict[str, str] = {one.file: one.svg for one in content.figures if one.svg}
    for name, shown in (
        (FOREST, counted_claims(content)),
        (HEADLINES, shown_first(content, most=FIRST)),
    ):
        if claims := forest_rows(shown, content.evidence):
            figures[name] = str(draw_forest(claims))
    for section in content.sections:
        for about, rows in section.groups.items():
            plotted = [
                PlottedExperiment(title=row.experiment.title, evidence=row.evidence, look=row.look)
                for row in rows
                if row.evidence.runs
            ]
            if plotted:
                label = _figure_label(section, about)
                accuracy, rates = figure_names(section, about)
                figures[accuracy] = draw_accuracy(plotted, title=label)
                figures[rates] = draw_rates(plotted, title=label)
        for row in ensemble_rows_of(section):
            ends = cycle_ends(from_description(row.experiment.schedule), row.experiment.total_steps)
            figures[ensemble_figure_name(section, row)] = draw_ensembles(
                row.evidence,
                ends=ends,
                title=_figure_label(section, f"Snapshots: {row.experiment.title}"),
            )
        for name, test in section.range_tests.items():
            figures[range_test_figure_name(section, name)] = draw_range_test(
                list(test.curves.values()),
                test.readings,
                rule=test.rule,
                title=f"Range test: {test.model} on {test.dataset}",
            )
    return figures


def _figure_label(section: Section, about: str) -> str:
    budget = section.budget_fraction
    behind = "" if budget == 1 else f", {fraction_words(budget)} of the paper's updates"
    return f"{about}{behind}"


def figure_names(section: Section, about: str) -> tuple[str, str]:
    """Return the names of a group's accuracy and rate figures."""
    stem = f"{section.name}-{slug(about)}"
    return f"{stem}-accuracy.svg", f"{stem}-rate.svg"


def ensemble_figure_name(section: Section, row: ReportRow) -> str:
    """Return the name of the figure of an experiment's snapshots."""
    return f"{section.name}-ensemble-{slug(row.experiment.name)}.svg"


def ensemble_rows_of(section: Section) -> list[ReportRow]:
    """Return the experiments of a campaign whose runs kept snapshots."""
    return [row for row in section.rows if shared_snapshots(row.evidence)]


def ensemble_table(row: ReportRow) -> str:
    """Return the grid of one experiment: N runs with the last M snapshots each."""
    rows = ensemble_rows(row.evidence)
    return markdown_table(ensemble_header(row.evidence), rows)


def ensemble_updates_words(row: ReportRow) -> str:
    """Return after which updates the snapshots of an experiment were taken."""
    return ", ".join(map(number, shared_snapshots(row.evidence)[0].updates))


def range_test_figure_name(section: Section, name: str) -> str:
    """Return the name of a range test's figure."""
    return f"{section.name}-range_test-{slug(name)}.svg"


def slug(text: str) -> str:
    """Return a text in the characters of a class, an id or a file name.

    >>> slug("not reproduced"), slug("clr/section3.1")
    ('not-reproduced', 'clr-section3.1')
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-")


def render_markdown(content: Content, *, template: str) -> str:
    """Return the text of the report.

    Raises:
        ValueError: the template names something that is not there, or is no template.
    """
    # Markdown: cells and words are escaped where they are made
    environment = make_environment(autoescape=False)
    environment.filters["text"] = escape_markdown
    environment.globals.update(
        FOREST=FOREST,
        answer_lines=answer_lines,
        budget_words=budget_words,
        by_table=by_table,
        counted_claims=counted_claims,
        forest_rows=forest_rows,
        headlines_words=headlines_words,
        left_table=left_table,
        left_words=left_words,
        paper_name=paper_name,
        processors_words=processors_words,
        rest_on_several=judge_apart(content.all_judgements(), content.evidence),
        strips_table=strips_table,
        of_role=of_role,
        ensemble_figure_name=ensemble_figure_name,
        ensemble_rows_of=ensemble_rows_of,
        ensemble_table=ensemble_table,
        ensemble_updates_words=ensemble_updates_words,
        experiments_table=experiments_table,
        figure_names=figure_names,
        judged_apart=judged_apart,
        range_test_figure_name=range_test_figure_name,
        range_test_table=range_test_table,
        table_words=table_words,
        total_words=total_words,
        deviations_words=deviations_words,
        results_file_name=file_name,
        trained_between_words=trained_between_words,
        where_words=where_words,
        verdicts_table=functools.partial(verdicts_table, needed=Effort(content).need_words),
    )
    rendered = fill_in(environment, template, name="report.md.j2", values={"content": content})
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"


def experiments_table(section: Section) -> str:
    """Return a campaign's table: one experiment a row, each linked to what made it."""
    header = [
        "experiment", "schedule", "updates", "test accuracy at the end (%)",
        "best on the way (%)", "runs",
    ]  # fmt: skip
    sides: list[Alignment] = ["left", "left", "right", "left", "left", "left"]
    return markdown_table(header, [_cells(section, row) for row in section.rows], sides=sides)


def _cells(section: Section, row: ReportRow) -> list[str]:
    experiment = row.experiment
    results = f"../results/{section.name}"
    total = number(experiment.total_steps)
    if experiment.total_steps != experiment.full_total_steps:
        total += f" of {number(experiment.full_total_steps)}"
    best = NOTHING
    if row.best:
        best = mean_words(row.best, metric=find_metric("test_accuracy_pct@best"))
    configuration = f"{results}/configurations/{experiment.configuration_hash}.yaml"
    curves = f"{results}/curves"
    if not row.has_subjects:  # each has a file
        curves += f"/{file_name(experiment.name)}.csv"
    runs = _status_words(row)
    return [
        f"{escape_markdown(experiment.title)}<br>[`{experiment.name}`]({configuration})",
        _schedule_cell(experiment),
        total,
        interval_words(row.final, decimals=2),
        best,
        f"{runs}, [curves]({curves})" if row.evidence.runs else runs,
    ]


def _schedule_cell(experiment: MeasuredExperiment) -> str:
    lines = stage_words(experiment.schedule)
    if experiment.momentum_schedule:
        first, *others = stage_words(experiment.momentum_schedule)
        lines += [f"momentum {first}", *others]
    if experiment.range_test:
        found = experiment.range_test
        lines.append(f"bounds found by range test {found['name']}, rule {found['rule']}")
    return "<br>".join(map(escape_markdown, lines))


def _status_words(row: ReportRow) -> str:
    diverged = [run for run in row.evidence.runs if not run.finished]
    finished = len(row.evidence.runs) - len(diverged)
    words = f"{finished} finished" if finished else ""
    if diverged:
        seeds = ", ".join(f"seed {run.seed} at update {number(run.updates)}" for run in diverged)
        words += f"{', ' if words else ''}**{len(diverged)} diverged** ({seeds})"
    return (words or "not run") + _kernels_words(row.evidence.runs)


def _kernels_words(runs: Sequence[Run]) -> str:
    """Return which runs had CPU kernels, where any had or only some of them say."""
    counts = Counter(run.environment.get("kernels", "unrecorded") for run in runs)
    if counts.keys() == {"cpu"}:
        return ", with CPU kernels"
    if len(counts) < 2:
        return ""
    return f", CPU kernels: {', '.join(f'{n} {words}' for words, n in sorted(counts.items()))}"


def where_words(section: Section) -> str:
    """Return where a campaign ran: each device, precision and commit, the most used first."""
    places = Counter(_place(run) for row in section.rows for run in row.evidence.runs)
    total = sum(places.values())
    known = [(place, n) for place, n in places.most_common() if place]
    if not known:
        return "nowhere on record"
    if len(places) == 1:
        return known[0][0]
    return "; ".join(f"{place} ({n} of {total} runs)" for place, n in known)


def _place(run: Run) -> str:
    known = run.environment
    parts = [known.get("device", ""), known.get("precision", "")]
    if known.get("kernels") == "cpu":
        parts.append("CPU kernels")
    if known.get("commit"):
        changed = " with changes" if known["commit"].endswith("+") else ""
        parts.append(f"commit {known['commit'][:10]}{changed}")
    return ", ".join(part for part in parts if part)


def range_test_table(test: RangeTestRecord) -> str:
    """Return the table of each rule's bounds for one range test, over its seeds."""
    rows = [
        [
            f"**{rule}**" if rule == test.rule else rule,
            NOTHING if found.base_lr is None else f"{found.base_lr:.3g}",
            NOTHING if found.max_lr is None else f"{found.max_lr:.3g}",
            escape_markdown(found.reason),
        ]
        for rule, found in test.readings.items()
    ]
    sides: list[Alignment] = ["left", "right", "right", "left"]
    return markdown_table(["rule", "base rate", "highest rate", "why"], rows, sides=sides)


def trained_between(section: Section, name: str) -> list[str]:
    """Return the experiments of a campaign that took their bounds from one of its range tests."""
    return [
        row.experiment.name
        for row in section.rows
        if row.experiment.range_test and row.experiment.range_test["name"] == name
    ]


def trained_between_words(section: Section, name: str) -> str:
    """Return the same in words."""
    found = [f"`{experiment}`" for experiment in trained_between(section, name)]
    return f"{' and '.join(found) or 'no experiment here'} trained between its bounds"


def deviations_words(section: Section) -> str:
    """Return the deviations that affect a campaign, with their experiments; empty without any."""
    lines = [
        f"- `{row.experiment.name}`: {', '.join(f'[{name}](#{name})' for name in row.deviations)}"
        for row in section.rows
        if row.deviations
    ]
    return "\n".join(lines)
