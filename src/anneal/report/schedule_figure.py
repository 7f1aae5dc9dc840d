"""Figure of one schedule, with its momentum."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anneal.io.svg import COLOURS, STYLE

RATE_COLOUR, MOMENTUM_COLOUR = COLOURS[1], COLOURS[2]
MOST_POINTS = 200_000  # every update of any run of the papers


def draw_schedule(
    schedule: Callable[[int], float],
    *,
    momentum: Callable[[int], float] | None,
    total_steps: int,
    title: str,
    path: Path,
) -> None:
    """Draw rate (and momentum) against the update that they drive.

    Args:
        schedule: of the learning rate.
        momentum: of the momentum, drawn below; None leaves it out.
        total_steps: updates drawn.
        title: above the picture.
        path: ``.png`` or ``.svg``.

    Raises:
        ValueError: the file's ending is neither.
    """
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"the picture's file must end in .png or .svg, got {path}")
    stride = max(1, total_steps // MOST_POINTS)
    updates = [*range(0, total_steps - 1, stride), total_steps - 1]
    panels = 1 if momentum is None else 2
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 2.2 + 1.6 * panels), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
        drawn = [(schedule, "learning rate", RATE_COLOUR)]
        if momentum is not None:
            drawn.append((momentum, "momentum", MOMENTUM_COLOUR))
        for axis, (curve, name, colour) in zip(axes, drawn, strict=True):
            values = [curve(update) for update in updates]
            axis.plot(updates, values, color=colour, linewidth=1.6)
            axis.set_ylabel(name)
            axis.margins(x=0.01)
        axes[0].set_ylim(bottom=0)
        axes[0].set_title(title, loc="left")
        axes[0].annotate(
            f"first {schedule(0):.4g}, highest {max(map(schedule, updates)):.4g}, "
            f"last {schedule(total_steps - 1):.4g}",
            xy=(1, 1.02),
            xycoords="axes fraction",
            ha="right",
            fontsize=9,
            color="#555555",
        )
        axes[-1].set_xlabel("updates made")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
