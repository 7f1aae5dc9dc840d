"""Code snippets that build a schedule, with anneal or with torch alone.

A snippet needs only the name ``optimizer``. It has a torch version if a scheduler of torch follows
the same curve to the last digits; if none does, it has the reason.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Description = Mapping[str, Any]  # of a schedule: {"name": ..., "arguments": {...}}
WIDTH = 88  # characters in a line, the default of common formatters


@dataclass(frozen=True, kw_only=True)
class TorchSnippet:
    """Snippet with torch alone.

    Args:
        code: the snippet; None if no scheduler of torch follows the same curve.
        reason: why there is none; empty if there is one.
    """

    code: str | None
    reason: str = ""


class _NotInTorchError(Exception):
    """Torch has no such scheduler; the message is the reason."""


def anneal_snippet(schedule: Description, momentum: Description | None = None) -> str:
    """Return the code for a schedule, and one of momentum, with :class:`anneal.ScheduledLR`.

    >>> print(anneal_snippet({"name": "constant", "arguments": {"lr": 0.1}}))
    from anneal import ScheduledLR, constant
    <BLANKLINE>
    scheduled = ScheduledLR(optimizer, constant(lr=0.1))
    # once after each optimizer.step(): scheduled.step()
    """
    names = {"ScheduledLR"}
    parts = ["optimizer", _written(schedule, names, indent=4)]
    if momentum is not None:
        parts.append(f"momentum={_written(momentum, names, indent=4)}")
    call = _call("scheduled = ScheduledLR", parts)
    return (
        f"from anneal import {', '.join(sorted(names))}\n\n{call}\n"
        "# once after each optimizer.step(): scheduled.step()"
    )


def torch_snippet(schedule: Description, momentum: Description | None = None) -> TorchSnippet:
    """Return the code for the same schedule with a scheduler of torch, or the reason for none.

    It follows the curve over the length of the run. After the end of a finite schedule torch's may
    rise again or raise. Torch scales each parameter group from its own rate; the code gives all
    groups the same one.

    >>> cosine = {"name": "cosine",
    ...           "arguments": {"min_lr": 0.0, "max_lr": 0.1, "total_steps": 300}}
    >>> print(torch_snippet(cosine).code)
    from torch.optim.lr_scheduler import CosineAnnealingLR
    <BLANKLINE>
    for group in optimizer.param_groups:
        group["lr"] = 0.1  # where the schedule starts
    scheduler = CosineAnnealingLR(optimizer, T_max=300, eta_min=0.0)
    # once after each optimizer.step(): scheduler.step()
    """
    name = str(schedule["name"])
    try:
        if name not in _TORCH:
            raise _NotInTorchError(f"no scheduler of torch is known to equal {name}")
        if momentum is not None and name != "one_cycle":
            raise _NotInTorchError(f"torch does not cycle the momentum with {name}")
        function, arguments, first_lr = _TORCH[name](schedule["arguments"], momentum)
    except _NotInTorchError as reason:
        return TorchSnippet(code=None, reason=str(reason))
    written = [f"{key}={value}" for key, value in arguments.items()]
    call = _call(f"scheduler = {function}", ["optimizer", *written])
    classes = ", ".join(sorted(set(re.findall(r"\b([A-Z]\w+)\(", call))))
    lines = [f"from torch.optim.lr_scheduler import {classes}", ""]
    if first_lr is not None:
        lines += [
            "for group in optimizer.param_groups:",
            f'    group["lr"] = {first_lr!r}  # where the schedule starts',
        ]
    lines += [
        call,
        "# once after each optimizer.step(): scheduler.step()",
    ]
    return TorchSnippet(code="\n".join(lines))


# Name and arguments of a scheduler of torch, as text, and the rate to give the groups before the
# call; None if the scheduler sets it.
_Call = tuple[str, dict[str, str], float | None]


def _constant(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    return "ConstantLR", {"factor": "1.0", "total_iters": "1"}, a["lr"]


def _step_decay(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    arguments = {"milestones": repr(list(a["milestones"])), "gamma": repr(a["factor"])}
    return "MultiStepLR", arguments, a["initial_lr"]


def _cosine(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    arguments = {"T_max": repr(a["total_steps"]), "eta_min": repr(a["min_lr"])}
    return "CosineAnnealingLR", arguments, a["max_lr"]


def _cosine_restarts(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    if a["max_lr_factor"] != 1:
        raise _NotInTorchError("torch's warm restarts all return to the same rate")
    arguments = {
        "T_0": repr(a["first_cycle_steps"]),
        "T_mult": repr(a["growth"]),
        "eta_min": repr(a["min_lr"]),
    }
    return "CosineAnnealingWarmRestarts", arguments, a["max_lr"]


def _polynomial(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    arguments = {"total_iters": repr(a["total_steps"]), "power": repr(a["power"])}
    return "PolynomialLR", arguments, a["initial_lr"]


def _warmup(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    """Return a line up to a schedule; torch multiplies the rate where that schedule starts."""
    name = str(a["schedule"]["name"])
    if name not in _TORCH:
        raise _NotInTorchError(f"no scheduler of torch is known to equal {name}")
    function, arguments, first_lr = _TORCH[name](a["schedule"]["arguments"], None)
    if first_lr is None or a["first_lr"] <= 0:
        raise _NotInTorchError("torch's LinearLR climbs from above 0 to the optimizer's rate")
    up = f"start_factor={a['first_lr']!r} / {first_lr!r}, total_iters={a['warmup_steps']}"
    then = ", ".join(f"{key}={value}" for key, value in arguments.items())
    parts = [f"LinearLR(optimizer, {up})", f"{function}(optimizer, {then})"]
    inside = "".join(f"\n        {part}," for part in parts)
    schedulers = {"schedulers": f"[{inside}\n    ]", "milestones": f"[{a['warmup_steps']}]"}
    return "SequentialLR", schedulers, first_lr


def _warmup_stable_decay(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    """Return its three lines as a factor of the stable rate; LinearLR cannot climb from 0."""
    left = a["warmup_steps"] + a["stable_steps"] + a["decay_steps"] - 1
    fall = f"max({left} - update, 0) / {a['decay_steps'] - 1}"
    if a["final_lr"] > 0:
        last = a["final_lr"] / a["max_lr"]
        fall = f"{last!r} + {1 - last!r} * min({fall}, 1.0)"
    factor = f"lambda update: min(update / {a['warmup_steps']}, 1.0, {fall})"
    return "LambdaLR", {"lr_lambda": factor}, a["max_lr"]


def _cycles(a: Mapping[str, Any], mode: str, **more: str) -> _Call:
    arguments = {
        "base_lr": repr(a["base_lr"]),
        "max_lr": repr(a["max_lr"]),
        "step_size_up": repr(a["half_cycle_steps"]),
        "mode": repr(mode).replace("'", '"'),
        **more,
        "cycle_momentum": "False",
    }
    return "CyclicLR", arguments, None


def _triangular(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    if a["divide_by_cycle"]:
        raise _NotInTorchError("torch's CyclicLR halves the height or keeps it, never divides it")
    return _cycles(a, "triangular")


def _triangular2(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    return _cycles(a, "triangular2")


def _exp_range(a: Mapping[str, Any], _momentum: Description | None) -> _Call:
    if a["decays"] != "amplitude":
        raise _NotInTorchError("torch's exp_range decays the height only, not both bounds")
    return _cycles(a, "exp_range", gamma=repr(a["gamma"]))


def _one_cycle(a: Mapping[str, Any], momentum: Description | None) -> _Call:
    """Return torch's three phases with the same ends as ours.

    Its first two end at the updates ``pct_start * total - 1`` and ``2 * pct_start * total - 2``,
    ours at ``half`` and ``2 * half``: ``pct_start`` is ``(half + 1) / total``.
    """
    if a["final_lr"] <= 0:
        raise _NotInTorchError(
            "torch's OneCycleLR divides the first rate to get the last one, which cannot be 0"
        )
    arguments = {
        "max_lr": repr(a["max_lr"]),
        "total_steps": repr(a["total_steps"]),
        "pct_start": f"{a['half_cycle_steps'] + 1} / {a['total_steps']}",
        "div_factor": f"{a['max_lr']!r} / {a['base_lr']!r}",
        "final_div_factor": f"{a['base_lr']!r} / {a['final_lr']!r}",
        "anneal_strategy": '"linear"',
        "three_phase": "True",
    }
    if momentum is None:
        return "OneCycleLR", arguments | {"cycle_momentum": "False"}, None
    m = momentum["arguments"]
    same = all(m.get(key) == a[key] for key in ("half_cycle_steps", "total_steps"))
    if momentum["name"] != "one_cycle_momentum" or not same:
        raise _NotInTorchError("torch's OneCycleLR cycles the momentum only in step with the rate")
    arguments |= {
        "base_momentum": repr(m["min_momentum"]),
        "max_momentum": repr(m["max_momentum"]),
    }
    return "OneCycleLR", arguments, None


_TORCH: dict[str, Callable[[Mapping[str, Any], Description | None], _Call]] = {
    "constant": _constant,
    "step_decay": _step_decay,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "polynomial": _polynomial,
    "warmup": _warmup,
    "warmup_stable_decay": _warmup_stable_decay,
    "triangular": _triangular,
    "triangular2": _triangular2,
    "exp_range": _exp_range,
    "one_cycle": _one_cycle,
}


def _written(value: object, names: set[str], *, indent: int = 0) -> str:
    """Return the call that builds a described schedule; add the names it needs to ``names``."""
    if isinstance(value, Mapping):
        names.add(str(value["name"]))
        arguments = [f"{key}={_written(v, names)}" for key, v in value["arguments"].items()]
        return _call(str(value["name"]), arguments, indent=indent)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_written(item, names) for item in value)}]"
    return repr(value).replace("'", '"')


def _call(name: str, arguments: list[str], *, indent: int = 0) -> str:
    """Return a call in one line, or with one argument a line if that is too long."""
    line = f"{name}({', '.join(arguments)})"
    if len(line) + indent <= WIDTH and "\n" not in line:
        return line
    inside = " " * (indent + 4)
    return f"{name}(\n" + "".join(f"{inside}{a},\n" for a in arguments) + " " * indent + ")"


def as_function(name: str, code: str, *, returns: str) -> str:
    r"""Return a snippet as a function of ``optimizer`` that returns one of its variables.

    >>> print(as_function("make", "from m import f\n\nx = f(optimizer)", returns="x"))
    def make(optimizer):
        from m import f
    <BLANKLINE>
        x = f(optimizer)
        return x
    """
    body = [f"    {line}" if line else "" for line in code.splitlines()]
    return "\n".join([f"def {name}(optimizer):", *body, f"    return {returns}"])
