"""Training curves: thinning, bands over seeds, updates to a target."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

COLUMNS = ("lr", "momentum", "train_loss", "test_accuracy_pct", "test_loss")
EVALUATED = ("test_accuracy_pct", "test_loss")


@dataclass(frozen=True, kw_only=True)
class Point:
    """Logged values after ``update`` updates; None if not measured.

    Args:
        update: updates made, >= 0.
        lr: learning rate of the last update.
        momentum: of the last update.
        train_loss: of the batch or since the previous point, as logged by the run.
        test_accuracy_pct: 0..100.
        test_loss: mean over the test images.
    """

    update: int
    lr: float | None = None
    momentum: float | None = None
    train_loss: float | None = None
    test_accuracy_pct: float | None = None
    test_loss: float | None = None

    @property
    def evaluated(self) -> bool:
        """Whether the run was evaluated here."""
        return any(getattr(self, column) is not None for column in EVALUATED)


Curve = tuple[Point, ...]  # ordered by update


@dataclass(frozen=True, kw_only=True)
class Band:
    """Mean, lowest and highest value over seeds, at each update that all seeds share."""

    updates: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    num_curves: int


def series(curve: Curve, column: str) -> tuple[list[int], list[float]]:
    """Return the updates and the values of one column, without missing values.

    >>> series((Point(update=1, lr=0.5), Point(update=2)), "lr")
    ([1], [0.5])

    Raises:
        ValueError: there is no such column.
    """
    if column not in COLUMNS:
        raise ValueError(f"column must be one of {', '.join(COLUMNS)}, got {column!r}")
    measured = [(point.update, getattr(point, column)) for point in curve]
    kept = [(update, value) for update, value in measured if value is not None]
    return [update for update, _ in kept], [value for _, value in kept]


def thin(curve: Curve, *, limit: int) -> Curve:
    """Keep about ``limit`` points: every evaluation, the first, the last, the rest evenly spread.

    Evaluations are never dropped, since updates to a target are read from them. A run with more
    than ``limit`` evaluations keeps more points. Thinning twice changes nothing.

    >>> [p.update for p in thin(tuple(Point(update=t, lr=0.1) for t in range(10)), limit=4)]
    [0, 3, 7, 9]

    Args:
        curve: ordered by update.
        limit: points to keep, >= 2.

    Raises:
        ValueError: ``limit`` is below 2.
    """
    if limit < 2:
        raise ValueError(f"limit must be at least 2, got {limit}")
    if len(curve) <= limit:
        return curve
    kept = {i for i, point in enumerate(curve) if point.evaluated} | {0, len(curve) - 1}
    others = [i for i in range(len(curve)) if i not in kept]
    room = min(max(0, limit - len(kept)), len(others))
    # the middle of each of `room` equal parts, in integers
    kept |= {others[(2 * part + 1) * len(others) // (2 * room)] for part in range(room)}
    return tuple(curve[i] for i in sorted(kept))


def band(curves: Sequence[Curve], column: str) -> Band:
    """Return mean, lowest and highest over curves, at the updates that all of them have.

    >>> one = (Point(update=5, test_loss=1.0), Point(update=9, test_loss=3.0))
    >>> two = (Point(update=5, test_loss=2.0),)
    >>> band([one, two], "test_loss").mean
    (1.5,)

    Raises:
        ValueError: there is no curve.
    """
    if not curves:
        raise ValueError("a band needs at least one curve, got none")
    columns = [dict(zip(*series(curve, column), strict=True)) for curve in curves]
    shared = sorted(set.intersection(*(set(measured) for measured in columns)))
    values = [[measured[update] for measured in columns] for update in shared]
    return Band(
        updates=tuple(shared),
        mean=tuple(sum(row) / len(row) for row in values),
        low=tuple(min(row) for row in values),
        high=tuple(max(row) for row in values),
        num_curves=len(curves),
    )


def updates_to_target(
    curve: Curve,
    column: str,
    *,
    target: float,
    higher_is_better: bool = True,
    ends: Collection[int] = (),
) -> int | None:
    """Return the update of the first evaluation that holds the target; None if there is none.

    One lucky evaluation in the middle of a cycle does not count: the target is held at the end of a
    whole cycle, where a run may stop, or where the next evaluation is at it too. Its resolution is
    that of the evaluations.

    >>> losses = {10: 0.3, 20: 0.5, 30: 0.4, 40: 0.3}
    >>> curve = tuple(Point(update=at, test_loss=loss) for at, loss in losses.items())
    >>> updates_to_target(curve, "test_loss", target=0.4, higher_is_better=False)
    30
    >>> updates_to_target(curve, "test_loss", target=0.4, higher_is_better=False, ends=[10])
    10

    Args:
        curve: ordered by update.
        column: what is held against the target.
        target: at it, or beyond it.
        higher_is_better: which side is beyond.
        ends: updates after which a whole cycle ends.
    """
    updates, values = series(curve, column)
    there = [value >= target if higher_is_better else value <= target for value in values]
    for update, is_there, stays in zip(updates, there, [*there[1:], False], strict=False):
        if is_there and (stays or update in ends):
            return update
    return None
