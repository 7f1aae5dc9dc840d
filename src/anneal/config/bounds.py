"""Bounds of a range test applied to a scheduler's arguments."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from anneal.schedules.registry import SCHEDULES, Role


def apply_bounds(
    name: str, arguments: Mapping[str, Any], base_lr: float, max_lr: float
) -> dict[str, Any]:
    """Put a pair of bounds into a scheduler's arguments, in the form of YAML.

    ``staged``: the first stage gets the bounds; later stages keep their ratio to the first (Smith,
    Table 2, divides both bounds by 10 at each stage). ``warmup``: the schedule after it gets the
    bounds; ``first_lr`` keeps its ratio to that schedule's highest keyword, since a warm-up starts
    below the bounds by design. ``held`` and ``lowered``: the schedule inside gets the bounds.

    >>> apply_bounds("triangular", {"base_lr": 1, "max_lr": 2, "half_cycle": "4 epochs"}, 0.1, 0.6)
    {'base_lr': 0.1, 'max_lr': 0.6, 'half_cycle': '4 epochs'}

    Args:
        name: of a function in ``anneal.schedules``.
        arguments: its arguments without the name; not modified.
        base_lr: lower bound, > 0.
        max_lr: upper bound, > base_lr.

    Raises:
        ValueError: the bounds are not two rates in rising order, the scheduler is unknown or takes
            no bounds, or a rate that must keep its ratio has none.
    """
    if not (math.isfinite(max_lr) and 0 < base_lr < max_lr):
        raise ValueError(f"bounds must be 0 < base_lr < max_lr, got {base_lr} and {max_lr}")
    entry = SCHEDULES.get(name)
    if entry is None:
        known = ", ".join(sorted(n for n, e in SCHEDULES.items() if e.bounds))
        raise ValueError(f"scheduler must be one that takes bounds ({known}), got {name!r}")
    if not entry.bounds:
        raise ValueError(f"{name} takes no bounds: {entry.no_bounds}")
    bounds: dict[Role, float] = {"base": base_lr, "max": max_lr}
    changed = dict(arguments)
    for keyword, role in entry.bounds.items():
        if role == "stages":
            changed[keyword] = _bound_stages(arguments, base_lr, max_lr, key=f"{name}.{keyword}")
        elif role == "inside":
            inner, inside = _named_section(arguments, keyword, where=name)
            changed[keyword] = {"name": inner, **apply_bounds(inner, inside, base_lr, max_lr)}
        elif role == "with inside":
            changed[keyword] = _follow_inside(name, arguments, changed, keyword)
        elif role in bounds:
            changed[keyword] = bounds[role]
        else:
            follows: Role = "base" if role == "with base" else "max"
            leader = next(k for k, r in entry.bounds.items() if r == follows)
            value, led_by = arguments.get(keyword), arguments.get(leader)
            ratio = _ratio(value, led_by, f"{name}.{keyword}", f"{name}.{leader}")
            changed[keyword] = ratio * bounds[follows]
    floor = arguments.get("min_lr", 0.0)
    if isinstance(floor, int | float) and floor > max_lr:
        raise ValueError(f"{name}.min_lr must be at most max_lr = {max_lr:g}, got {floor:g}")
    return changed


def _bound_stages(
    arguments: Mapping[str, Any], base_lr: float, max_lr: float, *, key: str
) -> list[dict[str, Any]]:
    """Put the bounds into the first stage and scale the later stages by the same factors."""
    stages = arguments.get(key.rpartition(".")[2])
    if not isinstance(stages, Sequence) or isinstance(stages, str) or not stages:
        raise ValueError(f"{key} must be a list of stages, got {stages!r}")
    name, inner = _named_section(stages[0], "schedule", where=f"{key}[0]")
    first = apply_bounds(name, inner, base_lr, max_lr)
    factors = _factors(name, before=inner, after=first, where=f"{key}[0].schedule")
    changed = [{**stages[0], "schedule": {"name": name, **first}}]
    for i, stage in enumerate(stages[1:], start=1):
        name, inner = _named_section(stage, "schedule", where=f"{key}[{i}]")
        section = {"name": name, **_scale(name, inner, factors, f"{key}[{i}].schedule")}
        changed.append({**stage, "schedule": section})
    return changed


def _follow_inside(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], keyword: str
) -> float:
    """Return a rate that keeps its ratio to the highest rate of the schedule inside."""
    inside = next(k for k, role in SCHEDULES[name].bounds.items() if role == "inside")
    inner, section = _named_section(before, inside, where=name)
    key = f"{name}.{inside}"
    peak = _highest(inner, section, key=key)
    bound_peak = _highest(inner, after[inside], key=key)
    ratio = _ratio(before.get(keyword), peak, f"{name}.{keyword}", "the schedule's peak")
    assert bound_peak is not None
    return ratio * bound_peak


def _scale(
    name: str, arguments: Mapping[str, Any], factors: Mapping[str, float], where: str
) -> dict[str, Any]:
    """Multiply each rate of a later stage by the factor of the same bound of the first stage."""
    if not _is_plain(name):
        raise ValueError(f"{where}: only plain schedules can follow in stages, got {name!r}")
    changed = dict(arguments)
    for keyword, role in SCHEDULES[name].bounds.items():
        bound = role.removeprefix("with ")
        # A first stage with only one bound (a constant rate) scales both by the same factor.
        factor = factors.get(bound, next(iter(factors.values())))
        changed[keyword] = _number(arguments.get(keyword), f"{where}.{keyword}") * factor
    if changed.get("base_lr", 0.0) > changed.get("max_lr", math.inf):
        raise ValueError(
            f"{where}: with these bounds base_lr would be above max_lr "
            f"({changed['base_lr']:g} and {changed['max_lr']:g})"
        )
    return changed


def _factors(
    name: str, *, before: Mapping[str, Any], after: Mapping[str, Any], where: str
) -> dict[str, float]:
    """Return the factor of each bound of a schedule."""
    if not _is_plain(name):
        raise ValueError(f"{where}: the first stage must be a plain schedule, got {name!r}")
    return {
        role: after[keyword] / _positive(before.get(keyword), f"{where}.{keyword}")
        for keyword, role in SCHEDULES[name].bounds.items()
        if role in ("base", "max")
    }


def _highest(name: str, arguments: Mapping[str, Any], *, key: str) -> float | None:
    """Return the keyword's value for the upper bound, or for the lower if there is no upper."""
    if not _is_plain(name):
        raise ValueError(f"{key} must be a plain schedule to take bounds, got {name!r}")
    roles = {role: keyword for keyword, role in SCHEDULES[name].bounds.items()}
    value = arguments.get(roles.get("max", roles.get("base", "")))
    return float(value) if isinstance(value, int | float) else None


def _is_plain(name: str) -> bool:
    """Return whether a schedule's own keywords take the bounds, not a schedule inside it."""
    entry = SCHEDULES.get(name)
    roles = set(entry.bounds.values()) if entry else set()
    return bool(roles) and roles.isdisjoint({"inside", "with inside", "stages"})


def _named_section(section: object, keyword: str, *, where: str) -> tuple[str, dict[str, Any]]:
    inner = section.get(keyword) if isinstance(section, Mapping) else None
    if not isinstance(inner, Mapping) or "name" not in inner:
        raise ValueError(
            f"{where}.{keyword} must be a scheduler section with a name, got {inner!r}"
        )
    arguments = dict(inner)
    return str(arguments.pop("name")), arguments


def _ratio(value: object, leader: object, name: str, leader_name: str) -> float:
    return _number(value, name) / _positive(leader, leader_name)


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, to keep its ratio, got {value!r}")
    return float(value)


def _positive(value: object, name: str) -> float:
    number = _number(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be positive, for ratios to it to exist, got {value!r}")
    return number
