"""Figure of a recommendation: the range test with its bounds, the accuracy of each candidate."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from anneal.advise.candidates import CANDIDATES, CandidateResult, Choice
from anneal.advise.trials import Points
from anneal.io.svg import COLOURS, DASHES, STYLE, svg_text
from anneal.range_test import Agreement, RangeTestCurve
from anneal.range_test.figure import ACCURACY, draw_bounds, draw_column

LATE_PART = 0.5  # of a run; the axis shows all values after it, since the curves differ at the end


def draw_advice(
    curves: Sequence[RangeTestCurve],
    reading: Agreement,
    trials: Mapping[str, Mapping[int, Points]],
    choice: Choice,
    *,
    title: str,
) -> str:
    """Return the figure as SVG.

    Top: held-out accuracy of the range test against the learning rate, with the bounds. A thin line
    is one seed, the bold line their mean. Bottom left: held-out accuracy of each candidate against
    the update, as the mean over its seeds with a band from the lowest to the highest. Bottom right:
    final accuracy of each seed, the mean and its 95 % interval; the recommended candidate is bold.

    Args:
        curves: of the range test, one for each seed.
        reading: their bounds by the chosen rule.
        trials: candidate -> seed -> (updates made, held-out accuracy in percent).
        choice: among the same candidates.
        title: of the figure.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 7.4), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        grid = figure.add_gridspec(2, 2, height_ratios=[1, 1.15], width_ratios=[1.55, 1])
        _draw_range_test(figure.add_subplot(grid[0, :]), curves, reading)
        _draw_runs(figure.add_subplot(grid[1, 0]), trials)
        _draw_ends(figure.add_subplot(grid[1, 1]), choice)
        return svg_text(figure)


def colour_of(name: str) -> str:
    """Return a candidate's colour, the same in every figure."""
    return COLOURS[list(CANDIDATES).index(name) % len(COLOURS)]


def dashes_of(name: str) -> str:
    """Return a candidate's line style, which separates candidates of one colour."""
    return DASHES[list(CANDIDATES).index(name) // len(COLOURS)]


def _draw_range_test(axes: Axes, curves: Sequence[RangeTestCurve], reading: Agreement) -> None:
    if curves[0].sweep == "exponential":
        axes.set_xscale("log")
    draw_column(axes, curves, "accuracy_pct", ACCURACY)
    draw_bounds(axes, reading, labelled=True)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("learning rate, rising during the sweep")
    axes.set_ylabel("held-out accuracy (%)")
    axes.set_title(f"range test: bounds {reading.base_lr:.3g} and {reading.max_lr:.3g}", pad=18)


def _draw_runs(axes: Axes, trials: Mapping[str, Mapping[int, Points]]) -> None:
    late: list[float] = []
    for name, by_seed in trials.items():
        values_at: dict[int, list[float]] = {}
        for points in by_seed.values():
            for update, value in points:
                values_at.setdefault(update, []).append(value)
        shared = sorted((u, v) for u, v in values_at.items() if len(v) == len(by_seed))
        if not shared:
            continue
        updates = [update for update, _ in shared]
        axes.fill_between(
            updates,
            [min(values) for _, values in shared],
            [max(values) for _, values in shared],
            color=colour_of(name),
            alpha=0.12,
            linewidth=0,
        )
        means = [math.fsum(values) / len(values) for _, values in shared]
        axes.plot(updates, means, color=colour_of(name), linestyle=dashes_of(name), linewidth=1.5)
        late += [v for u, values in shared if u >= LATE_PART * updates[-1] for v in values]
    if late:
        room = 0.05 * max(1.0, max(late) - min(late))
        axes.set_ylim(max(0.0, min(late) - room), min(100.0, max(late) + room))
    axes.set_xlim(left=0)
    axes.set_xlabel("update")
    axes.set_ylabel("held-out accuracy (%)")
    axes.set_title("candidates: mean, and from lowest to highest seed")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _draw_ends(axes: Axes, choice: Choice) -> None:
    framed: list[float] = []
    for row, result in enumerate(choice.results):
        colour = colour_of(result.name)
        values = [value for value in result.accuracies_pct.values() if value is not None]
        framed += values
        if result.accuracy is not None:
            mean, low, high = _ends(result)
            axes.plot([low, high], [row, row], color=colour, alpha=0.35, linewidth=5,
                      solid_capstyle="butt")  # fmt: skip
            axes.plot(mean, row, marker="|", markersize=13, color=colour, mew=2)
            framed += [low, high]
        else:
            words = f"{result.num_diverged} of {len(result.accuracies_pct)} diverged"
            axes.annotate(words, (0.02, row), xycoords=("axes fraction", "data"), va="center",
                          color=colour, fontsize=8)  # fmt: skip
        axes.plot(values, [row] * len(values), linestyle="none", marker="o", markersize=4.5,
                  markerfacecolor="white", markeredgecolor=colour)  # fmt: skip
    names = [s.name for s in choice.results]
    advised = f"{choice.recommended}\n(recommended)"
    shown = [advised if name == choice.recommended else name for name in names]
    axes.set_yticks(range(len(names)), shown)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_color(colour_of(name))
        label.set_fontweight("bold" if name == choice.recommended else "normal")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("held-out accuracy at the end (%)")
    axes.set_title("at the end: seeds, mean, 95 % interval")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if framed:
        room = 0.06 * max(1.0, max(framed) - min(framed))
        axes.set_xlim(max(0.0, min(framed)) - room, min(100.0, max(framed)) + room)


def _ends(result: CandidateResult) -> tuple[float, float, float]:
    """Return mean and interval of a candidate with three or more finished seeds."""
    assert result.accuracy is not None
    assert result.accuracy.low is not None
    assert result.accuracy.high is not None
    return result.accuracy.mean, result.accuracy.low, result.accuracy.high
