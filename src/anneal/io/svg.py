"""Figure style and reproducible SVG text.

The background is white, for light and dark pages alike. The colours are Okabe and Ito's without
their yellow, and Tol's wine: colour-blind readers can tell them apart. From the ninth curve on the
dashes change.

Ids are hashed with a fixed salt and no date is written. Text is drawn as paths in a font that ships
with matplotlib, so the reader needs no font.
"""

import io
import re
from typing import Any

from matplotlib.figure import Figure

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
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "anneal",
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
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


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG; call it inside ``rc_context(STYLE)``."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    # Git warns about trailing blanks
    return re.sub(r"[ \t]+$", "", buffer.getvalue(), flags=re.MULTILINE)
