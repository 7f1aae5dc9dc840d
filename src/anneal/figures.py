"""Figures as SVG text: accuracy and rate against the update, range tests (edge).

The same input gives the same bytes: ids are hashed with a fixed salt, no date is written, and text
is drawn as paths, so that no font has to be there where it is looked at. The ground is white, since
a figure is read on light and on dark pages alike. Colours are Okabe and Ito's without their yellow,
and Tol's wine: they stay apart for colour-blind readers. Beyond eight curves the dashes change.
"""

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from anneal.curves import Curve, band, series
from anneal.metrics import Evidence
from anneal.statistics import mean_interval

COLOURS = (
    "#000000",
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#882255",
)
DASHES = ("-", "--", ":", "-.")
FAINT = "#8a8a8a"
SKIPPED_PART = 0.2  # of the longest run, which may start below the frame of the accuracy figure
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "anneal",
    "svg.fonttype": "path",
    "path.simplify": True,
    "font.family": ["DejaVu Sans"],  # ships with matplotlib
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One experiment as a figure shows it.

    Args:
        title: the name beside its curve.
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


def draw_accuracy(drawn: Sequence[Drawn], *, title: str) -> str:
    """Draw test accuracy against the update, and the final accuracies beside it.

    Left: the mean over the seeds, and from the lowest to the highest as a band; a diverged run is a
    thin line that ends in a cross. Right: every finished run at its end, the mean and its 95 %
    interval, which for two runs is so long that it may leave the frame.
    """
    with _figure(width=9.5, height=max(3.4, 1.3 + 0.36 * len(drawn))) as (figure, text):
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.75, 1]})
        for one in drawn:
            _draw_band(left, one)
        _frame_accuracy(left, drawn)
        left.set_xlabel("update")
        left.set_ylabel("test accuracy (%)")
        left.set_title("during training: mean, lowest to highest")
        _updates_axis(left)
        _draw_finals(right, drawn)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return text[0]


def _draw_band(axes: Axes, one: Drawn) -> None:
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


def _frame_accuracy(axes: Axes, drawn: Sequence[Drawn]) -> None:
    """Let the frame begin where the curves are after the first fifth: the end is what differs."""
    curves = [series(curve, "test_accuracy_pct") for one in drawn for curve in _all(one)]
    ends = [updates[-1] for updates, _ in curves if updates]
    if not ends:
        return
    after = SKIPPED_PART * max(ends)
    late = [v for updates, values in curves for u, v in zip(updates, values, strict=True)
            if u >= min(after, updates[-1])]  # fmt: skip
    highest = max(value for _, values in curves for value in values)
    room = 0.05 * max(1.0, highest - min(late))
    axes.set_ylim(max(0.0, min(late) - room), min(100.0, highest + room))
    axes.set_xlim(0, max(ends))


def _all(one: Drawn) -> list[Curve]:
    return one.curves(finished=True) + one.curves(finished=False)


def _draw_finals(axes: Axes, drawn: Sequence[Drawn]) -> None:
    framed: list[float] = []
    for row, one in enumerate(drawn):
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
    axes.set_yticks(range(len(drawn)), [_wrap(one.title, 24) for one in drawn])
    for label, one in zip(axes.get_yticklabels(), drawn, strict=True):
        label.set_color(one.colour)
        label.set_fontweight("bold")
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel("test accuracy at the end (%)")
    axes.set_title("at the end: mean with 95 %")
    if framed:  # the interval of two runs may leave the frame: it would flatten all others
        room = 0.06 * max(1.0, max(framed) - min(framed))
        axes.set_xlim(min(framed) - room, max(framed) + room)


def draw_rates(drawn: Sequence[Drawn], *, title: str) -> str:
    """Draw the rate of each experiment against the update, and its momentum where it varies.

    One small panel each, on a common update axis so that lengths can be compared, and on a common
    rate axis when the highest rates lie within a factor of four.
    """
    columns = 3 if len(drawn) in (5, 6) else min(4, max(1, len(drawn)))
    rows = math.ceil(len(drawn) / columns)
    with _figure(width=9.5, height=0.7 + 1.75 * rows) as (figure, text):
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        peaks = []
        for position, one in enumerate(drawn):
            axes = grid[position // columns][position % columns]
            axes.set_title(_wrap(one.title, 21), color=one.colour, fontsize=9)
            peaks.append(_draw_rate(axes, one))
        if peaks and max(peaks) > 0 and max(peaks) <= 4 * min(peaks):
            for axes in grid.flat:
                axes.set_ylim(0, 1.08 * max(peaks))
        for position, axes in enumerate(grid.flat):
            axes.set_visible(position < len(drawn))
            last_of_column = position + columns >= len(drawn)
            axes.tick_params(labelbottom=last_of_column)
            axes.set_xlabel("update" if last_of_column else "")
            if position % columns == 0:
                axes.set_ylabel("rate")
            axes.set_xlim(left=0)
            _updates_axis(axes)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return text[0]


def _draw_rate(axes: Axes, one: Drawn) -> float:
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
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    moments, momenta = series(longest, "momentum")
    if momenta and max(momenta) - min(momenta) > 1e-9:
        beside = axes.twinx()
        beside.plot(moments, momenta, color=FAINT, linewidth=1, linestyle="--")
        beside.set_ylim(min(momenta) - 0.05, 1)
        beside.grid(visible=False)
        beside.tick_params(labelsize=7, colors=FAINT)
        beside.set_ylabel("momentum (dashed)", color=FAINT, fontsize=7)
    return max(rates)


def draw_range_test(suggestion: Mapping[str, Any], *, title: str) -> str:
    """Draw a range test: accuracy and loss against the rate, the suggested bounds drawn in.

    Thin lines are single seeds, the thick one is their mean; the shaded range is what the chosen
    rule suggests, and a rule that abstained says so in the title.

    Args:
        suggestion: as committed, with ``curve`` in columns (seed, lr, accuracy_pct, loss).
        title: of the figure.
    """
    columns = suggestion["curve"]
    log = str(suggestion.get("sweep", "linear")) == "exponential"
    with _figure(width=9.5, height=3.5) as (figure, text):
        left, right = figure.subplots(1, 2)
        for axes, column, words in (
            (left, "accuracy_pct", "accuracy on held-out training images (%)"),
            (right, "loss", "loss"),
        ):
            _draw_sweep(axes, columns, column)
            if log:
                axes.set_xscale("log")
            else:
                axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            # where the curve is not: low rates have low accuracies and high losses
            _draw_bounds(axes, suggestion, base_on_top=column == "accuracy_pct")
            axes.set_xlabel("rate")
            axes.set_title(words)
        rule = suggestion.get("rule", "?")
        if suggestion.get("max_lr") is None:
            note = f"{rule} abstains"
        else:
            note = f"{rule}: {suggestion['base_lr']:.3g} to {suggestion['max_lr']:.3g}"
        figure.suptitle(f"{title}; {note}", x=0.01, ha="left", fontsize=11)
    return text[0]


def _draw_sweep(axes: Axes, columns: Mapping[str, Sequence[float | None]], column: str) -> None:
    by_seed: dict[float | None, list[tuple[float, float]]] = {}
    measured = zip(columns.get("seed", ()), columns.get("lr", ()), columns.get(column, ()),
                   strict=False)  # fmt: skip
    for seed, rate, value in measured:
        if rate is not None and value is not None:
            by_seed.setdefault(seed, []).append((rate, value))
    for points in by_seed.values():
        axes.plot(*zip(*points, strict=True), color=COLOURS[1], alpha=0.4, linewidth=0.8)
    if not by_seed:
        return
    at_rate: dict[float, list[float]] = {}
    for points in by_seed.values():
        for rate, value in points:
            at_rate.setdefault(rate, []).append(value)
    whole = sorted(rate for rate, values in at_rate.items() if len(values) == len(by_seed))
    means = [sum(at_rate[rate]) / len(by_seed) for rate in whole]
    axes.plot(whole, means, color=COLOURS[1], linewidth=2)
    if column == "loss":  # a loss that runs away would flatten everything else
        calm = sorted(value for values in at_rate.values() for value in values)
        axes.set_ylim(top=1.15 * calm[int(0.9 * (len(calm) - 1))])


def _draw_bounds(axes: Axes, suggestion: Mapping[str, Any], *, base_on_top: bool) -> None:
    base, peak = suggestion.get("base_lr"), suggestion.get("max_lr")
    if base is None or peak is None:
        return
    axes.axvspan(base, peak, color=COLOURS[2], alpha=0.10, linewidth=0)
    for rate, words, side in ((base, "base", "right"), (peak, "max", "left")):
        on_top = base_on_top == (words == "base")
        axes.axvline(rate, color=COLOURS[2], linewidth=1.2)
        axes.annotate(
            f"{words} {rate:.3g}",
            (rate, 0.97 if on_top else 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if side == "right" else 3, 0),
            textcoords="offset points",
            rotation=90,
            ha=side,
            va="top" if on_top else "bottom",
            color=COLOURS[2],
            fontsize=8,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8},
        )


def _updates_axis(axes: Axes) -> None:
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


@contextmanager
def _figure(*, width: float, height: float) -> Iterator[tuple[Figure, list[str]]]:
    """Open a figure in the house look; when it closes, its SVG is the first entry of the list."""
    with mpl.rc_context(cast(Any, _STYLE)):
        figure = Figure(figsize=(width, height), layout="constrained")
        text: list[str] = []
        yield figure, text
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        text.append(_tidy(buffer.getvalue()))


def _tidy(svg: str) -> str:
    """Drop trailing blanks, which version control complains of."""
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)
