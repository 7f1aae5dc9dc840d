"""Learning-rate schedules as pure functions: updates already made -> value for the next update.

>>> from anneal.schedules import triangular
>>> rate = triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2)
>>> rate(0), rate(2)
(1.0, 5.0)

Needs neither torch nor numpy. Keyword arguments, absolute rates, integer steps. In somebody else's
training loop ``anneal.ScheduledLR`` applies a schedule to a torch optimizer.
"""

from anneal.schedules.composed import held, lowered, staged, warmup, warmup_stable_decay
from anneal.schedules.cosine import cosine, cosine_restarts
from anneal.schedules.cycle_ends import cycle_ends
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
from anneal.schedules.registry import BUILDERS, from_description
from anneal.schedules.schedule import Schedule

__all__ = [
    "BUILDERS",
    "Schedule",
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
    "staged",
    "step_decay",
    "triangular",
    "triangular2",
    "warmup",
    "warmup_stable_decay",
    "welch",
]
