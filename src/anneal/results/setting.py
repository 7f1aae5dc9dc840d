"""Settings of a row that its spread over seeds depends on: data, network, optimizer, rates."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anneal.schedules import cycle_ends, from_description

UNANNEALED = 0.1  # rate of the last update before an evaluation, over the row's highest rate
_SLACK = 1e-9  # relative: a tenth that floating point made a little more is a tenth


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What was trained, and with which rates.

    Args:
        dataset, model, optimizer: names of their configurations.
        schedule: description of the learning rate's schedule, as run.
        total_steps: updates of a run.
        test_images: how many it is tested on; None where that is not known.
    """

    dataset: str
    model: str
    optimizer: str
    schedule: Mapping[str, Any]
    total_steps: int
    test_images: int | None

    @property
    def network(self) -> tuple[str, str]:
        """Data set and model: rows that share both have comparable spreads."""
        return self.dataset, self.model

    def ends(self) -> tuple[int, ...]:
        """Return the updates after which a whole cycle ends; a run without cycles is one."""
        found = cycle_ends(from_description(self.schedule), self.total_steps)
        return found or (self.total_steps,)

    def is_unannealed(self, update: int) -> bool:
        """Return whether weights after so many updates were last moved at a high rate."""
        last = from_description(self.schedule)(update - 1)
        return last > UNANNEALED * self._highest_rate() * (1 + _SLACK)

    def _highest_rate(self) -> float:
        return _highest_rate(json.dumps(self.schedule, sort_keys=True), self.total_steps)


@functools.cache
def _highest_rate(description: str, total_steps: int) -> float:
    return max(map(from_description(json.loads(description)), range(total_steps)))
