"""The papers' figures redrawn from our runs, with the papers' numbers marked.

What belongs into which figure is data: ``paper/figures.yaml``. The papers' numbers are those of the
claims on the same experiments. Drawn are runs of the full length, or those of the campaign that a
figure names; one that is scaled down is called so and has no number of the paper's in it.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from anneal.claims.schema import ID_RULE, Claim, ValueClaim
from anneal.config.strict import POSITIVE, Rule, parse
from anneal.io.csv_files import read_columns
from anneal.io.files import read_yaml
from anneal.io.text import number
from anneal.report.content import Content, Redrawn, RedrawnCurve, ReportRow, Section
from anneal.report.figures import PlottedExperiment
from anneal.report.less_reference import LessReference, draw_less_reference
from anneal.report.redrawing import (
    DigitisedCurve,
    Heading,
    Mark,
    Size,
    draw_curves,
    draw_grid,
    draw_sweep,
    median_errors,
)
from anneal.results.anytime import recommended_update
from anneal.results.ensembles import ensemble_of
from anneal.results.metrics import restate
from anneal.results.words import budget_words
from anneal.schedules import cycle_ends, from_description

FIGURES_FILE = "figures.yaml"
MOMENT = re.compile(r"test_accuracy_pct@(?:final|(recommended)|update_([0-9]+))")
PLACED = Rule("must be '<paper>, <figure>'", lambda v: bool(re.fullmatch(r"[^,]+, \S.*", v)))
SOME = Rule("must have at least one", lambda v: len(v) > 0)


@dataclass(frozen=True, kw_only=True)
class PaperCurve:
    """One of our experiments under the name that the paper's figure gives its curve."""

    experiment: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Digitised:
    """The paper's curve, digitised from its figure."""

    data: str  # CSV below paper/: lr, test_accuracy_pct
    source: str  # how the numbers were obtained
    error_pct: Annotated[float, POSITIVE]  # of one of them, in points


@dataclass(frozen=True, kw_only=True)
class PaperRangeTest:
    """One of the range tests of the figure's campaign, and what the paper's curve is, if known."""

    name: str
    digitised: Digitised | None = None


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """One figure of a paper (``paper/figures.yaml``): curves, a range test, ensembles or errors.

    With a ``campaign`` it shows the rows of that one at its budget, whatever it is; without, rows
    of any campaign at full length.
    """

    id: Annotated[str, ID_RULE]
    at: Annotated[str, PLACED]  # paper and figure
    title: str
    shows: str  # the paper's caption in our words, and how our drawing differs
    campaign: str | None = None
    curves: Annotated[tuple[PaperCurve, ...], SOME] = ()
    range_test: PaperRangeTest | None = None
    ensembles: str | None = None  # the experiment whose runs and snapshots are averaged
    less_reference: LessReference | None = None  # errors of subjects


def load_paper_figures(paper: Path) -> tuple[PaperFigure, ...]:
    """Read ``figures.yaml``; without the file there are none.

    Raises:
        ValueError: names the file, the entry, the key and the rule.
    """
    path = paper / FIGURES_FILE
    if not path.is_file():
        return ()
    entries = read_yaml(path)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: must be a list of figures")
    found = [
        parse(PaperFigure, entry, where=f"{path}: figure {i}") for i, entry in enumerate(entries, 1)
    ]
    for figure in found:
        where = f"{path}: figure {figure.id}"
        if [f.id for f in found].count(figure.id) > 1:
            raise ValueError(f"{where}: id must be unique, it is here twice")
        kinds = (figure.curves, figure.range_test, figure.ensembles, figure.less_reference)
        if [bool(kind) for kind in kinds].count(True) != 1:
            raise ValueError(
                f"{where}: must have either curves, a range_test, ensembles or less_reference"
            )
        if figure.range_test and not figure.campaign:
            raise ValueError(f"{where}: campaign must say whose range_test it is")
        digitised = figure.range_test and figure.range_test.digitised
        if digitised and not (paper / digitised.data).is_file():
            raise ValueError(f"{where}: range_test.digitised.data: {digitised.data} is missing")
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A redrawn figure: the picture, how to read it, and what is missing."""

    svg: str | None
    note: str
    missing: tuple[str, ...]
    curves: tuple[RedrawnCurve, ...] = ()


def redraw(figures: Sequence[PaperFigure], content: Content, *, paper: Path) -> tuple[Redrawn, ...]:
    """Draw every figure for which there are runs; list what is missing of each.

    Args:
        figures: from :func:`load_paper_figures`.
        content: the runs and range tests, and the claims that mark them.
        paper: the folder of the digitised data.

    Raises:
        ValueError: digitised data are not as they should be; names the file.
    """
    claims = [found.claim for found in content.all_judgements()]
    return tuple(_redraw(figure, content, claims, paper) for figure in figures)


def _redraw(figure: PaperFigure, content: Content, claims: Sequence[Claim], paper: Path) -> Redrawn:
    sections = [
        section
        for section in content.sections
        if (section.name == figure.campaign if figure.campaign else section.budget_fraction == 1)
    ]
    scaled = any(section.budget_fraction < 1 for section in sections)
    budget = _budget_words(figure, sections[0]) if scaled else ""
    source, _, place = figure.at.partition(", ")
    heading = Heading(title=f"{place}: {figure.title}", budget=budget)
    # the paper's numbers belong to its own length; what others measured is not the paper's
    its = [] if scaled else [c for c in claims if c.source.paper == source]
    if figure.range_test:
        digitised = None if scaled else figure.range_test.digitised
        picture = _sweep(figure, sections, digitised, heading, paper)
    elif figure.less_reference:
        picture = _less_reference(figure.less_reference, figure.campaign, content, heading)
    elif figure.ensembles:
        picture = _grid(figure.ensembles, _rows(sections), its, heading)
    else:
        picture = _curves(figure.curves, sections, its, heading)
    note = picture.note
    if scaled:
        said = f"{budget}, campaign {figure.campaign}; no number of the paper is drawn"
        note = f"{said[0].upper()}{said[1:]}. {note}"
    where = f"in campaign {figure.campaign}" if figure.campaign else "at full length"
    return Redrawn(
        id=figure.id,
        at=figure.at,
        place=place,
        title=f"{figure.title} ({budget})" if budget else figure.title,
        shows=figure.shows,
        note=note,
        missing=picture.missing,
        missing_where=where,
        file=f"{figure.id.replace('/', '-')}.svg",
        svg=picture.svg,
        curves=picture.curves,
    )


def _rows(sections: Sequence[Section]) -> dict[str, ReportRow]:
    """Return the rows that were run at the budget of their campaign, the first of a name."""
    rows: dict[str, ReportRow] = {}
    for section in sections:
        for row in section.rows:
            if row.evidence.runs and row.experiment.budget_fraction == section.budget_fraction:
                rows.setdefault(row.experiment.name, row)
    return rows


def _budget_words(figure: PaperFigure, section: Section) -> str:
    """Return a budget below the full one; a range test is no longer or shorter for it."""
    test = section.range_tests.get(figure.range_test.name) if figure.range_test else None
    if test is None:
        return budget_words(section.budget_fraction)
    longest = max(point.update for curve in test.curves.values() for point in curve.points)
    return f"shorter run: {number(longest)} updates"


def _curves(
    curves: Sequence[PaperCurve],
    sections: Sequence[Section],
    claims: Sequence[Claim],
    heading: Heading,
) -> _Picture:
    rows, drawn = _rows(sections), []
    plotted, marks = [], []
    for look, curve in enumerate(curves):
        if row := rows.get(curve.experiment):
            plotted.append(PlottedExperiment(title=curve.label, evidence=row.evidence, look=look))
            one = row.experiment
            ends = cycle_ends(from_description(one.schedule), one.total_steps)
            marks.append(marks_of(one.name, claims, total_steps=one.total_steps, ends=ends))
            drawn.append(
                RedrawnCurve(
                    experiment=one.name,
                    label=curve.label,
                    look=look,
                    campaign=next(s.name for s in sections if any(r is row for r in s.rows)),
                    marks=tuple((mark.update, mark.value) for mark in marks[-1]),
                )
            )
    band = "band goes from the lowest to the highest seed."
    return _Picture(
        svg=draw_curves(plotted, marks, heading) if plotted else None,
        note=f"A {band}" if heading.budget else f"Diamonds are the paper's numbers; a {band}",
        missing=tuple(c.experiment for c in curves if c.experiment not in rows),
        curves=tuple(drawn),
    )


def _grid(
    experiment: str, rows: Mapping[str, ReportRow], claims: Sequence[Claim], heading: Heading
) -> _Picture:
    ours = median_errors(rows[experiment].evidence) if experiment in rows else {}
    printed = "" if heading.budget else " The paper's numbers are below ours."
    return _Picture(
        svg=draw_grid(ours, printed_errors(experiment, claims), heading) if ours else None,
        note=f"A cell is the median test error (%) over groups of N runs.{printed}",
        missing=() if ours else (f"ensembles of {experiment}",),
    )


def _less_reference(
    figure: LessReference, campaign: str | None, content: Content, heading: Heading
) -> _Picture:
    there = {
        name: part
        for name, part in content.evidence.items()
        if part.subjects and (campaign in part.campaigns if campaign else part.budget_fraction == 1)
    }
    missing = tuple(name for name in figure.experiments() if name not in there)
    drawn = figure.reference in there and len(missing) < len(figure.experiments()) - 1
    subjects = len(there[figure.reference].subjects) if drawn else 0
    return _Picture(
        svg=draw_less_reference(figure, there, heading) if drawn else None,
        note=f"The median over {subjects} subjects, with its 90 % interval; seeds are averaged "
        "first. Points are drawn a little to the side.",
        missing=missing,
    )


def _sweep(
    figure: PaperFigure,
    sections: Sequence[Section],
    digitised: Digitised | None,
    heading: Heading,
    paper: Path,
) -> _Picture:
    name = figure.range_test.name if figure.range_test else ""
    tests = [section.range_tests[name] for section in sections if name in section.range_tests]
    note = "A band goes from the lowest to the highest seed."
    papers_curve = None
    if digitised:
        note = f"The paper's points: {digitised.source}, to within {digitised.error_pct:g} points."
        rates, accuracies = read_digitised(paper / digitised.data)
        papers_curve = DigitisedCurve(
            rates=rates, accuracies=accuracies, error_pct=digitised.error_pct
        )
    return _Picture(
        svg=draw_sweep(list(tests[0].curves.values()), papers_curve, heading) if tests else None,
        note=note,
        missing=() if tests else (f"range test {name}",),
    )


def printed_errors(experiment: str, claims: Sequence[Claim]) -> dict[Size, float]:
    """Return the paper's test errors (%) of one experiment's ensembles, by their size."""
    errors = {}
    for claim in claims:
        if isinstance(claim, ValueClaim) and claim.experiments == (experiment,):
            elsewhere = [(other.metric, other.value) for other in claim.also]
            for metric, value in [(claim.metric, claim.value), *elsewhere]:
                if metric is not None and value is not None:
                    recorded, accuracy = restate(metric, value)
                    if size := ensemble_of(recorded):
                        errors[size] = restate("test_error_pct", accuracy)[1]
    return errors


def marks_of(
    experiment: str, claims: Sequence[Claim], *, total_steps: int, ends: Sequence[int] = ()
) -> tuple[Mark, ...]:
    """Return the paper's accuracies of one experiment and their updates, from its claims.

    Args:
        experiment: its name.
        claims: those on other experiments are passed over.
        total_steps: of its runs.
        ends: of its cycles, ascending: the last is what ``@recommended`` means.
    """
    marks = []
    for claim in claims:
        if isinstance(claim, ValueClaim) and claim.experiments == (experiment,):
            recorded, accuracy = restate(claim.metric, claim.value)
            if moment := MOMENT.fullmatch(recorded):
                update = int(moment[2]) if moment[2] else total_steps
                if moment[1]:
                    update = recommended_update(total_steps, ends)
                marks.append(Mark(update=update, value=accuracy))
    return tuple(sorted(marks, key=lambda mark: mark.update))


def read_digitised(path: Path) -> tuple[list[float], list[float]]:
    """Read a curve that was read off a figure: rates, ascending, and accuracies in percent.

    Raises:
        ValueError: a number is missing or out of range, or the rates do not rise.
    """
    columns = read_columns(path)
    if set(columns) != {"lr", "test_accuracy_pct"}:
        raise ValueError(f"{path}: must have the columns lr, test_accuracy_pct")
    rates = [rate for rate in columns["lr"] if rate is not None]
    accuracies = [a for a in columns["test_accuracy_pct"] if a is not None and 0 <= a <= 100]
    if len(rates) != len(columns["lr"]) or len(accuracies) != len(rates):
        raise ValueError(f"{path}: every line must have a rate and an accuracy from 0 to 100")
    if any(after <= before for before, after in itertools.pairwise(rates)):
        raise ValueError(f"{path}: the rates must rise from line to line")
    return rates, accuracies
