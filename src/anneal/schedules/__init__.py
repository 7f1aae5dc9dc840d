"""Learning-rate schedules: pure functions from updates made to the next value.

>>> from anneal.schedules import triangular
>>> rate = triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2)
>>> rate(0), rate(2)
(1.0, 5.0)

Needs neither torch nor numpy. Keyword arguments, absolute rates, integer steps. In somebody else's
training loop ``anneal.ScheduledLR`` applies a schedule to a torch optimizer.
"""

# ruff: noqa: F403 - each module's __all__ says what it gives
from typing import TYPE_CHECKING

from anneal.schedules import registry, schedule
from anneal.schedules.composed import *
from anneal.schedules.cosine import *
from anneal.schedules.cyclical import *
from anneal.schedules.decay import *
from anneal.schedules.one_cycle import *
from anneal.schedules.ramp import *
from anneal.schedules.registry import *
from anneal.schedules.schedule import *

if not TYPE_CHECKING:  # type checkers take the names from the modules above
    __all__ = [*registry.SCHEDULES, *registry.__all__, *schedule.__all__]
