"""Figure of an experiment's snapshots: ensembles by size, disagreement, anytime accuracy."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from anneal.io.svg import COLOURS, DASHES, FAINT, STYLE, svg_text
from anneal.results.anytime import recommended
from anneal.results.curves import Curve, band
from anneal.results.ensemble_grid import ensemble_grid_of, shared_snapshots
from anneal.results.ensembles import SnapshotSet, ensemble_metric, mean_matrix
from anneal.results.metrics import Evidence, Run

MOST_NAMED = 12  # snapshots; a larger matrix has no room for numbers
COLUMN = "test_accuracy_pct"


def draw_ensembles(evidence: Evidence, *, ends: Sequence[int], title: str) -> str:
    """Return the picture of one experiment's snapshots as SVG.

    Left, the accuracy of N runs with the last M snapshots each, a line for each N and a dot for
    each group, next to the single snapshots. Middle, how any two snapshots of a run differ, mean
    over runs: above the diagonal the correlation of their outputs, below it the images on which
    they disagree. Right, the accuracy during the run, and that of the weights that SGDR recommends.

    Args:
        evidence: with runs that kept snapshots.
        ends: of the schedule's cycles, ascending.
        title: over the picture.

    Raises:
        ValueError: no run kept a snapshot.
    """
    snapshots = shared_snapshots(evidence)
    if not snapshots:
        raise ValueError(f"{evidence.experiment}: no run kept a snapshot to draw")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 3.9), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        left, middle, right = figure.subplots(1, 3)
        _draw_sizes(left, evidence, snapshots)
        _draw_matrix(middle, snapshots)
        _draw_anytime(right, evidence, ends)
        return svg_text(figure)


def _draw_sizes(axes: Axes, evidence: Evidence, snapshots: Sequence[SnapshotSet]) -> None:
    framed: list[float] = []
    for place, (num_runs, cells) in enumerate(ensemble_grid_of(evidence).items()):
        colour = COLOURS[place % len(COLOURS)]
        sizes = range(1, len(cells) + 1)
        dashes = DASHES[place // len(COLOURS) % len(DASHES)]
        label = f"N = {_runs(num_runs)}"
        axes.plot(sizes, [c.mean for c in cells], color=colour, linestyle=dashes, label=label)
        for size in sizes:
            values = list(evidence.values(ensemble_metric(num_runs, size)).values())
            axes.plot([size] * len(values), values, color=colour, marker=".", linestyle="none")
            framed += values
    room = max(0.5, 0.15 * (max(framed) - min(framed)))
    low, high = min(framed) - 2 * room, min(100.0, max(framed) + room)
    alone = np.array([found.accuracy_pct for found in snapshots]).mean(axis=0)[::-1]
    axes.plot([], [], color=FAINT, marker="x", linestyle="none", label="the M-th last alone")
    for back, value in enumerate(alone, start=1):
        marker = "x" if value > low else "v"
        axes.plot(back, max(value, low), color=FAINT, marker=marker, clip_on=False)
        if value <= low:  # an early snapshot would flatten the rest
            axes.annotate(
                f"{value:.1f}",
                (back, low),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                color=FAINT,
                fontsize=7.5,
            )
    axes.set_ylim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("M, the last snapshots of each run")
    axes.set_ylabel("test accuracy (%)")
    axes.set_title("ensembles by their size")
    axes.legend(fontsize=7.5)


def _draw_matrix(axes: Axes, snapshots: Sequence[SnapshotSet]) -> None:
    updates = snapshots[0].updates
    alike = mean_matrix([found.correlation for found in snapshots], diagonal=1.0)
    apart = mean_matrix([found.disagreement_pct for found in snapshots], diagonal=0.0)
    axes.grid(visible=False)
    axes.imshow(alike, cmap="Blues", vmin=min(0.0, float(np.nanmin(alike))), vmax=1.0)
    if len(updates) <= MOST_NAMED:
        for i in range(len(updates)):
            for j in range(len(updates)):
                if i != j:
                    words = f"{alike[i, j]:.2f}" if j > i else f"{apart[i, j]:.1f} %"
                    shade = "white" if alike[i, j] > 0.6 else "black"
                    axes.text(j, i, words, ha="center", va="center", color=shade, fontsize=7.5)
    names = [f"{update:,}" for update in updates]
    axes.set_xticks(range(len(updates)), names, rotation=45)
    axes.set_yticks(range(len(updates)), names)
    axes.set_title(f"correlation above, disagreement below;\nmean of {_runs(len(snapshots))}")
    axes.set_xlabel("snapshot after update")


def _draw_anytime(axes: Axes, evidence: Evidence, ends: Sequence[int]) -> None:
    runs = [run for run in evidence.runs if run.finished and run.curve]
    curves = [run.curve for run in runs if run.curve]
    for end in ends:
        axes.axvline(end, color=FAINT, linewidth=0.7, linestyle=":")
    if curves:
        _draw_mean(axes, curves, colour=COLOURS[1], label="newest weights", steps=False)
        chosen = [_recommended(run, ends) for run in runs]
        _draw_mean(axes, chosen, colour=COLOURS[2], label="recommended weights", steps=True)
        axes.legend(fontsize=7.5)
    axes.set_xlabel("update (dotted: the end of a cycle)")
    axes.set_title(f"at any time; mean of {_runs(len(curves))}")


def _recommended(run: Run, ends: Sequence[int]) -> Curve:
    kept = run.snapshots
    known = dict(zip(kept.updates, kept.accuracy_pct, strict=True)) if kept else {}
    return recommended(run.curve or (), ends=ends, snapshots=known)


def _draw_mean(
    axes: Axes, curves: Sequence[Curve], *, colour: str, label: str, steps: bool
) -> None:
    mean = band(curves, COLUMN)
    axes.plot(
        mean.updates,
        mean.mean,
        color=colour,
        label=label,
        drawstyle="steps-post" if steps else "default",
    )


def _runs(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"
