"""Figures of a campaign as SVG: accuracy and rate against the update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from anneal.io.svg import COLOURS, DASHES, FAINT, STYLE, svg_text
from anneal.results.curves import Curve, band, series
from anneal.results.metrics import Evidence
from anneal.results.statistics import mean_interval

SKIPPED_PART = 0.3  # of the longest run, which may start below the frame of the accuracy figure


@dataclass(frozen=True, kw_only=True)
class PlottedExperiment:
    """One experiment as a figure shows it.

    Args:
        title: the name next to its curve.
        evidence: its runs with their curves.
        look: its place in the campaign, which fixes its colour in every figure.
    """

    title: str
    evidence: Evidence
    look: int

    @property
    def colour(self) -> str:
        """Its colour."""
        return COLOURS[self.look % len(COLOURS)]

    @property
    def dashes(self) -> str:
        """Its line style."""
        return DASHES[self.look // len(COLOURS) % len(DASHES)]

    def curves(self, *, finished: bool) -> list[Curve]:
        """Return the curves of the runs that finished, or of those that diverged."""
        return [run.curve for run in self.evidence.runs if run.curve and run.finished == finished]


def draw_accuracy(plotted: Sequence[PlottedExperiment], *, title: str) -> str:
    """Draw test accuracy against the update, and the final accuracies.

    Left: the mean over the seeds, and from the lowest to the highest as a band; a diverged run is a
    thin line that ends in a cross. Right: every finished run at its end, the mean and its 95 %
    interval, which for two runs is so long that it may leave the frame.
    """
    with mpl.rc_context(STYLE):
        figure = _figure(height=max(3.4, 1.3 + 0.36 * len(plotted)), title=title)
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.75, 1]})
        for one in plotted:
            draw_band(left, one)
        _frame_accuracy(left, plotted)
        left.set_xlabel("update")
        left.set_ylabel("test accuracy (%)")
        left.set_title("during training: mean, and from lowest to highest seed")
        updates_axis(left)
        _draw_finals(right, plotted)
        return svg_text(figure)


def draw_band(axes: Axes, one: PlottedExperiment) -> None:
    """Draw one experiment's accuracy: the mean over the seeds, and the range of them as a band."""
    finished = one.curves(finished=True)
    if finished:
        over = band(finished, "test_accuracy_pct")
        if over.num_curves > 1:
            axes.fill_between(
                over.updates, over.low, over.high, color=one.colour, alpha=0.18, linewidth=0
            )
        axes.plot(over.updates, over.mean, color=one.colour, linestyle=one.dashes, linewidth=1.5)
    for curve in one.curves(finished=False):
        updates, values = series(curve, "test_accuracy_pct")
        axes.plot(updates, values, color=one.colour, linestyle=one.dashes, linewidth=0.7)
        axes.plot(updates[-1:], values[-1:], color=one.colour, marker="x", markersize=7)


def _frame_accuracy(axes: Axes, plotted: Sequence[PlottedExperiment]) -> None:
    curves = [curve for one in plotted for curve in _all(one)]
    frame = settled_frame(curves, "test_accuracy_pct")
    if frame is None:
        return
    axes.set_ylim(max(0.0, frame[0]), min(100.0, frame[1]))
    axes.set_xlim(0, max(curve[-1].update for curve in curves))


def settled_frame(
    curves: Sequence[Curve],
    column: str,
    *,
    skipped_part: float = SKIPPED_PART,
    higher_is_better: bool = True,
) -> tuple[float, float] | None:
    """Return the range of values of curves after their first part, since they differ at the end.

    Args:
        curves: what is drawn.
        column: of them.
        skipped_part: of the longest curve, whose values may be outside on the bad side.
        higher_is_better: which side is the good one.

    Returns:
        Lowest and highest with some room; None where nothing was measured.
    """
    measured = [found for curve in curves if (found := series(curve, column))[0]]
    if not measured:
        return None
    after = skipped_part * max(updates[-1] for updates, _ in measured)
    late = [v for updates, values in measured for u, v in zip(updates, values, strict=True)
            if u >= min(after, updates[-1])]  # fmt: skip
    all_values = [value for _, values in measured for value in values]
    low, high = min(late), max(late)
    low, high = (low, max(all_values)) if higher_is_better else (min(all_values), high)
    room = 0.05 * ((high - low) or 1.0)
    return low - room, high + room


def _all(one: PlottedExperiment) -> list[Curve]:
    return one.curves(finished=True) + one.curves(finished=False)


def _draw_finals(axes: Axes, plotted: Sequence[PlottedExperiment]) -> None:
    framed: list[float] = []
    for row, one in enumerate(plotted):
        values = list(one.evidence.values("test_accuracy_pct@final").values())
        framed += values
        if values:
            interval = mean_interval(values)
            if interval.low is not None and interval.high is not None:
                axes.plot(
                    [interval.low, interval.high],
                    [row, row],
                    color=one.colour,
                    alpha=0.35,
                    linewidth=5,
                    solid_capstyle="butt",
                )
                if interval.n > 2:
                    framed += [interval.low, interval.high]
            axes.plot(interval.mean, row, marker="|", markersize=13, color=one.colour, mew=2)
        axes.plot(
            values,
            [row] * len(values),
            linestyle="none",
            marker="o",
            markersize=4.5,
            markerfacecolor="white",
            markeredgecolor=one.colour,
        )
        if one.evidence.num_diverged:
            words = f"{one.evidence.num_diverged} of {len(one.evidence.runs)} diverged"
            axes.annotate(
                words,
                (0.99, row),
                xycoords=("axes fraction", "data"),
                xytext=(0, 5),
                textcoords="offset points",
                ha="right",
                color=one.colour,
                fontsize=7.5,
            )
    axes.set_yticks(range(len(plotted)), [_wrap(one.title, 24) for one in plotted])
    for label, one in zip(axes.get_yticklabels(), plotted, strict=True):
        label.set_color(one.colour)
        label.set_fontweight("bold")
    axes.set_ylim(len(plotted) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel("test accuracy at the end (%)")
    axes.set_title("at the end: seeds, mean, 95 % interval")
    if framed:  # an interval of two runs, or beyond 100 %, may leave it: it would flatten the rest
        room = 0.06 * max(1.0, max(framed) - min(framed))
        axes.set_xlim(min(framed) - room, min(100.0, max(framed)) + room)


def draw_rates(plotted: Sequence[PlottedExperiment], *, title: str) -> str:
    """Draw the rate of each experiment against the update, and its momentum where it varies.

    One small panel each, on a common update axis so that lengths can be compared, and on a common
    rate axis when the highest rates are within a factor of four.
    """
    columns = 3 if len(plotted) in (5, 6) else min(4, max(1, len(plotted)))
    rows = math.ceil(len(plotted) / columns)
    with mpl.rc_context(STYLE):
        figure = _figure(height=0.7 + 1.75 * rows, title=title)
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        peaks = []
        for position, one in enumerate(plotted):
            axes = grid[position // columns][position % columns]
            _name_panel(axes, one, pad=6)
            peaks.append(_draw_rate(axes, one))
        if peaks and max(peaks) > 0 and max(peaks) <= 4 * min(peaks):
            for axes in grid.flat:
                axes.set_ylim(0, 1.08 * max(peaks))
        for position, axes in enumerate(grid.flat):
            axes.set_visible(position < len(plotted))
            last_of_column = position + columns >= len(plotted)
            axes.tick_params(labelbottom=last_of_column)
            axes.set_xlabel("update" if last_of_column else "")
            if position % columns == 0:
                axes.set_ylabel("rate")
            axes.set_xlim(left=0)
            updates_axis(axes)
        return svg_text(figure)


def _name_panel(axes: Axes, one: PlottedExperiment, *, pad: float) -> None:
    words = _wrap(one.title, 21)
    axes.set_title(words, color=one.colour, fontsize=9, fontweight="bold", pad=pad)


def _draw_rate(axes: Axes, one: PlottedExperiment) -> float:
    """Draw rate and momentum of one experiment; return the highest rate."""
    curves = _all(one)
    if not curves:
        return 0.0
    longest = max(curves, key=lambda curve: curve[-1].update)
    updates, rates = series(longest, "lr")
    if not rates:
        return 0.0
    axes.plot(updates, rates, color=one.colour, linewidth=1.3)
    axes.set_ylim(0, 1.08 * max(rates) or 1)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    moments, momenta = series(longest, "momentum")
    if momenta and max(momenta) - min(momenta) > 1e-9:
        twin = axes.twinx()
        twin.plot(moments, momenta, color=FAINT, linewidth=1, linestyle="--")
        twin.set_ylim(min(momenta) - 0.05, max(momenta) + 0.05)
        twin.set_axis_off()  # an axis at the right would make this panel narrower than the others
        _name_panel(axes, one, pad=15)  # room for the line below
        axes.annotate(
            f"dashed: momentum, {min(momenta):.2f} to {max(momenta):.2f}",
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            color=FAINT,
            fontsize=7.5,
        )
    return max(rates)


def _figure(*, height: float, title: str) -> Figure:
    figure = Figure(figsize=(9.5, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def updates_axis(axes: Axes) -> None:
    """Write the updates along an axis as whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _wrap(text: str, width: int) -> str:
    r"""Break a title at a space so that no line is much longer than ``width`` letters.

    >>> _wrap("a rate found by a range test", 16)
    'a rate found by\na range test'
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)
