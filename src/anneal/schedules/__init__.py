"""Learning-rate schedules as pure functions: updates already made -> value for the next update.

>>> from anneal.schedules import triangular
>>> rate = triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2)
>>> rate(0), rate(2)
(1.0, 5.0)

Needs neither torch nor numpy. Keyword arguments, absolute rates, integer steps. In somebody else's
training loop ``anneal.ScheduledLR`` applies a schedule to a torch optimizer.
"""

from anneal.schedules.catalogue import BUILDERS, from_description
from anneal.schedules.core import Schedule
from anneal.schedules.cycles import cycle_ends
from anneal.schedules.cyclical import exp_range, hann, triangular, triangular2, welch
from anneal.schedules.decay import exponential, inverse, linear_decay, polynomial
from anneal.schedules.one_cycle import one_cycle, one_cycle_momentum
from anneal.schedules.phases import staged, warmup, warmup_stable_decay
from anneal.schedules.ramp import exponential_ramp, linear_ramp
from anneal.schedules.restarts import cosine, cosine_restarts
from anneal.schedules.stepwise import constant, step_decay
from anneal.schedules.wrapped import held, lowered

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
