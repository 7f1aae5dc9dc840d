"""The curve that a sweep measures, as data."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SweepKind = Literal["linear", "exponential"]


@dataclass(frozen=True, kw_only=True)
class RangeTestPoint:
    """One measured point of a sweep.

    Args:
        update: updates made; 0 is the untouched model.
        lr: rate of the last of them; 0.0 at update 0, where none was made.
        accuracy_pct: on the held-out training images, 0..100; None where the task has none.
        held_out_loss: on the same images, nats (of another task, its loss); None where unknown.
        train_loss: mean over the updates since the point before, nats; None at update 0.
    """

    update: int
    lr: float
    accuracy_pct: float | None
    held_out_loss: float | None = None
    train_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class RangeTestCurve:
    """One sweep of the rate.

    Args:
        points: by rising rate.
        sweep: how the rates were spread over the updates.
        diverged_at: index of the update whose loss was the first that is no finite number (as many
            updates had been made by then), or None. The sweep ended there.
        diverged_lr: rate of the update made just before that one, the one to blame.
        num_images: held-out images; None where it is not known (a curve read from a figure).

    Raises:
        ValueError: the rates do not rise from point to point, or a measured number is not finite.
    """

    points: tuple[RangeTestPoint, ...]
    sweep: SweepKind = "linear"
    diverged_at: int | None = None
    diverged_lr: float | None = None
    num_images: int | None = None

    def __post_init__(self) -> None:
        for point in self.points:
            numbers = (point.lr, point.accuracy_pct, point.held_out_loss, point.train_loss)
            if not all(math.isfinite(number) for number in numbers if number is not None):
                raise ValueError(f"every number of a point must be finite, got {point}")
            if point.lr < 0:
                raise ValueError(f"lr must not be negative, got {point.lr}")
        for before, after in zip(self.points, self.points[1:], strict=False):
            if after.lr <= before.lr:
                raise ValueError(
                    f"lr must rise from point to point, got {after.lr} after {before.lr}"
                )

    def describe(self) -> dict[str, Any]:
        """Return the curve as plain data; :func:`read_curve` is the inverse."""
        return {**dataclasses.asdict(self), "points": [dataclasses.asdict(p) for p in self.points]}


def read_curve(plain: Mapping[str, Any]) -> RangeTestCurve:
    """Return the curve that ``describe`` wrote, also after a round trip through JSON."""
    points = tuple(RangeTestPoint(**point) for point in plain["points"])
    return RangeTestCurve(**{**plain, "points": points})


def curve_from_columns(
    *,
    lrs: Sequence[float],
    accuracies_pct: Sequence[float],
    train_losses: Sequence[float] | None = None,
    sweep: SweepKind = "linear",
) -> RangeTestCurve:
    """Return a curve from columns of numbers, such as a figure of a paper read by eye.

    >>> curve_from_columns(lrs=[0.0, 0.1], accuracies_pct=[10.0, 20.0]).points[1].accuracy_pct
    20.0

    Raises:
        ValueError: the columns differ in length, or are no curve.
    """
    losses = [None] * len(lrs) if train_losses is None else train_losses
    if not len(lrs) == len(accuracies_pct) == len(losses):
        raise ValueError(
            "columns must be equally long, got "
            f"{len(lrs)} rates, {len(accuracies_pct)} accuracies and {len(losses)} losses"
        )
    return RangeTestCurve(
        points=tuple(
            RangeTestPoint(update=i, lr=lr, accuracy_pct=accuracy, train_loss=loss)
            for i, (lr, accuracy, loss) in enumerate(zip(lrs, accuracies_pct, losses, strict=True))
        ),
        sweep=sweep,
    )
