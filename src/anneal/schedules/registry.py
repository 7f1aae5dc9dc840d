"""Every schedule by its name, and the way back from a description to the schedule."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from anneal.schedules.composed import held, lowered, staged, warmup, warmup_stable_decay
from anneal.schedules.cosine import cosine, cosine_restarts
from anneal.schedules.cyclical import exp_range, hann, triangular, triangular2, welch
from anneal.schedules.decay import (
    constant,
    exponential,
    inverse,
    linear_decay,
    polynomial,
    step_decay,
)
from anneal.schedules.one_cycle import one_cycle, one_cycle_momentum
from anneal.schedules.ramp import exponential_ramp, linear_ramp
from anneal.schedules.schedule import Schedule

BUILDERS: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "step_decay": step_decay,
    "exponential": exponential,
    "inverse": inverse,
    "polynomial": polynomial,
    "linear_decay": linear_decay,
    "triangular": triangular,
    "triangular2": triangular2,
    "welch": welch,
    "hann": hann,
    "exp_range": exp_range,
    "cosine": cosine,
    "cosine_restarts": cosine_restarts,
    "one_cycle": one_cycle,
    "one_cycle_momentum": one_cycle_momentum,
    "linear_ramp": linear_ramp,
    "exponential_ramp": exponential_ramp,
    "staged": staged,
    "warmup": warmup,
    "warmup_stable_decay": warmup_stable_decay,
    "held": held,
    "lowered": lowered,
}


def from_description(description: Mapping[str, Any]) -> Schedule:
    """Return the schedule that ``describe()`` described, nested schedules included.

    >>> from_description({"name": "constant", "arguments": {"lr": 0.1}})
    constant(lr=0.1)

    Args:
        description: ``{"name": ..., "arguments": {...}}``, also after a journey through JSON or
            YAML. Arguments with a default may be left out.

    Raises:
        ValueError: The description has other keys, the name is none of ours, arguments are unknown
            or missing, or the builder refuses a value.
    """
    if not _is_description(description):
        raise ValueError(
            f"a description must be a dict of name and arguments alone, got {description!r}"
        )
    name, arguments = description["name"], description["arguments"]
    build = BUILDERS.get(name) if isinstance(name, str) else None
    if build is None:
        raise ValueError(f"name must be one of {', '.join(BUILDERS)}, got {name!r}")
    if not isinstance(arguments, Mapping):
        raise ValueError(f"arguments of {name} must be a dict, got {arguments!r}")
    parameters = inspect.signature(build).parameters
    unknown = sorted(str(key) for key in arguments if key not in parameters)
    missing = [
        key
        for key, parameter in parameters.items()
        if key not in arguments and parameter.default is parameter.empty
    ]
    if unknown or missing:
        raise ValueError(
            f"arguments of {name} must be {', '.join(parameters)}: "
            f"unknown {unknown}, missing {missing}"
        )
    return build(**{key: _from_plain(value) for key, value in arguments.items()})


def _is_description(value: object) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"name", "arguments"}


def _from_plain(value: Any) -> Any:
    if _is_description(value):
        return from_description(value)
    if isinstance(value, (list, tuple)):
        return tuple(_from_plain(item) for item in value)
    return value
