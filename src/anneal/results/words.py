"""Wording of measurements: intervals, budgets, schedules."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from anneal.io.text import NOTHING, number
from anneal.results.metrics import Metric
from anneal.results.statistics import Interval


def interval_words(interval: Interval | None, *, decimals: int, unit: str = "") -> str:
    """Return ``mean ± half-width [low, high] unit``, or how many runs gave no interval.

    >>> from anneal.results.statistics import mean_interval
    >>> interval_words(mean_interval([81.0, 82.0, 83.0]), decimals=2, unit="%")
    '82.00 ± 2.48 [79.52, 84.48] %'
    >>> interval_words(mean_interval([81.0]), decimals=2, unit="%")
    '81.00 % (one run)'
    """
    if interval is None:
        return NOTHING
    behind = f" {unit}" if unit else ""
    mean = f"{interval.mean:.{decimals}f}"
    if interval.low is None or interval.high is None:
        return f"{mean}{behind} ({'one run' if interval.n == 1 else f'{interval.n} runs'})"
    ends = f"[{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"
    if interval.is_ratio or interval.is_median:
        return f"{mean} {ends}{behind}"
    return f"{mean} ± {interval.half_width:.{decimals}f} {ends}{behind}"


def mean_words(interval: Interval | None, *, metric: Metric) -> str:
    """Return ``mean ± half-width`` without the ends of the interval."""
    if interval is None:
        return NOTHING
    mean = f"{interval.mean:.{metric.decimals}f}"
    if interval.half_width is None:
        return mean
    return f"{mean} ± {interval.half_width:.{metric.decimals}f}"


def fraction_words(fraction: float) -> str:
    """Return a budget as a fraction, or in percent if it has no small denominator.

    >>> fraction_words(0.01), fraction_words(1.0), fraction_words(0.0103)
    ('1/100', 'full', '1.03 %')

    Raises:
        ValueError: it is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"budget_fraction must be in (0, 1], got {fraction}")
    if fraction == 1:
        return "full"
    exact = Fraction(fraction).limit_denominator(10_000)
    near = exact.numerator == 1 and abs(float(exact) - fraction) < 1e-9
    return f"1/{exact.denominator:,}" if near else f"{100 * fraction:g} %"


def budget_words(fraction: float) -> str:
    """Return the label of a budget.

    >>> budget_words(0.1)
    "shorter run: 1/10 of the paper's updates"
    """
    if fraction_words(fraction) == "full":
        return "the paper's number of updates"
    return f"shorter run: {fraction_words(fraction)} of the paper's updates"


def schedule_words(description: Mapping[str, Any]) -> str:
    """Return a schedule's description in a few words.

    >>> schedule_words({"name": "hann", "arguments": {"max_lr": 0.006, "half_cycle_steps": 9}})
    'hann(max_lr 0.006, half_cycle_steps 9)'
    >>> one = {"name": "constant", "arguments": {"lr": 0.1}}
    >>> schedule_words({"name": "staged", "arguments": {"stages": [[0, one], [60, one]]}})
    'constant(lr 0.1), from update 60 constant(lr 0.1)'
    """
    return ", ".join(stage_words(description))


def stage_words(description: Mapping[str, Any]) -> list[str]:
    """Return a schedule's description as a list of stages; most have one.

    >>> one, two = ({"name": "constant", "arguments": {"lr": lr}} for lr in (0.1, 0.01))
    >>> stage_words({"name": "staged", "arguments": {"stages": [[0, one], [60, two]]}})
    ['constant(lr 0.1)', 'from update 60 constant(lr 0.01)']
    """
    name = str(description.get("name", "a schedule"))
    arguments = description.get("arguments")
    if not isinstance(arguments, Mapping):
        arguments = {key: value for key, value in description.items() if key != "name"}
    stages = arguments.get("stages")
    if name == "staged" and isinstance(stages, Sequence):
        return [
            (f"from update {number(first)} " if first else "") + schedule_words(stage)
            for first, stage in stages
        ]
    inside = ", ".join(f"{key} {_argument_words(value)}" for key, value in arguments.items())
    return [f"{name}({inside})" if inside else name]


def _argument_words(value: object) -> str:
    if isinstance(value, Mapping):
        return schedule_words(value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " / ".join(_argument_words(item) for item in value)
    return str(value)
