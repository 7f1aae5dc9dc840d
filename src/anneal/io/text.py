"""Plain text: Markdown and terminal tables, numbers, marked blocks, near misses."""

import difflib
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal

Alignment = Literal["left", "right"]

NOTHING = "\N{EN DASH}"  # a cell without content
_GAP = "  "  # between the columns of a terminal's table
_FEWEST_LETTERS = 24  # in a column that is folded
_RULES: dict[Alignment, str] = {"left": ":---", "right": "---:"}


def markdown_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    sides: Sequence[Alignment] | None = None,
) -> str:
    r"""Return a Markdown table.

    Cells may have Markdown (links, emphasis); escape other text with :func:`escape_markdown`
    first. Bars inside a cell are escaped, line breaks become spaces.

    >>> print(markdown_table(["a", "b"], [["x|y", "1"]], sides=["left", "right"]))
    | a | b |
    | :--- | ---: |
    | x\|y | 1 |

    Raises:
        ValueError: a row is not as long as the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row must have {len(header)} cells, got {len(row)}: {list(row)}")
    rules = [_RULES[side] for side in sides or ["left"] * len(header)]
    lines = [list(header), rules, *map(list, rows)]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def text_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    sides: Sequence[Alignment] | None = None,
    width: int | None = None,
) -> list[str]:
    r"""Return the lines of a terminal table with aligned columns and a rule below the header.

    >>> print("\n".join(text_table(["n", "mean"], [["12", "3"]])))
    n   mean
    --  ----
    12  3

    Args:
        header: of the columns.
        rows: cells of one line each.
        sides: alignment of each column; default: left.
        width: of the terminal; the last column is wrapped to the width that the others leave.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    if width is not None:
        rest = width - sum(widths[:-1]) - len(_GAP) * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(rest, len(header[-1]), _FEWEST_LETTERS))
    lines: list[Sequence[str]] = [header, ["-" * width for width in widths]]
    for row in rows:
        folded = textwrap.wrap(row[-1], widths[-1]) or [""]
        lines.append([*row[:-1], folded[0]])
        lines += [[""] * (len(row) - 1) + [more] for more in folded[1:]]
    ways = {"left": str.ljust, "right": str.rjust}
    align = [ways[side] for side in sides or ["left"] * len(header)]
    return [
        _GAP.join(
            place(cell, width) for place, cell, width in zip(align, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _cell(text: str) -> str:
    unbroken = re.sub(r"\s*[\r\n]+\s*", " ", text).strip()
    return re.sub(r"(?<!\\)\|", r"\\|", unbroken)


def escape_markdown(text: str) -> str:
    r"""Escape text so that Markdown shows it unchanged.

    >>> escape_markdown("exp_range *both* <b>")
    'exp\\_range \\*both\\* &lt;b&gt;'
    """
    marked = re.sub(r"([\\`*_\[\]#|])", r"\\\1", text)
    return marked.replace("<", "&lt;").replace(">", "&gt;")


def number(value: float) -> str:
    """Return a number with thousands separators and at most five significant digits.

    >>> number(25000), number(0.00001), number(0.1234567)
    ('25,000', '1e-05', '0.12346')
    """
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.5g}"


def duration_words(seconds: float) -> str:
    """Return a duration in words.

    >>> duration_words(4000)
    '1 h 7 min'
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def shorten(words: str, length: int) -> str:
    """Truncate words to at most ``length`` characters.

    >>> shorten("a long line", 9)
    'a long...'
    """
    return words if len(words) <= length else f"{words[: length - 3]}..."


def renew_block(text: str, *, name: str, body: str, where: str) -> str:
    r"""Replace the text between the two marks of a block by ``body``.

    The marks are ``<!-- <name>:begin -->`` and ``<!-- <name>:end -->``.

    >>> marked = "a\n<!-- verdicts:begin -->\nold\n<!-- verdicts:end -->\nb\n"
    >>> renewed = renew_block(marked, name="verdicts", body="new", where="README.md")
    >>> renewed == marked.replace("old", "new")
    True

    Returns:
        The new text; the same text if it has neither mark.

    Raises:
        ValueError: one mark is missing or repeated, or they are in the wrong order.
    """
    first, last = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    counts = text.count(first), text.count(last)
    if counts == (0, 0):
        return text
    begin, end = text.find(first), text.find(last)
    if counts != (1, 1) or begin > end:
        raise ValueError(f"{where}: must have {first} and {last} once each and in this order")
    return f"{text[:begin]}{first}\n{body.strip()}\n{text[end:]}"


def last_line(text: str) -> str | None:
    r"""Return the last line that has words, without the space around it; None if none has.

    >>> last_line("one\n two \n\n"), last_line(" \n")
    ('two', None)
    """
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next(filter(None, lines), None)


_NAMES_SHOWN = 30  # where none is near


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x' or 'y'?`` for a near miss, else the list of known names.

    >>> did_you_mean("momentun", ["momentum", "lr"])
    "; did you mean 'momentum'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    more = f" and {len(names) - _NAMES_SHOWN} more" if names[_NAMES_SHOWN:] else ""
    return f"; there is {', '.join(names[:_NAMES_SHOWN]) or 'nothing'}{more}"
