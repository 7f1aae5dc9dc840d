"""Files, text, the terminal, git and SVG: used by every room, imports none."""
