"""A figure as SVG text, the same bytes for the same input (edge).

Ids are hashed with a fixed salt, no date is written, and text is drawn as paths in a font that
ships with matplotlib, so that no font has to be there where it is looked at.
"""

import io
import re
from typing import Any

from matplotlib.figure import Figure

REPRODUCIBLE: dict[Any, Any] = {
    "svg.hashsalt": "anneal",
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],
}


def svg_text(figure: Figure) -> str:
    """Return a figure's SVG; to be called where ``REPRODUCIBLE`` is in force."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    # trailing blanks are what version control complains of
    return re.sub(r"[ \t]+$", "", buffer.getvalue(), flags=re.MULTILINE)
