"""Rates of parameter groups: ratios to the schedule, set without aliasing.

A group's *own rate* is the one it had before any scheduler: ``initial_lr`` where a scheduler of
torch's left it, else ``lr``. The *ratio* of a group is its rate over the schedule's.
"""

from collections.abc import Sequence
from typing import Any

import torch

from anneal.schedules.schedule import check_number, check_rate

# Written into each parameter group, and so into the optimizer's own state_dict: a second
# ScheduledLR, or one made after optimizer.load_state_dict, finds the ratio there and does not take
# a rate from the middle of a schedule for the group's own.
RATIO_KEY = "scheduled_lr_ratio"
LAYER_DECAY_KEY = "lr_scale"  # timm's: what its layer decay multiplies the rate of a group by


def find_ratios(
    groups: Sequence[dict[str, Any]],
    *,
    default_lr: float | None,
    known: Sequence[float] = (),
    given: Sequence[float] | None = None,
) -> list[float]:
    """Return the ratio of each parameter group.

    Args:
        groups: The optimizer's parameter groups.
        default_lr: The optimizer's default rate, None where it has none.
        known: Ratios of the first groups, found before.
        given: Ratios that the caller asked for, one for each group; they come before all else.

    Raises:
        ValueError: A ratio is ambiguous; says why and what to do.
    """
    if given is not None:
        if len(given) != len(groups):
            raise ValueError(
                f"ratios must have one number for each of the {len(groups)} parameter groups, "
                f"got {list(given)!r}"
            )
        return [check_rate(f"ratios[{index}]", ratio) for index, ratio in enumerate(given)]
    ratios = list(known)
    added = range(len(ratios), len(groups))
    unknown = {index: own_rate(groups, index) for index in added if RATIO_KEY not in groups[index]}
    alike = not ratios and len(unknown) == len(groups) and len(set(unknown.values())) == 1
    if unknown and not alike:
        alone = len(unknown) == len(groups)  # no group has the default rate
        _check_reference(unknown, default_lr=default_lr, must_have_default=alone)
    for index in added:
        group = groups[index]
        if RATIO_KEY in group:
            ratios.append(check_number(f"{RATIO_KEY} of parameter group {index}", group[RATIO_KEY]))
            continue
        scale = float(group.get(LAYER_DECAY_KEY, 1.0))
        ratios.append(scale if alike else scale * unknown[index] / float(default_lr or 0))
    return ratios


def own_rate(groups: Sequence[dict[str, Any]], index: int) -> float:
    """Return the rate that a group had before any scheduler changed it."""
    rate = groups[index].get("initial_lr", groups[index].get("lr"))
    if rate is None:
        raise ValueError(f"parameter group {index} must have an lr, got {sorted(groups[index])}")
    return float(rate)


def _check_reference(
    rates: dict[int, float], *, default_lr: float | None, must_have_default: bool
) -> None:
    """Refuse rates of groups that cannot be compared with a default rate."""
    shown = ", ".join(f"{rate:g} (group {index})" for index, rate in rates.items())
    way_out = (
        "say them with ScheduledLR(..., ratios=[1.0, ...]), or add the group with "
        f'"{RATIO_KEY}": 1.0'
    )
    if not default_lr:
        raise ValueError(
            "the optimizer's default lr must be positive when its parameter groups have rates of "
            f"their own, got {default_lr!r} and {shown}; {way_out}"
        )
    if must_have_default and default_lr not in rates.values():
        raise ValueError(
            f"the ratios of the parameter groups are ambiguous: none of their rates {shown} is "
            f"the optimizer's default lr {default_lr:g}; {way_out}"
        )


def separate_rates(optimizer: torch.optim.Optimizer, *, first: int) -> None:
    """Give each group from ``first`` on a rate tensor of its own.

    ``Adam(..., lr=torch.tensor(0.1))`` puts one tensor into its defaults and into every group that
    names no rate. Filling it for one group would change the others, the default, and groups added
    later. The tensors of earlier groups stay: a captured graph or a compiled step reads them.
    """
    groups = optimizer.param_groups
    seen = {id(group["lr"]) for group in groups[:first]}
    for group in groups[first:]:
        rate = group.get("lr")
        if isinstance(rate, torch.Tensor):
            if id(rate) in seen:
                group["lr"] = rate.clone()
            seen.add(id(group["lr"]))
    default = optimizer.defaults.get("lr")
    if isinstance(default, torch.Tensor) and id(default) in seen:
        optimizer.defaults["lr"] = default.clone()


def set_value(group: dict[str, Any], key: str, value: float) -> None:
    """Set a number of a group; a tensor is filled, since a captured graph reads that tensor."""
    current = group[key]
    if isinstance(current, torch.Tensor):
        current.fill_(value)
    else:
        group[key] = value


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set the momentum of a group, or the first of its betas."""
    if "momentum" in group:
        set_value(group, "momentum", momentum)
        return
    beta1, *others = group["betas"]
    if isinstance(beta1, torch.Tensor):
        beta1.fill_(momentum)
    else:
        group["betas"] = (momentum, *others)


def check_has_momentum(groups: Sequence[dict[str, Any]]) -> None:
    """Refuse an optimizer whose groups have neither ``momentum`` nor ``betas``."""
    for index, group in enumerate(groups):
        if "momentum" not in group and "betas" not in group:
            raise ValueError(
                f"momentum must be None for an optimizer with neither momentum nor betas, "
                f"got a schedule and parameter group {index} with {sorted(group)}"
            )


def readable(rate: object) -> float | None:
    """Return a rate as a float, or None for a tensor whose device would need a synchronization."""
    if isinstance(rate, torch.Tensor):
        return float(rate) if rate.device.type == "cpu" else None
    return float(rate)  # type: ignore[arg-type]
