"""Figure style and reproducible SVG text.

The ground is white, since a figure is read on light and on dark pages alike. Colours are Okabe and
Ito's without their yellow, and Tol's wine: they stay apart for colour-blind readers. Beyond eight
curves the dashes change.

Ids are hashed with a fixed salt, no date is written, and text is drawn as paths in a font that
ships with matplotlib, so that no font has to be there where it is looked at.
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
    """Return a figure's SVG; to be called where ``STYLE`` is in force."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    # trailing blanks are what version control complains of
    return re.sub(r"[ \t]+$", "", buffer.getvalue(), flags=re.MULTILINE)
