"""SGDR's Figure 4: test error less the reference's of the same subject, against epochs."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, ScalarFormatter

from anneal.config.strict import POSITIVE
from anneal.io.svg import COLOURS, STYLE, svg_text
from anneal.report.redrawing import Heading, canvas_of
from anneal.results.curves import series
from anneal.results.equivalence import LEVEL
from anneal.results.metrics import Evidence
from anneal.results.statistics import Interval, median_interval
from anneal.schedules import cycle_ends, from_description

ERROR = "test_error_pct"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What one colour shows: a run with restarts, its snapshots, and baselines of its rate."""

    label: str
    colour: int
    epochs: Annotated[float, POSITIVE]  # length of ``curve``, or where ``ensemble`` ends
    curve: str | None = None  # an experiment with restarts
    ensemble: str | None = None  # an experiment whose ``metric`` is drawn
    metric: str | None = None  # of the ensemble
    baselines: Mapping[str, float] | None = None  # experiment -> epochs

    def experiments(self) -> list[str]:
        """Return the experiments that it shows."""
        named = [name for name in (self.curve, self.ensemble) if name is not None]
        return [*named, *(self.baselines or {})]


@dataclass(frozen=True, kw_only=True)
class LessReference:
    """The figure's rows, and the experiment whose error is taken off."""

    reference: str
    rows: tuple[Rows, ...]

    def experiments(self) -> list[str]:
        """Return all experiments that it shows."""
        return [self.reference, *(name for row in self.rows for name in row.experiments())]


@dataclass(frozen=True)
class At:
    """The median over subjects at one time."""

    epoch: float
    found: Interval


def difference(errors: Mapping[int, float], reference: Mapping[int, float]) -> Interval:
    """Return the median over subjects of the error less the reference's, with its interval."""
    shared = sorted(errors.keys() & reference.keys())
    return median_interval([errors[n] - reference[n] for n in shared], confidence=LEVEL)


def differences_of(
    evidence: Evidence, reference: Mapping[int, float], *, epochs: float
) -> list[At]:
    """Return the differences at each evaluation of an experiment over subjects.

    Args:
        evidence: of it.
        reference: error of each subject.
        epochs: of a run; the time of an evaluation is its share of the run's updates.
    """
    errors: dict[int, dict[int, list[float]]] = {}  # evaluation -> subject -> seeds
    shares: dict[int, list[float]] = {}
    for subject, part in evidence.subjects.items():
        for run in part.runs:
            if run.finished and run.curve:
                updates, values = series(run.curve, "test_accuracy_pct")
                for place, (update, value) in enumerate(zip(updates, values, strict=True)):
                    errors.setdefault(place, {}).setdefault(subject, []).append(100 - value)
                    shares.setdefault(place, []).append(update / run.updates)
    return [
        At(
            epochs * statistics.fmean(shares[place]),
            difference({n: statistics.fmean(seeds) for n, seeds in of_each.items()}, reference),
        )
        for place, of_each in sorted(errors.items())
    ]


def restarts_of(evidence: Evidence, *, epochs: float) -> list[float]:
    """Return the epochs at which cycles end."""
    settings = [part.setting for part in evidence.subjects.values() if part.setting]
    if not settings:
        return []
    ends = cycle_ends(from_description(settings[0].schedule), settings[0].total_steps)
    return [epochs * end / settings[0].total_steps for end in ends]


def draw_less_reference(
    figure: LessReference, evidence: Mapping[str, Evidence], heading: Heading
) -> str:
    """Draw the figure from experiments over subjects; those without runs are left out.

    A line is a run with restarts at each evaluation; dots with an interval are its ends of cycles,
    squares baselines at their end, stars averaged snapshots.
    """
    reference = evidence[figure.reference].values(f"{ERROR}@final")
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of(heading)
        axes.axhline(0, color="#888888", linewidth=0.8)
        ticks: set[float] = set()
        for place, row in enumerate(figure.rows):
            ticks |= _draw(axes, row, evidence, reference, aside=1.03**place)
        axes.set_xscale("log")
        axes.set_xticks(sorted(ticks))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("epochs")
        axes.set_ylabel("test error less the reference's (points)")
        canvas.legend(loc="outside lower center", ncols=2, fontsize=8.5)
        return svg_text(canvas)


def _draw(
    axes: Axes,
    row: Rows,
    evidence: Mapping[str, Evidence],
    reference: Mapping[int, float],
    *,
    aside: float,
) -> set[float]:
    """Draw one colour, its points a little aside; return the epochs that the axis should name."""
    colour, ticks = COLOURS[row.colour], set()
    if row.curve is not None and row.curve in evidence:
        points = differences_of(evidence[row.curve], reference, epochs=row.epochs)
        axes.plot([p.epoch for p in points], [p.found.mean for p in points], color=colour, lw=1.3)
        ends = restarts_of(evidence[row.curve], epochs=row.epochs)
        marked = [p for p in points if any(abs(p.epoch - end) < 1e-6 for end in ends)]
        beside = [At(p.epoch * aside, p.found) for p in marked]
        _points(axes, beside, colour, "o", f"{row.label}: restarts")
        ticks |= {p.epoch for p in marked}
    if row.ensemble is not None and row.metric is not None and row.ensemble in evidence:
        errors = evidence[row.ensemble].values(row.metric)
        found = [
            At(row.epochs * 1.12 * aside, difference(errors, reference))
        ]  # beside the last iterate
        _points(axes, found, colour, "*", f"{row.label}: averaged snapshots")
    finals = [
        At(epochs * 0.93 * aside, difference(evidence[name].values(f"{ERROR}@final"), reference))
        for name, epochs in (row.baselines or {}).items()
        if name in evidence
    ]
    _points(axes, finals, colour, "s", f"{row.label}: drops, at the end")
    ticks |= set((row.baselines or {}).values())
    return ticks


def _points(axes: Axes, points: Sequence[At], colour: str, marker: str, label: str) -> None:
    if not points:
        return
    middle = [p.found.mean for p in points]
    below = [p.found.mean - _or(p.found.low, p.found.mean) for p in points]
    above = [_or(p.found.high, p.found.mean) - p.found.mean for p in points]
    axes.errorbar(
        [p.epoch for p in points],
        middle,
        yerr=[below, above],
        fmt=marker,
        color=colour,
        markersize=10 if marker == "*" else 5.5,
        markerfacecolor="white" if marker == "s" else colour,
        elinewidth=0.8,
        capsize=2.5,
        label=label,
    )


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
