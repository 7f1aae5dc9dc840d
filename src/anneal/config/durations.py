"""Durations such as ``4 epochs``, converted into updates.

An *update* is one optimizer step and the only clock. A configuration may have ``2000 steps``,
``4 epochs``, ``100000 images`` or ``0.125 run`` (a fraction of the whole run). The unit is part of
the value, not of the key, since a Hydra override can replace a value but not remove a key.
"""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Unit = Literal["steps", "epochs", "images", "run"]
ROUNDING = 1e-6  # of an update: 0.1 * 2000 must not come out as 199.99999999999997
UNITS: dict[str, Unit] = {
    "step": "steps",
    "steps": "steps",
    "epoch": "epochs",
    "epochs": "epochs",
    "image": "images",
    "images": "images",
    "run": "run",
}
_WRITTEN = re.compile(r"\s*([0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?)\s*([a-z]+)\s*")


@dataclass(frozen=True)
class Duration:
    """A length of training with its unit.

    >>> parse_duration("4 epochs")
    Duration(value=4.0, unit='epochs')
    """

    value: float
    unit: Unit

    def __str__(self) -> str:
        """Return the duration as in a configuration: every digit, no exponent."""
        return f"{Decimal(repr(self.value)).normalize():f} {self.unit}"


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Factors that convert durations to updates for one run.

    Args:
        steps_per_epoch: updates in one pass over the training images, > 0.
        images_per_step: images in one update (batch size x accumulation), > 0.
        total_steps: updates of the whole run at full budget; None while it is being converted.
    """

    steps_per_epoch: int
    images_per_step: int
    total_steps: int | None = None


def parse_duration(written: object) -> Duration:
    """Read ``<number> <steps|epochs|images|run>``.

    Raises:
        ValueError: the text has another form, or the value is not finite. Zero steps is allowed (a
            stage may start at the beginning of the run).
    """
    match = _WRITTEN.fullmatch(written) if isinstance(written, str) else None
    if match is None or match[2] not in UNITS:
        raise ValueError(
            "must be a duration: a number and steps, epochs, images or run "
            f"('2000 steps', '4 epochs', '0.125 run'), got {written!r}"
        )
    value = float(match[1].replace("_", ""))
    if not math.isfinite(value):
        raise ValueError(f"must be finite, got {written!r}")
    return Duration(value, UNITS[match[2]])


def to_steps(duration: Duration, clock: Clock, *, budget_fraction: float = 1.0) -> int:
    """Convert a duration to whole updates at a fraction of the full budget.

    A duration above 0 stays at least one update long, however small the budget.

    >>> to_steps(parse_duration("4 epochs"), Clock(steps_per_epoch=500, images_per_step=100))
    2000
    >>> clock = Clock(steps_per_epoch=500, images_per_step=100, total_steps=25000)
    >>> to_steps(parse_duration("0.08 run"), clock, budget_fraction=0.01)
    20

    Raises:
        ValueError: the unit is ``run`` and the clock has no length of the run.
    """
    if duration.unit == "steps":
        steps = duration.value
    elif duration.unit == "epochs":
        steps = duration.value * clock.steps_per_epoch
    elif duration.unit == "images":
        steps = duration.value / clock.images_per_step
    else:
        if clock.total_steps is None:
            raise ValueError(
                f"the length of the run cannot be a fraction of itself, got {duration}"
            )
        steps = duration.value * clock.total_steps
    return scaled(steps, budget_fraction) if steps else 0


def scaled(steps: float, budget_fraction: float) -> int:
    """Return whole updates, rounded down so that parts never exceed the whole; at least one.

    >>> scaled(2000, 0.1), scaled(3571, 0.01), scaled(3, 0.01)
    (200, 35, 1)
    """
    return max(1, math.floor(steps * budget_fraction + ROUNDING))
