"""Show the doctests of docstrings as code: Markdown takes ``>>>`` for quotations."""

from typing import Any

import griffe


def fenced(text: str) -> str:
    """Return a docstring with each doctest in a code block; a blank line ends a doctest."""
    lines: list[str] = []
    inside = False
    for line in [*text.splitlines(), ""]:
        if not inside and line.lstrip().startswith(">>> "):
            lines.append(f"{line[: len(line) - len(line.lstrip())]}```pycon")
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join(lines[:-1])


class DoctestBlocks(griffe.Extension):
    """Fence the doctests of every object that is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
