"""From a pair of bounds to a scheduler's keywords (PURE)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Role = Literal["base", "max", "with base", "with max"]

# Which bound each keyword takes. "with base" and "with max" keep their ratio to the keyword that
# takes that bound. A keyword that is not named here (a length, a factor, a floor) stays.
_ROLES: dict[str, dict[str, Role]] = {
    # Rates that are held for long take the lower bound, as every fixed row of Smith's does: "just
    # the lower bound was used for base_lr for the fixed policy" (1506.01186v6, Table 3); 0.001 of
    # 0.001-0.006 and 0.01 of 0.01-0.015 with their drops (Table 1), 0.1 of 0.1-0.3 (Table 4).
    "constant": {"lr": "base"},
    "step_decay": {"initial_lr": "base"},
    # Rates that fall from the first update on see their first value only then: they start at the
    # upper bound, as CLR's "decay" policy does (section 4.1.1).
    "exponential": {"initial_lr": "max"},
    "inverse": {"initial_lr": "max"},
    "polynomial": {"initial_lr": "max"},
    "linear_decay": {"base_lr": "base", "max_lr": "max"},
    # Cycles run between the bounds: what the range test is for (section 3.3).
    "triangular": {"base_lr": "base", "max_lr": "max"},
    "triangular2": {"base_lr": "base", "max_lr": "max"},
    "welch": {"base_lr": "base", "max_lr": "max"},
    "hann": {"base_lr": "base", "max_lr": "max"},
    "exp_range": {"base_lr": "base", "max_lr": "max"},
    # Annealing goes down to its own floor, 0 in SGDR (1608.03983v5, section 4.1): that is not where
    # learning starts but where it ends, so the lower bound is no reading of it.
    "cosine": {"max_lr": "max"},
    "cosine_restarts": {"max_lr": "max"},
    # 1cycle climbs between the bounds; its last rate lies far below them by design (1803.09820,
    # section 4), as far below base_lr as before.
    "one_cycle": {"base_lr": "base", "max_lr": "max", "final_lr": "with base"},
    "warmup_stable_decay": {"max_lr": "max", "final_lr": "with max"},
}

_FOLLOWING = ("held", "lowered")  # their rates are another schedule's
_REFUSED = {
    "one_cycle_momentum": "it sets a momentum and no rate",
    "linear_ramp": "it is the sweep that finds bounds, not a use of them",
    "exponential_ramp": "it is the sweep that finds bounds, not a use of them",
}


def apply_bounds(
    name: str, arguments: Mapping[str, Any], base_lr: float, max_lr: float
) -> dict[str, Any]:
    """Put a pair of bounds into a scheduler's arguments, as YAML has them.

    ``staged``: the first stage gets the bounds, later ones are scaled as it is, each keeping its
    ratio to the first (Smith, Table 2, divides both bounds by 10 at each stage). ``warmup``: the
    schedule that it leads to gets the bounds, ``first_lr`` keeps its ratio to that schedule's
    highest keyword, since a warm-up starts below the bounds by design. ``held`` and ``lowered``:
    the schedule that they follow gets the bounds.

    >>> apply_bounds("triangular", {"base_lr": 1, "max_lr": 2, "half_cycle": "4 epochs"}, 0.1, 0.6)
    {'base_lr': 0.1, 'max_lr': 0.6, 'half_cycle': '4 epochs'}

    Args:
        name: of a function in ``anneal.schedules``.
        arguments: its arguments without the name; left as they are.
        base_lr: lower bound, > 0.
        max_lr: upper bound, > base_lr.

    Raises:
        ValueError: the pair is no pair, the scheduler is unknown or has no use for bounds, or a
            rate that must keep a ratio has none to keep.
    """
    if not (math.isfinite(max_lr) and 0 < base_lr < max_lr):
        raise ValueError(f"bounds must be 0 < base_lr < max_lr, got {base_lr} and {max_lr}")
    if name == "staged":
        return _apply_to_stages(arguments, base_lr, max_lr)
    if name == "warmup":
        return _apply_to_warmup(arguments, base_lr, max_lr)
    if name in _FOLLOWING:
        followed, inner = _named_section(arguments, name)
        section = {"name": followed, **apply_bounds(followed, inner, base_lr, max_lr)}
        return {**arguments, "schedule": section}
    if name in _REFUSED:
        raise ValueError(f"{name} takes no bounds: {_REFUSED[name]}")
    if name not in _ROLES:
        known = ", ".join(sorted([*_ROLES, *_FOLLOWING, "staged", "warmup"]))
        raise ValueError(f"scheduler must be one that takes bounds ({known}), got {name!r}")
    bounds: dict[Role, float] = {"base": base_lr, "max": max_lr}
    changed = dict(arguments)
    for keyword, role in _ROLES[name].items():
        if role in bounds:
            changed[keyword] = bounds[role]
            continue
        follows: Role = "base" if role == "with base" else "max"
        leader = next(k for k, r in _ROLES[name].items() if r == follows)
        ratio = _ratio(
            arguments.get(keyword), arguments.get(leader), f"{name}.{keyword}", f"{name}.{leader}"
        )
        changed[keyword] = ratio * bounds[follows]
    floor = arguments.get("min_lr", 0.0)
    if isinstance(floor, int | float) and floor > max_lr:
        raise ValueError(f"{name}.min_lr must be at most max_lr = {max_lr:g}, got {floor:g}")
    return changed


def _apply_to_stages(arguments: Mapping[str, Any], base_lr: float, max_lr: float) -> dict[str, Any]:
    stages = arguments.get("stages")
    if not isinstance(stages, Sequence) or isinstance(stages, str) or not stages:
        raise ValueError(f"staged.stages must be a list of stages, got {stages!r}")
    name, inner = _named_section(stages[0], "staged.stages[0]")
    first = apply_bounds(name, inner, base_lr, max_lr)
    factors = _factors(name, before=inner, after=first, where="staged.stages[0].schedule")
    changed = [{**stages[0], "schedule": {"name": name, **first}}]
    for i, stage in enumerate(stages[1:], start=1):
        name, inner = _named_section(stage, f"staged.stages[{i}]")
        section = {"name": name, **_scale(name, inner, factors, f"staged.stages[{i}].schedule")}
        changed.append({**stage, "schedule": section})
    return {**arguments, "stages": changed}


def _apply_to_warmup(arguments: Mapping[str, Any], base_lr: float, max_lr: float) -> dict[str, Any]:
    name, inner = _named_section(arguments, "warmup")
    changed = apply_bounds(name, inner, base_lr, max_lr)
    before, after = _highest(name, inner), _highest(name, changed)
    ratio = _ratio(arguments.get("first_lr"), before, "warmup.first_lr", "the schedule's peak")
    assert after is not None
    return {**arguments, "first_lr": ratio * after, "schedule": {"name": name, **changed}}


def _scale(
    name: str, arguments: Mapping[str, Any], factors: Mapping[str, float], where: str
) -> dict[str, Any]:
    """Multiply each rate of a later stage as the same bound of the first stage was multiplied."""
    if name not in _ROLES:
        raise ValueError(f"{where}: only plain schedules can follow in stages, got {name!r}")
    changed = dict(arguments)
    for keyword, role in _ROLES[name].items():
        bound = role.removeprefix("with ")
        # A first stage that has only one of the bounds (a constant rate) scales both alike.
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
    """Return by how much each bound of a schedule was multiplied."""
    if name not in _ROLES:
        raise ValueError(f"{where}: the first stage must be a plain schedule, got {name!r}")
    return {
        role: after[keyword] / _positive(before.get(keyword), f"{where}.{keyword}")
        for keyword, role in _ROLES[name].items()
        if role in ("base", "max")
    }


def _highest(name: str, arguments: Mapping[str, Any]) -> float | None:
    """Return the keyword that takes the upper bound, or the lower where there is no upper one."""
    if name not in _ROLES:
        raise ValueError(f"warmup.schedule must be a plain schedule to take bounds, got {name!r}")
    roles = {role: keyword for keyword, role in _ROLES[name].items()}
    value = arguments.get(roles.get("max", roles.get("base", "")))
    return float(value) if isinstance(value, int | float) else None


def _named_section(section: object, where: str) -> tuple[str, dict[str, Any]]:
    inner = section.get("schedule") if isinstance(section, Mapping) else None
    if not isinstance(inner, Mapping) or "name" not in inner:
        raise ValueError(f"{where}.schedule must be a scheduler section with a name, got {inner!r}")
    arguments = dict(inner)
    return str(arguments.pop("name")), arguments


def _ratio(value: object, leader: object, name: str, leader_name: str) -> float:
    return _number(value, name) / _positive(leader, leader_name)


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, so that its ratio can be kept, got {value!r}")
    return float(value)


def _positive(value: object, name: str) -> float:
    number = _number(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be positive, so that ratios to it exist, got {value!r}")
    return number
