"""Anytime accuracy: the accuracy of a run if it is stopped at any update.

A restart makes the newest weights worse for a while, so SGDR *recommends* those of the last
completed cycle (arXiv 1608.03983v5, section 4.2).
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from anneal.results.curves import Curve, Point, series


def recommended_update(update: int, ends: Sequence[int]) -> int:
    """Return the update of the recommended weights after ``update`` updates.

    Before the end of the first cycle these are the newest, then those at the end of the last
    completed cycle. Without cycles they are always the newest.

    >>> [recommended_update(update, (10, 30)) for update in (9, 10, 29, 30, 99)]
    [9, 10, 10, 30, 30]
    >>> recommended_update(99, ())
    99

    Args:
        update: updates made.
        ends: of the cycles, in rising order (``schedules.cycle_ends``).
    """
    passed = bisect_right(ends, update)
    return ends[passed - 1] if passed else update


def recommended(curve: Curve, *, ends: Sequence[int], snapshots: Mapping[int, float]) -> Curve:
    """Return the test accuracy of the recommended weights, at each evaluation of a run.

    Args:
        curve: of the run.
        ends: of the cycles, in rising order.
        snapshots: update -> test accuracy of its snapshot in percent. Points whose end of a cycle
            has neither an evaluation nor a snapshot are left out.

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
    """Return the highest test accuracy up to each evaluation, optimistic as chosen on test images.

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
