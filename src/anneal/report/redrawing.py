"""Redraw a paper's figure from our runs: curves, a range test or a grid of ensembles."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anneal.io.svg import COLOURS, FAINT, STYLE, svg_text
from anneal.range_test import RangeTestCurve
from anneal.report.figures import PlottedExperiment, draw_band, updates_axis
from anneal.results.curves import series
from anneal.results.ensemble_grid import ensemble_grid_of
from anneal.results.metrics import Evidence

FIRST_PART = 0.1  # of the longest run, where curves may be below the frame

Size = tuple[int, int]  # of an ensemble: runs N, snapshots M of each


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A number of the paper on a curve: accuracy (%) after a number of updates."""

    update: int
    value: float


@dataclass(frozen=True, kw_only=True)
class Heading:
    """Heading of a picture: figure, title, and the budget if it is not full."""

    title: str
    budget: str = ""


@dataclass(frozen=True, kw_only=True)
class DigitisedCurve:
    """A digitised curve of a paper: accuracy (%) at each learning rate, with its reading error."""

    rates: Sequence[float]
    accuracies: Sequence[float]
    error_pct: float


def draw_curves(
    plotted: Sequence[PlottedExperiment], marks: Sequence[Sequence[Mark]], heading: Heading
) -> str:
    """Draw test accuracy against the update: our curves, and the paper's numbers as diamonds.

    Args:
        plotted: at least one.
        marks: for each of them those that it has.
        heading: over it.
    """
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of(heading)
        shown: list[tuple[int, float]] = []
        for one, its in zip(plotted, marks, strict=True):
            draw_band(axes, one)
            shown += _measured(one)
            label = f"{one.title} ({_seeds(len(one.evidence.runs))})"
            axes.plot([], [], color=one.colour, linestyle=one.dashes, label=label)
            _draw_marks(axes, its, one.colour)
            shown += [(mark.update, mark.value) for mark in its]
        longest = max((update for update, _ in shown), default=1)
        late = [value for update, value in shown if update >= FIRST_PART * longest]
        if late:
            axes.set_ylim(min(late) - 2, max(value for _, value in shown) + 2)
        axes.set_xlim(0, 1.02 * longest)  # room for a mark at the end
        axes.set_xlabel("update")
        axes.set_ylabel("test accuracy (%)")
        updates_axis(axes)
        if any(marks):
            axes.plot(
                [], [], "D", markerfacecolor="white", markeredgecolor=FAINT, label="the paper"
            )
        # Under the axes: a cycle may dip to any corner of them.
        canvas.legend(loc="outside lower center", ncols=2, fontsize=8.5)
        return svg_text(canvas)


def draw_sweep(
    curves: Sequence[RangeTestCurve], paper: DigitisedCurve | None, heading: Heading
) -> str:
    """Draw accuracy against the rate: our seeds with their mean, and the paper's curve if any."""
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of(heading)
        by_rate: dict[float, list[float]] = {}
        for curve in curves:
            for point in curve.points:
                if point.accuracy_pct is not None:
                    by_rate.setdefault(point.lr, []).append(point.accuracy_pct)
        shared = sorted(rate for rate, found in by_rate.items() if len(found) == len(curves))
        low = [min(by_rate[rate]) for rate in shared]
        high = [max(by_rate[rate]) for rate in shared]
        mean = [sum(by_rate[rate]) / len(curves) for rate in shared]
        ours = f"ours, held-out images ({_seeds(len(curves))})"
        axes.fill_between(shared, low, high, color=COLOURS[1], alpha=0.18, linewidth=0)
        axes.plot(
            shared, mean, color=COLOURS[1], linewidth=1.6, marker="o", markersize=3, label=ours
        )
        if paper:
            axes.errorbar(
                paper.rates, paper.accuracies, yerr=paper.error_pct, color=COLOURS[2],
                linewidth=1.2, marker="D", markersize=4, markerfacecolor="white",
                label="the paper, test images (one run)",
            )  # fmt: skip
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("accuracy (%)")
        axes.legend(loc="lower right", fontsize=8.5)
        return svg_text(canvas)


def median_errors(evidence: Evidence) -> dict[Size, tuple[float, int]]:
    """Return, by the size of an ensemble, the median test error (%) over groups, and how many."""
    found = {}
    for num_runs, cells in ensemble_grid_of(evidence).items():
        for num_snapshots in range(1, len(cells) + 1):
            errors = evidence.values(f"test_error_pct@ensemble_{num_runs}x{num_snapshots}")
            found[num_runs, num_snapshots] = median(errors.values()), len(errors)
    return found


def draw_grid(
    ours: Mapping[Size, tuple[float, int]], paper: Mapping[Size, float], heading: Heading
) -> str:
    """Draw the grid of N runs with M snapshots each: SGDR's Figure 3.

    Args:
        ours: from :func:`median_errors`, at least one.
        paper: its printed errors (%); a grid with some has its columns, any other all of ours.
        heading: over it.
    """
    columns = sorted({n for n, _ in paper or ours})
    rows = sorted({m for _, m in {**ours, **paper}})
    errors = np.full((len(rows), len(columns)), np.nan)
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of(heading)
        axes.grid(visible=False)
        for (n, m), (error, _) in ours.items():
            if n in columns:
                errors[rows.index(m), columns.index(n)] = error
        found = [error for error, _ in ours.values()]
        low, high = min(found), max(found)
        room = (high - low) or 1.0  # keeps cells light enough for black words
        axes.imshow(
            errors,
            cmap="Blues",
            origin="lower",
            aspect="auto",
            vmin=low - room / 2,
            vmax=high + 2 * room,
        )
        for y, m in enumerate(rows):
            for x, n in enumerate(columns):
                words = f"{ours[n, m][0]:.2f}" if (n, m) in ours else ""
                place = "bottom" if (n, m) in paper else "center"
                axes.text(x, y, words, ha="center", va=place, fontsize=11, fontweight="bold")
                if (n, m) in paper:
                    said = f"paper {paper[n, m]:.2f}"
                    axes.text(x, y - 0.08, said, ha="center", va="top", fontsize=8.5)
        axes.set_xticks(range(len(columns)), [_groups(n, ours) for n in columns])
        axes.set_yticks(range(len(rows)), [str(m) for m in rows])
        axes.set_title("; ".join(filter(None, ["median test error (%)", heading.budget])))
        axes.set_xlabel("N, runs (groups of them behind the median)")
        axes.set_ylabel("M, the last snapshots of each run")
        return svg_text(canvas)


def _groups(num_runs: int, ours: Mapping[Size, tuple[float, int]]) -> str:
    return f"{num_runs}\n({ours.get((num_runs, 1), (0.0, 0))[1]})"


def _measured(one: PlottedExperiment) -> Iterator[tuple[int, float]]:
    for finished in (True, False):
        for curve in one.curves(finished=finished):
            yield from zip(*series(curve, "test_accuracy_pct"), strict=True)


def _seeds(number: int) -> str:
    return f"{number} seed{'s' * (number != 1)}"


def _draw_marks(axes: Axes, marks: Sequence[Mark], colour: str) -> None:
    for mark in marks:
        axes.plot(
            mark.update, mark.value, "D", markersize=7, markerfacecolor="white",
            markeredgecolor=colour, markeredgewidth=1.6, zorder=5, clip_on=False,
        )  # fmt: skip


def canvas_of(heading: Heading) -> tuple[Figure, Axes]:
    """Return a figure with its heading, and its axes."""
    canvas = Figure(figsize=(8.0, 4.6), layout="constrained")
    canvas.suptitle(heading.title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    axes = canvas.subplots()
    if heading.budget:
        axes.set_title(heading.budget)
    return canvas, axes
