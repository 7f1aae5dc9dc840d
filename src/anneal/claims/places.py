"""Places of claims in a paper: tables, figures, sections."""

import re

_NAMES = {"table": "Table", "fig": "Fig.", "section": "section", "sec": "section"}
_NAMES |= {"appendix": "appendix"}  # in this order: a claim of Table 1 and section 4 is Table 1's
_PLACE = re.compile(
    r"\b(?i:(table|fig|section|sec|appendix)(?:ure)?s?)\.?\s*"
    r"([A-Z]?[0-9]+(?:\.[0-9]+)*|[A-Z]+(?:\.[0-9]+)*\b)"
)


def place_of(at: str) -> str:
    """Return the table that ``source.at`` names, else the figure, else the section, else its text.

    A letter behind the number names a panel or a part, which is of the same table.

    >>> place_of("Table 1 and section 4.1.1"), place_of("section 4.2, Figure 6b")
    ('Table 1', 'Fig. 6')
    >>> place_of("Sec. 4.2"), place_of("the authors' log")
    ('section 4.2', "the authors' log")
    """
    order = list(_NAMES)
    found = [(order.index(name.lower()), number) for name, number in _PLACE.findall(at)]
    if not found:
        return " ".join(at.split())
    rank, number = min(found, key=lambda place: place[0])
    return f"{_NAMES[order[rank]]} {number}"


def place_named(name: str) -> str | None:
    """Return the place of a full name, as :func:`place_of` writes it, or None.

    >>> place_named("section3.1"), place_named("fig2a"), place_named("appendix_a")
    ('section 3.1', 'Fig. 2a', 'appendix A')
    >>> place_named("text"), place_named("table1_extra")
    (None, None)
    """
    words = re.sub(r"\b[a-z]$", lambda letter: letter[0].upper(), name.replace("_", " "))
    found = _PLACE.match(words)
    panel = words[found.end() :] if found else ""
    if not found or len(panel) > 1:
        return None
    return place_of(found[0]) + panel
