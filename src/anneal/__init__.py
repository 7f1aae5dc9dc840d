"""Learning-rate papers replicated: schedules, range test and torch adaptor for your own loop.

Everything is imported when it is first used, so ``import anneal`` is quick and needs no torch:

>>> import anneal
>>> rate = anneal.triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2)
>>> rate(0), rate(2)
(1.0, 5.0)

A public name stands in three places here: for type checkers, with its home, and in ``__all__``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anneal import schedules
    from anneal.range_test import agreement, suggest
    from anneal.range_test.sweep import run_range_test, sweep_rates
    from anneal.schedules import (
        Schedule,
        constant,
        cosine,
        cosine_restarts,
        cycle_ends,
        exp_range,
        exponential,
        exponential_ramp,
        from_description,
        hann,
        held,
        inverse,
        linear_decay,
        linear_ramp,
        lowered,
        one_cycle,
        one_cycle_momentum,
        polynomial,
        staged,
        step_decay,
        triangular,
        triangular2,
        warmup,
        warmup_stable_decay,
        welch,
    )
    from anneal.training.scheduled_lr import ScheduledLR

__version__ = "0.1.0"

# Public name -> the module that has it; a module's own name stands for the module itself.
_HOMES = {
    "schedules": "anneal.schedules",
    "Schedule": "anneal.schedules",
    "constant": "anneal.schedules",
    "cosine": "anneal.schedules",
    "cosine_restarts": "anneal.schedules",
    "cycle_ends": "anneal.schedules",
    "exp_range": "anneal.schedules",
    "exponential": "anneal.schedules",
    "exponential_ramp": "anneal.schedules",
    "from_description": "anneal.schedules",
    "hann": "anneal.schedules",
    "held": "anneal.schedules",
    "inverse": "anneal.schedules",
    "linear_decay": "anneal.schedules",
    "linear_ramp": "anneal.schedules",
    "lowered": "anneal.schedules",
    "one_cycle": "anneal.schedules",
    "one_cycle_momentum": "anneal.schedules",
    "polynomial": "anneal.schedules",
    "staged": "anneal.schedules",
    "step_decay": "anneal.schedules",
    "triangular": "anneal.schedules",
    "triangular2": "anneal.schedules",
    "warmup": "anneal.schedules",
    "warmup_stable_decay": "anneal.schedules",
    "welch": "anneal.schedules",
    "ScheduledLR": "anneal.training.scheduled_lr",
    "run_range_test": "anneal.range_test.sweep",
    "sweep_rates": "anneal.range_test.sweep",
    "agreement": "anneal.range_test",
    "suggest": "anneal.range_test",
}

__all__ = [
    "Schedule",
    "ScheduledLR",
    "__version__",
    "agreement",
    "constant",
    "cosine",
    "cosine_restarts",
    "cycle_ends",
    "exp_range",
    "exponential",
    "exponential_ramp",
    "from_description",
    "hann",
    "held",
    "inverse",
    "linear_decay",
    "linear_ramp",
    "lowered",
    "one_cycle",
    "one_cycle_momentum",
    "polynomial",
    "run_range_test",
    "schedules",
    "staged",
    "step_decay",
    "suggest",
    "sweep_rates",
    "triangular",
    "triangular2",
    "warmup",
    "warmup_stable_decay",
    "welch",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        said = f"anneal.{name} needs torch: pip install 'anneal-lr[torch]'"
        raise ModuleNotFoundError(said, name="torch") from None
    value = module if home == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = value  # from here on an ordinary attribute
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
