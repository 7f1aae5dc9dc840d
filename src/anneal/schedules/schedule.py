"""The type ``Schedule``, and argument checks that all schedules share.

A schedule is a pure function: the number of updates already made goes in, the value for the next
update comes out. It keeps no state, so resuming, plotting and testing need an integer and nothing
else. The first update of a run is index 0, the last one is index ``total_steps - 1``.
"""

import math
import operator
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

__all__ = ["Schedule"]


class Schedule:
    """A value for every update, with the name and the arguments that made it.

    A training loop only calls it. Name and arguments make two schedules comparable, and let a
    checkpoint say which schedule it belongs to. Builders such as ``triangular`` make schedules; a
    builder of your own does the same, and its schedules then compare, print and pickle like ours:

    >>> def sawtooth(*, top: float) -> Schedule:
    ...     return Schedule(sawtooth, {"top": top}, lambda update: top * (update % 4) / 4)
    >>> lr = sawtooth(top=2.0)
    >>> [lr(update) for update in range(5)]
    [0.0, 0.5, 1.0, 1.5, 0.0]
    >>> lr.describe()
    {'name': 'sawtooth', 'arguments': {'top': 2.0}}
    >>> lr == sawtooth(top=2.0), lr == sawtooth(top=3.0)
    (True, False)

    Args:
        build: The builder, a function at the top level of a module (pickle finds it there by name).
        arguments: The builder's arguments by keyword, already checked: numbers, strings, booleans,
            schedules, or tuples of these.
        curve: Updates already made, an integer of at least 0, to the value for the next update.
    """

    # The instance dict is for torch's LambdaLR, which saves and loads it as the function's state.
    __slots__ = ("__dict__", "_arguments", "_build", "_curve")

    def __init__(
        self,
        build: Callable[..., "Schedule"],
        arguments: Mapping[str, Any],
        curve: Callable[[int], float],
    ) -> None:
        self._build = build
        self._arguments = dict(arguments)
        self._curve = curve
        self.__dict__.update(self.describe())

    def __call__(self, update: int) -> float:
        """Return the value for the next update when ``update`` updates have been made.

        Raises:
            ValueError: ``update`` is negative or not an integer.
        """
        if type(update) is not int or update < 0:
            update = check_count("update", update)
        return self._curve(update)

    @property
    def name(self) -> str:
        """The builder's name."""
        return self._build.__name__

    @property
    def arguments(self) -> dict[str, Any]:
        """The builder's arguments by keyword (a copy)."""
        return dict(self._arguments)

    def describe(self) -> dict[str, Any]:
        """Return name and arguments as plain dicts, lists, numbers and strings, ready for JSON.

        ``anneal.schedules.from_description`` is the way back.
        """
        arguments = {key: _to_plain(value) for key, value in self._arguments.items()}
        return {"name": self.name, "arguments": arguments}

    def as_lambda(self, *, base_lr: float) -> "LambdaFactor":
        """Return the schedule as torch's ``LambdaLR`` takes one: a factor of the optimizer's rate.

        ``LambdaLR`` multiplies the rate that the optimizer was made with, so a schedule of absolute
        rates is divided by it here. For ``SGD(..., lr=0.1)`` this is
        ``LambdaLR(optimizer, schedule.as_lambda(base_lr=0.1))``. The factor saves and loads inside
        the state of ``LambdaLR``.

        >>> from anneal.schedules import triangular
        >>> factor = triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2).as_lambda(base_lr=2.0)
        >>> [factor(update) for update in range(3)]
        [0.5, 1.5, 2.5]

        Raises:
            ValueError: ``base_lr`` is not positive.
        """
        return LambdaFactor(self, check_positive("base_lr", base_lr))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return self.name == other.name and self._arguments == other._arguments

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self._arguments.items())))

    def __repr__(self) -> str:
        inside = ", ".join(f"{key}={value!r}" for key, value in self._arguments.items())
        return f"{self.name}({inside})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._build, self._arguments)


class LambdaFactor:
    """A schedule over a fixed rate; what :meth:`Schedule.as_lambda` returns.

    Its instance dict holds its description, which is all that ``LambdaLR`` saves of it.
    """

    __slots__ = ("__dict__", "_base_lr", "_schedule")

    def __init__(self, schedule: Schedule, base_lr: float) -> None:
        self._schedule, self._base_lr = schedule, base_lr
        self.__dict__.update(schedule=schedule.describe(), base_lr=base_lr)

    def __call__(self, update: int) -> float:
        """Return the schedule's value for ``update`` updates made, over the fixed rate."""
        return self._schedule(update) / self._base_lr

    def __reduce__(self) -> tuple[Any, ...]:
        return LambdaFactor, (self._schedule, self._base_lr)


def _rebuild(build: Callable[..., Schedule], arguments: dict[str, Any]) -> Schedule:
    return build(**arguments)


def _to_plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.describe()
    if isinstance(value, tuple):
        return [_to_plain(item) for item in value]
    return value


def interpolate(low: float, high: float, height: float) -> float:
    """Return the value at ``height`` (0..1) on the way from ``low`` up to ``high``.

    Counted from the nearer end, so that both ends are exact and no value is outside them. The
    plain form is neither in floating point:

    >>> low, high = 0.3, 0.9
    >>> low + (high - low) * 1.0, interpolate(low, high, 1.0)
    (0.9000000000000001, 0.9)
    """
    if height <= 0.5:
        return low + (high - low) * height
    return high - (high - low) * (1.0 - height)


def check_number(name: str, value: object) -> float:
    """Return ``value`` as a float; it must be a finite number, not a boolean or a string."""
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer of more than 308 digits
            number = math.inf
        if math.isfinite(number):
            return number
    raise ValueError(f"{name} must be a finite number, got {value!r}")


def check_rate(name: str, value: object) -> float:
    """Return ``value`` as a float; it must not be negative."""
    number = check_number(name, value)
    if number < 0:
        raise ValueError(f"{name} must not be negative, got {value!r}")
    return number


def check_positive(name: str, value: object) -> float:
    """Return ``value`` as a float; it must be positive."""
    number = check_number(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return number


def check_factor(name: str, value: object) -> float:
    """Return ``value`` as a float; it must be in (0, 1]."""
    number = check_number(name, value)
    if not 0 < number <= 1:
        raise ValueError(f"{name} must be in (0, 1], got {value!r}")
    return number


def check_integer(name: str, value: object) -> int:
    """Return ``value`` as an int; it must be an integer (numpy's too), not a boolean or 3.0."""
    if isinstance(value, bool):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    try:
        return operator.index(value)  # type: ignore[arg-type]  # the question is whether it is one
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None


def check_count(name: str, value: object) -> int:
    """Return ``value`` as an int; it must be an integer of at least 0."""
    count = check_integer(name, value)
    if count < 0:
        raise ValueError(f"{name} must not be negative, got {value!r}")
    return count


def check_steps(name: str, value: object, *, least: int = 1) -> int:
    """Return ``value`` as an int; it must be an integer of at least ``least``."""
    steps = check_integer(name, value)
    if steps < least:
        rule = "positive" if least == 1 else f"at least {least}"
        raise ValueError(f"{name} must be {rule}, got {value!r}")
    return steps


def check_order(*, low: tuple[str, float], high: tuple[str, float]) -> None:
    """Refuse bounds the wrong way round; ``low`` and ``high`` are (name, value)."""
    if high[1] < low[1]:
        raise ValueError(f"{high[0]} must be at least {low[0]} = {low[1]!r}, got {high[1]!r}")


def check_flag(name: str, value: object) -> bool:
    """Return ``value``, which must be True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value


def check_schedule(name: str, value: object) -> Schedule:
    """Return ``value``, which must be a Schedule: a plain function has no description to save."""
    if not isinstance(value, Schedule):
        raise ValueError(f"{name} must be a Schedule, got {value!r}")
    return value
