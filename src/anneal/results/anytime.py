"""Anytime accuracy: what a run gives if it stops at any update.

SGDR judges a schedule by that: a restart makes the newest weights worse for a while, so that it
*recommends* those of the last completed cycle (arXiv 1608.03983v5, section 4.2).
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from anneal.results.curves import Curve, Point, series


def recommended_update(update: int, ends: Sequence[int]) -> int:
    """Return whose weights are recommended after ``update`` updates.

    Before the first cycle has ended the newest, afterwards those of the last cycle that ended; a
    schedule without cycles recommends the newest always.

    >>> [recommended_update(update, (10, 30)) for update in (9, 10, 29, 30, 99)]
    [9, 10, 10, 30, 30]
    >>> recommended_update(99, ())
    99

    Args:
        update: updates made.
        ends: of the cycles, ascending (``schedules.cycle_ends``).
    """
    passed = bisect_right(ends, update)
    return ends[passed - 1] if passed else update


def recommended(curve: Curve, *, ends: Sequence[int], snapshots: Mapping[int, float]) -> Curve:
    """Return the test accuracy of the recommended weights, at each evaluation of a run.

    Args:
        curve: what was logged on the way.
        ends: of the cycles, ascending.
        snapshots: update -> test accuracy in percent, where weights were measured apart. An end
            that was neither evaluated nor kept is not known: the points that rest on it are left
            out.

    Returns:
        A curve of ``test_accuracy_pct`` alone: ``updates_to_target`` and ``band`` take it.
    """
    updates, values = series(curve, "test_accuracy_pct")
    known = dict(zip(updates, values, strict=True)) | dict(snapshots)
    sources = {update: recommended_update(update, ends) for update in sorted(known)}
    return tuple(
        Point(update=update, test_accuracy_pct=known[source])
        for update, source in sources.items()
        if source in known
    )


def best_so_far(curve: Curve) -> Curve:
    """Return the highest test accuracy up to each evaluation: picked on test images, it flatters.

    >>> curve = tuple(Point(update=u, test_accuracy_pct=a) for u, a in ((1, 50), (2, 40), (3, 60)))
    >>> [point.test_accuracy_pct for point in best_so_far(curve)]
    [50, 50, 60]
    """
    updates, values = series(curve, "test_accuracy_pct")
    highest = accumulate(values, max)
    return tuple(
        Point(update=update, test_accuracy_pct=value)
        for update, value in zip(updates, highest, strict=True)
    )
