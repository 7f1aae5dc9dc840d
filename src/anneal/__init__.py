"""Learning-rate papers replicated: schedules, range test and torch adaptor for your own loop.

>>> import anneal
>>> rate = anneal.triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2)
>>> rate(0), rate(2)
(1.0, 5.0)

The schedules are imported with the package: they take 0.02 s and need no torch. Names that need
torch are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from anneal import schedules as schedules
from anneal.schedules import *  # noqa: F403 - the schedules of its registry

if TYPE_CHECKING:  # what _LAZY names
    from anneal.range_test import agreement as agreement
    from anneal.range_test import suggest as suggest
    from anneal.range_test.sweep import run_range_test as run_range_test
    from anneal.range_test.sweep import sweep_rates as sweep_rates
    from anneal.training.scheduled_lr import ScheduledLR as ScheduledLR

__version__ = "0.1.0"

_LAZY = {  # public name -> the module that has it
    "ScheduledLR": "anneal.training.scheduled_lr",
    "agreement": "anneal.range_test",
    "run_range_test": "anneal.range_test.sweep",
    "suggest": "anneal.range_test",
    "sweep_rates": "anneal.range_test.sweep",
}

if not TYPE_CHECKING:
    __all__ = ["__version__", "schedules", *schedules.__all__, *_LAZY]

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            said = f"anneal.{name} needs torch: in a clone, pip install '.[torch]'"
            raise ModuleNotFoundError(said, name="torch") from None
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LAZY})
