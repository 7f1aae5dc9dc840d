"""Text for people: hints at the nearest right spelling."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x' or 'y'?`` for a near miss, else the list of what there is.

    >>> did_you_mean("momentun", ["momentum", "lr"])
    "; did you mean 'momentum'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; there is {', '.join(names) or 'nothing'}"
