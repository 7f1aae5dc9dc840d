"""The papers' figures, drawn again from our runs with the papers' numbers marked (edge).

What belongs into which figure is data: ``paper/figures.yaml``. The papers' numbers are those of the
claims on the same experiments. Only runs of the full length are drawn.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anneal.bounds import RangeTestCurve
from anneal.claims import ID_RULE, Claim, ValueClaim
from anneal.csv_files import read_columns
from anneal.curves import series
from anneal.figures import COLOURS, FAINT, STYLE, Drawn, draw_band, updates_axis
from anneal.parsing import POSITIVE, Rule, parse
from anneal.report.content import Content, Redrawn, Row
from anneal.svg import svg_text
from anneal.yaml_files import read_yaml

FIGURES_FILE = "figures.yaml"
FIRST_PART = 0.1  # of the longest run, where curves may lie below the frame
MOMENT = re.compile(r"test_accuracy_pct@(?:final|update_([0-9]+))")
SOME = Rule("must hold at least one", lambda v: len(v) > 0)


@dataclass(frozen=True, kw_only=True)
class PaperCurve:
    """One of our experiments under the name that the paper's figure gives its curve."""

    experiment: str
    label: str


@dataclass(frozen=True, kw_only=True)
class PaperRangeTest:
    """One of our range tests, and the paper's curve as it was read off the figure."""

    campaign: str
    name: str  # of the range test in that campaign
    data: str  # CSV below paper/: lr, test_accuracy_pct
    source: str  # how the numbers were obtained
    error_pct: Annotated[float, POSITIVE]  # of one of them, in points


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """One figure of a paper (``paper/figures.yaml``): curves, or a range test."""

    id: Annotated[str, ID_RULE]
    at: str  # paper and figure
    title: str
    shows: str  # what the paper says of it, and what is drawn otherwise
    curves: Annotated[tuple[PaperCurve, ...], SOME] = ()
    range_test: PaperRangeTest | None = None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A number of the paper's on a curve: accuracy (%) after so many updates."""

    update: int
    value: float


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
        if bool(figure.curves) == (figure.range_test is not None):
            raise ValueError(f"{where}: must have either curves or a range_test")
        if figure.range_test and not (paper / figure.range_test.data).is_file():
            raise ValueError(f"{where}: range_test.data: {figure.range_test.data} is not there")
    return tuple(found)


def redraw(figures: Sequence[PaperFigure], content: Content, *, paper: Path) -> tuple[Redrawn, ...]:
    """Draw every figure for which there is something of ours; say of each what is missing.

    Args:
        figures: from :func:`load_paper_figures`.
        content: the runs and range tests, and the claims that mark them.
        paper: the folder that the digitised data lie in.

    Raises:
        ValueError: digitised data are not as they should be; names the file.
    """
    rows: dict[str, Row] = {}
    for section in content.sections:
        for row in section.rows:
            if section.budget_fraction == 1 and row.evidence.runs:
                rows.setdefault(row.experiment.name, row)
    tests = {(s.name, name): t for s in content.sections for name, t in s.range_tests.items()}
    claims = [found.claim for found in content.all_judgements()]
    redrawn = []
    for figure in figures:
        test = figure.range_test
        if test is None:
            names = [curve.experiment for curve in figure.curves]
            missing = tuple(name for name in names if name not in rows)
            note = (
                "Diamonds are the paper's numbers; a band goes from the lowest to the highest seed."
            )
            drawn = len(missing) < len(names)
            svg = _draw_curves(figure, rows, claims) if drawn else None
        else:
            note = f"The paper's points: {test.source}, to within {test.error_pct:g} points."
            found = tests.get((test.campaign, test.name))
            missing = () if found else (f"range test {test.name} of campaign {test.campaign}",)
            svg = (
                _draw_range_test(figure, test, list(found.curves.values()), paper)
                if found
                else None
            )
        redrawn.append(
            Redrawn(
                id=figure.id,
                at=figure.at,
                title=figure.title,
                shows=figure.shows,
                note=note,
                missing=missing,
                file=f"{figure.id.replace('/', '-')}.svg",
                svg=svg,
            )
        )
    return tuple(redrawn)


def marks_of(experiment: str, claims: Sequence[Claim], *, total_steps: int) -> tuple[Mark, ...]:
    """Return what the paper says that one experiment reaches, and when, as its claims have it."""
    marks = []
    for claim in claims:
        moment = MOMENT.fullmatch(claim.metric)
        if isinstance(claim, ValueClaim) and moment and claim.experiments == (experiment,):
            update = int(moment[1]) if moment[1] else total_steps
            marks.append(Mark(update=update, value=claim.value))
    return tuple(sorted(marks, key=lambda mark: mark.update))


def _draw_curves(figure: PaperFigure, rows: Mapping[str, Row], claims: Sequence[Claim]) -> str:
    """Draw test accuracy against the update: our curves, and the paper's numbers as diamonds."""
    with mpl.rc_context(STYLE):
        canvas, axes = _canvas(figure)
        shown: list[tuple[int, float]] = []
        for look, curve in enumerate(figure.curves):
            row = rows.get(curve.experiment)
            if row is None:
                continue
            one = Drawn(title=curve.label, evidence=row.evidence, look=look)
            draw_band(axes, one)
            shown += _measured(one)
            marks = marks_of(curve.experiment, claims, total_steps=row.experiment.total_steps)
            axes.plot([], [], color=one.colour, linestyle=one.dashes, label=_label(one))
            _draw_marks(axes, marks, one.colour)
            shown += [(mark.update, mark.value) for mark in marks]
        longest = max((update for update, _ in shown), default=1)
        late = [value for update, value in shown if update >= FIRST_PART * longest]
        if late:
            axes.set_ylim(min(late) - 2, max(value for _, value in shown) + 2)
        axes.set_xlim(0, 1.02 * longest)  # room for a mark at the end
        axes.set_xlabel("update")
        axes.set_ylabel("test accuracy (%)")
        updates_axis(axes)
        return _finish(canvas, axes)


def _measured(one: Drawn) -> Iterator[tuple[int, float]]:
    for finished in (True, False):
        for curve in one.curves(finished=finished):
            yield from zip(*series(curve, "test_accuracy_pct"), strict=True)


def _label(one: Drawn) -> str:
    n = len(one.evidence.runs)
    return f"{one.title} ({n} seed{'s' * (n > 1)})"


def _draw_marks(axes: Axes, marks: Sequence[Mark], colour: str) -> None:
    for mark in marks:
        axes.plot(
            mark.update, mark.value, "D", markersize=7, markerfacecolor="white",
            markeredgecolor=colour, markeredgewidth=1.6, zorder=5, clip_on=False,
        )  # fmt: skip


def _draw_range_test(
    figure: PaperFigure, test: PaperRangeTest, curves: Sequence[RangeTestCurve], paper: Path
) -> str:
    """Draw accuracy against the rate: our seeds with their mean, and the paper's curve."""
    rates, accuracies = read_digitised(paper / test.data)
    with mpl.rc_context(STYLE):
        canvas, axes = _canvas(figure)
        by_rate: dict[float, list[float]] = {}
        for curve in curves:
            for point in curve.points:
                by_rate.setdefault(point.lr, []).append(point.accuracy_pct)
        shared = sorted(rate for rate, found in by_rate.items() if len(found) == len(curves))
        low = [min(by_rate[rate]) for rate in shared]
        high = [max(by_rate[rate]) for rate in shared]
        mean = [sum(by_rate[rate]) / len(curves) for rate in shared]
        ours = f"ours, held-out images ({len(curves)} seeds)"
        axes.fill_between(shared, low, high, color=COLOURS[1], alpha=0.18, linewidth=0)
        axes.plot(
            shared, mean, color=COLOURS[1], linewidth=1.6, marker="o", markersize=3, label=ours
        )
        axes.errorbar(
            rates, accuracies, yerr=test.error_pct, color=COLOURS[2], linewidth=1.2, marker="D",
            markersize=4, markerfacecolor="white", label="the paper, test images (one run)",
        )  # fmt: skip
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("accuracy (%)")
        return _finish(canvas, axes, marks=False)


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
        raise ValueError(f"{path}: every line must hold a rate and an accuracy from 0 to 100")
    if any(after <= before for before, after in itertools.pairwise(rates)):
        raise ValueError(f"{path}: the rates must rise from line to line")
    return rates, accuracies


def _canvas(figure: PaperFigure) -> tuple[Figure, Axes]:
    canvas = Figure(figsize=(8.0, 4.6), layout="constrained")
    place = figure.at.split(", ", 1)[-1]
    canvas.suptitle(f"{place}: {figure.title}", x=0.01, ha="left", fontsize=12, fontweight="bold")
    return canvas, canvas.subplots()


def _finish(canvas: Figure, axes: Axes, *, marks: bool = True) -> str:
    if marks:
        axes.plot([], [], "D", markerfacecolor="white", markeredgecolor=FAINT, label="the paper")
    axes.legend(loc="lower right", fontsize=8.5)
    return svg_text(canvas)
