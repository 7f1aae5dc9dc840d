"""Figure of a range test: curves of all seeds with the bounds of each rule."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from anneal.io.svg import FAINT, STYLE, svg_text
from anneal.range_test import RULES, Agreement, RangeTestCurve, RangeTestPoint, agreement

INK, PALE = "#222222", "#e3e3e3"
ACCURACY, LOSS, BOUNDS = "#0b6e99", "#b3541e", "#2a7f4f"
SWEEP_STYLE: dict[Any, Any] = STYLE | {
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.axisbelow": "line",
    "axes.grid": False,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
LEFT, RIGHT = 0.1, 0.95  # of the axes, in parts of the figure's width
HEADLINE_LETTERS = 100  # in one line
# A loss that explodes is cut off at this many times the largest of the sweep's first half.
MOST_LOSS = 1.5


def draw_range_test(
    curves: Sequence[RangeTestCurve],
    readings: Mapping[str, Agreement],
    *,
    rule: str,
    title: str,
) -> str:
    """Return the picture of one range test over its seeds, as SVG.

    Above, the accuracy on held-out training images against the rate (of a task without an accuracy
    the held-out loss), a thin line for each seed and a bold one for their mean; below, the training
    loss. The chosen rule's bounds are drawn in and
    labelled; of the other rules there is a mark each, under the curves. A rule that abstains says
    so in words.

    Args:
        curves: one for each seed, of one kind of sweep.
        readings: what each rule says over these seeds.
        rule: whose bounds are drawn in, a key of ``readings``.
        title: over the picture.

    Raises:
        ValueError: there is no curve, the curves are of different sweeps, or the rule is not among
            the readings.
    """
    _check(curves, readings, rule)
    with mpl.rc_context(SWEEP_STYLE):
        return svg_text(_compose(curves, readings, rule, title))


def plot_range_test(
    curves: RangeTestCurve | Sequence[RangeTestCurve],
    *,
    rule: str | None = None,
    title: str = "Range test",
) -> Figure:
    """Return the picture of a range test as a figure of matplotlib.

    ``plot_range_test(curve).savefig("range_test.png")`` writes it; a notebook shows it.

    Args:
        curves: one, or one for each seed.
        rule: whose bounds are drawn in, a key of ``RULES``; None: Smith's, which needs an accuracy,
            or ``valley`` where there is none.
        title: over the picture.

    Raises:
        ValueError: as ``draw_range_test``.
    """
    several = [curves] if isinstance(curves, RangeTestCurve) else list(curves)
    readings = {name: agreement([read(curve) for curve in several]) for name, read in RULES.items()}
    chosen = rule or ("smith" if _has_accuracy(several) else "valley")
    _check(several, readings, chosen)
    with mpl.rc_context(SWEEP_STYLE):
        return _compose(several, readings, chosen, title)


def _check(curves: Sequence[RangeTestCurve], readings: Mapping[str, Agreement], rule: str) -> None:
    kinds = {curve.sweep for curve in curves}
    if len(kinds) != 1:
        raise ValueError(f"curves must be of one kind of sweep, got {sorted(kinds) or 'none'}")
    if rule not in readings:
        raise ValueError(f"rule must be one of {', '.join(sorted(readings))}, got {rule!r}")


def _has_accuracy(curves: Sequence[RangeTestCurve]) -> bool:
    return any(p.accuracy_pct is not None for curve in curves for p in curve.points)


def _compose(
    curves: Sequence[RangeTestCurve],
    readings: Mapping[str, Agreement],
    rule: str,
    title: str,
) -> Figure:
    figure = Figure(figsize=(8.0, 6.4), facecolor="white")
    upper, lower, marks = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [10, 6, 3.2], "hspace": 0.1}
    )
    headline = _headline(readings[rule], len(curves))
    top = 0.87 - 0.025 * headline.count("\n")
    figure.subplots_adjust(left=LEFT, right=RIGHT, top=top, bottom=0.085)
    figure.text(LEFT, 0.965, title, fontsize=13, fontweight="bold", va="center")
    figure.text(LEFT, 0.935, headline, fontsize=9.5, va="top")
    logarithmic = curves[0].sweep == "exponential"
    rates = [p.lr for curve in curves for p in _drawable(curve)]
    rates += [curve.diverged_lr for curve in curves if curve.diverged_lr]
    if logarithmic:
        marks.set_xscale("log")
    if rates and min(rates) < max(rates):
        marks.set_xlim(min(rates), max(rates))
    classified = _has_accuracy(curves)
    draw_column(upper, curves, "accuracy_pct" if classified else "held_out_loss", ACCURACY)
    draw_column(lower, curves, "train_loss", LOSS)
    if classified:
        upper.set_ylabel("held-out accuracy, %")
        upper.set_ylim(bottom=0)
    else:
        upper.set_ylabel("held-out loss")
        _limit_loss(upper, curves, "held_out_loss")
    lower.set_ylabel("training loss, nats" if classified else "training loss")
    for axes in (upper, lower):
        axes.grid(axis="y", color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", which="both", bottom=False)
        axes.tick_params(axis="y", length=3)
        axes.spines["bottom"].set_visible(False)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_label_coords(-0.07, 0.5)
        draw_bounds(axes, readings[rule], labelled=axes is upper)
        _draw_divergence(axes, curves, labelled=axes is lower)
    _limit_loss(lower, curves, "train_loss")
    _draw_marks(marks, readings, rule)
    if len(curves) > 1:
        _draw_key(figure, len(curves))
    return figure


def _headline(reading: Agreement, num_curves: int) -> str:
    if reading.base_lr is None or reading.max_lr is None:
        lines = textwrap.wrap(f"{reading.rule} abstains: {reading.reason}", HEADLINE_LETTERS)
        return "\n".join(lines[:3]) + (" ..." if len(lines) > 3 else "")
    bounds = f"{reading.rule}: base {_rate(reading.base_lr)}, max {_rate(reading.max_lr)}"
    if num_curves == 1:
        return f"{bounds}, from one seed"
    return f"{bounds}, from {reading.num_found} of {reading.num_seeds} seeds"


def _draw_key(figure: Figure, num_curves: int) -> None:
    thin = Line2D([], [], color=FAINT, linewidth=0.8, label="one seed")
    bold = Line2D([], [], color=INK, linewidth=2.4, label=f"mean of {num_curves}")
    figure.legend(
        handles=[thin, bold],
        loc="center right",
        bbox_to_anchor=(RIGHT, 0.022),  # beside "learning rate", which is short: a title may not be
        ncols=2,
        frameon=False,
        fontsize=9,
        borderaxespad=0,
        borderpad=0,
    )


def draw_column(axes: Axes, curves: Sequence[RangeTestCurve], column: str, color: str) -> None:
    """Draw one column of all seeds, and the mean where every seed was measured."""
    values_at: dict[float, list[float]] = {}
    for curve in curves:
        measured = [(p.lr, getattr(p, column)) for p in _drawable(curve)]
        kept = [(lr, value) for lr, value in measured if value is not None]
        for lr, value in kept:
            values_at.setdefault(lr, []).append(value)
        alone = len(curves) == 1
        axes.plot(*_columns(kept), color=color, linewidth=2.2 if alone else 0.8, zorder=3)
    shared = sorted((lr, v) for lr, v in values_at.items() if len(v) == len(curves))
    if len(curves) > 1:
        means = [(lr, math.fsum(values) / len(values)) for lr, values in shared]
        axes.plot(*_columns(means), color=color, linewidth=2.4, zorder=4)


def _drawable(curve: RangeTestCurve) -> list[RangeTestPoint]:
    return [p for p in curve.points if p.lr > 0 or curve.sweep == "linear"]


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def _limit_loss(axes: Axes, curves: Sequence[RangeTestCurve], column: str) -> None:
    """Limit the loss axis, so that a loss that explodes at the end does not flatten the rest."""
    measured = [[getattr(point, column) for point in curve.points] for curve in curves]
    columns = [[loss for loss in losses if loss is not None] for losses in measured]
    halves = [v for losses in columns for v in losses[: max(1, len(losses) // 2)]]
    everything = [v for losses in columns for v in losses]
    if not everything:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", color=FAINT, ha="center", transform=axes.transAxes)
        return
    floor = min(0.0, *everything)
    limit = floor + MOST_LOSS * (max(halves) - floor)
    if floor == 0:
        axes.set_ylim(bottom=0)
    if max(everything) > limit:
        axes.set_ylim(floor, limit)


def draw_bounds(axes: Axes, reading: Agreement, *, labelled: bool) -> None:
    """Draw the bounds of a rule that gives some, as a span between two lines."""
    if reading.base_lr is None or reading.max_lr is None:
        return
    axes.axvspan(reading.base_lr, reading.max_lr, color=BOUNDS, alpha=0.09, linewidth=0, zorder=1)
    for name, rate in (("base", reading.base_lr), ("max", reading.max_lr)):
        axes.axvline(rate, color=BOUNDS, linewidth=1.4, zorder=2)
        if labelled:
            # Above the axes and outwards, where two labels of a narrow span cannot meet.
            axes.annotate(
                name,
                (rate, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3 if name == "base" else -3, 4),
                textcoords="offset points",
                ha="right" if name == "base" else "left",
                va="bottom",
                color=BOUNDS,
                fontsize=9.5,
                fontweight="bold",
                annotation_clip=False,
            )


def _draw_divergence(axes: Axes, curves: Sequence[RangeTestCurve], *, labelled: bool) -> None:
    """Mark where the sweeps of single seeds ended early."""
    rates = sorted(c.diverged_lr for c in curves if c.diverged_lr is not None)
    for rate in rates:
        axes.axvline(rate, color=LOSS, linewidth=0.9, linestyle=(0, (2, 2)), zorder=2)
    if rates and labelled:
        axes.annotate(
            f"loss not finite in {len(rates)} of {len(curves)}",
            (rates[0], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-4, -2),
            textcoords="offset points",
            ha="right",
            va="top",
            color=LOSS,
            fontsize=9,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0},
            zorder=6,
        )


def _draw_marks(axes: Axes, readings: Mapping[str, Agreement], rule: str) -> None:
    """Draw a bar from base to max for each rule, or say that it abstains."""
    names = [rule, *(name for name in readings if name != rule)]
    left, right = axes.get_xlim()
    for row, name in enumerate(names):
        chosen, reading = name == rule, readings[name]
        color = BOUNDS if chosen else FAINT
        if reading.base_lr is None or reading.max_lr is None:
            _write(axes, left, row, f"abstains ({_seeds(reading)})", color)
            continue
        text = f"{_rate(reading.base_lr)} to {_rate(reading.max_lr)}"
        if reading.max_lr <= left:
            _write(axes, left, row, f"{text}, below the sweep", color)
            continue
        width = 3.0 if chosen else 2.0
        ends = [rate for rate in (reading.base_lr, reading.max_lr) if left <= rate <= right]
        low, high = max(left, reading.base_lr), min(right, reading.max_lr)
        axes.plot([low, high], [row, row], color=color, linewidth=width, solid_capstyle="butt")
        axes.plot(ends, [row] * len(ends), "|", color=color, markersize=8, markeredgewidth=width)
        before = _part(axes, high) > 0.8
        _write(axes, low if before else high, row, text, color, before=before)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_color(BOUNDS if name == rule else FAINT)
        label.set_fontweight("bold" if name == rule else "normal")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left, right)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("learning rate")
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_formatter(FuncFormatter(_tick))


def _write(
    axes: Axes, rate: float, row: int, text: str, color: str, *, before: bool = False
) -> None:
    axes.annotate(
        text,
        (rate, row),
        xytext=(-7 if before else 7, 0),
        textcoords="offset points",
        ha="right" if before else "left",
        va="center_baseline",
        fontsize=8.5,
        color=color,
    )


def _seeds(reading: Agreement) -> str:
    return f"{reading.num_found} of {reading.num_seeds} seeds"


def _part(axes: Axes, rate: float) -> float:
    """Return how far along the axis a rate lies, 0..1."""
    left, right = axes.get_xlim()
    if axes.get_xscale() == "log":
        left, right, rate = math.log(left), math.log(right), math.log(max(rate, left))
    return (rate - left) / (right - left)


def _tick(value: float, _position: Any) -> str:
    return f"{value:.3g}"


def _rate(value: float) -> str:
    return f"{value:.3g}"
