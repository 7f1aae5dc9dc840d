"""Bounds of a recommendation: read off a range test, or the setting to change if it has none."""

from pathlib import Path

from anneal.config.schema import RangeTestConfig
from anneal.range_test.record import RangeTestRecord
from anneal.range_test.suggestion import Remedy
from anneal.runs.inputs import NoBoundsError

BOUND_DIGITS = 3  # significant digits: a range test is no more precise, and snippets stay readable


def take_bounds(
    record: RangeTestRecord, config: RangeTestConfig, *, total_steps: int, picture: Path
) -> tuple[float, float]:
    """Return the suggested bounds, rounded to three digits for the trials and the snippets.

    Args:
        record: result of the range test.
        config: its configuration.
        total_steps: updates of one sweep.
        picture: file of its figure, for the error message.

    Raises:
        NoBoundsError: the rule abstains; gives the reason and the setting to change.
    """
    reading = record.readings[record.rule]
    if reading.base_lr is None or reading.max_lr is None:
        others = "".join(
            f"; {rule} gives {other.base_lr:.3g} to {other.max_lr:.3g} (range_test.rule={rule})"
            for rule, other in record.readings.items()
            if other.max_lr is not None
        )
        change = what_next(record, config, total_steps=total_steps)
        raise NoBoundsError(
            f"the range test gives no bounds, {reading.rule} abstains: {reading.reason}. "
            f"Next: {change}{others}. Figure: {picture}"
        )
    return _cut(reading.base_lr), _cut(reading.max_lr)


def multiplied(bounds: tuple[float, float], factor: int) -> tuple[float, float]:
    """Return bounds so many times as high, with as many digits."""
    return _cut(factor * bounds[0]), _cut(factor * bounds[1])


def _cut(rate: float) -> float:
    return float(f"{rate:.{BOUND_DIGITS}g}")


def what_next(record: RangeTestRecord, config: RangeTestConfig, *, total_steps: int) -> str:
    """Return the overrides to try after a range test without bounds."""
    diverged = sorted(curve.diverged_lr for curve in record.curves.values() if curve.diverged_lr)
    longer = f"range_test.length='{2 * total_steps} steps'"
    match record.readings[record.rule].remedy:
        case Remedy.HIGHER_RATES:
            return f"range_test.last_lr={10 * config.last_lr:g}"
        case Remedy.LOWER_RATES if diverged:
            first = min(config.first_lr, diverged[0] / 1000)
            return f"range_test.first_lr={first:.1g} range_test.last_lr={diverged[-1]:.1g}"
        case Remedy.MORE_POINTS:
            return f"range_test.points={2 * config.points} {longer}"
        case Remedy.MORE_SEEDS:
            seeds = ",".join(map(str, range(2 * len(config.seeds) + 1)))
            return f"more seeds, range_test.seeds=[{seeds}]"
        case _:
            return (
                f"a longer sweep, {longer}, or other rates than {config.first_lr:g} to "
                f"{config.last_lr:g} (range_test.first_lr, range_test.last_lr)"
            )
