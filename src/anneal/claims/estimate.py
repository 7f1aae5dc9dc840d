"""Estimate of what a claim is about: mean, spread and interval of our runs.

Values and differences are taken as they are, ratios by their logarithms, on which they spread
evenly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.results.equivalence import (
    Place,
    Tolerance,
    confidence_inside,
    half_width,
    level_for,
    place,
)
from anneal.results.metrics import Evidence
from anneal.results.network_prior import NetworkPrior, prior_of, spread
from anneal.results.statistics import Interval

Priors = Mapping[tuple[str, str], NetworkPrior]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean and spread of the numbers that are compared with a claim.

    Args:
        mean: of the values; of ratios, of their logarithms.
        n: number of values.
        own: variance of the values; None for a single one.
        prior: of the network; None where it has none, or where none applies.
        units: how many times the network's usual variance is expected.
        level: two-sided, of the interval.
        is_ratio: whether values are logarithms.
    """

    mean: float
    n: int
    own: float | None
    prior: NetworkPrior | None
    units: float
    level: float
    is_ratio: bool

    def spread(self, *, times: float = 1.0) -> tuple[float, float] | None:
        """Return variance and degrees of freedom; None where nothing tells them.

        Args:
            times: the network's variance is taken so many times, for sensitivity.
        """
        found = spread(self.own, self.n, self.prior, units=times * self.units)
        return None if found is None else (float(found[0]), float(found[1]))

    @property
    def borrows(self) -> bool:
        """Whether the spread uses the network's other rows."""
        found = self.spread()
        return self.prior is not None and found is not None and found[1] != self.n - 1

    def place(self, tolerance: Tolerance, *, times: float = 1.0) -> Place | None:
        """Return the interval; None where there is none."""
        found = self.spread(times=times)
        if found is None:
            return None
        return place(self.mean, *found, self.n, tolerance=tolerance, level=self.level)

    def confidence(self, tolerance: Tolerance) -> float | None:
        """Return the confidence that the true mean is within a tolerance."""
        found = self.spread()
        if found is None:
            return None
        return confidence_inside(self.mean, *found, self.n, tolerance=tolerance)

    def interval(self) -> Interval:
        """Return the interval that decides, on the scale of the claim."""
        found, low, high = self.spread(), None, None
        if found is not None:
            half = float(half_width(*found, self.n, level=self.level))
            low, high = self._shown(self.mean - half), self._shown(self.mean + half)
        method = "a single run"
        if found is not None:
            method = "Student's t" + " with the network's usual spread" * self.borrows
        return Interval(
            mean=self._shown(self.mean),
            low=low,
            high=high,
            n=self.n,
            sd=None if found is None else math.sqrt(found[0]),
            method=method + " of the logarithms" * (self.is_ratio and found is not None),
            confidence=self.level,
            is_ratio=self.is_ratio,
        )

    def _shown(self, value: float) -> float:
        return math.exp(value) if self.is_ratio else value


def estimate(
    claim: Claim,
    parts: Sequence[Evidence],
    values: Sequence[float],
    priors: Priors,
    *,
    num_readings: int | None = None,
) -> Estimate:
    """Return the estimate of a claim from what was measured.

    Args:
        claim: what the paper says.
        parts: the evidence on its experiments, in the claim's order.
        values: single runs, paired differences or ratios; at least one.
        priors: of networks; none of them is used where ``parts`` ran shorter than the paper.
        num_readings: of the claim, where one of them is judged.
    """
    is_ratio = isinstance(claim, SpeedClaim)
    on_scale = [math.log(value) for value in values] if is_ratio else list(values)
    n = len(on_scale)
    mean = math.fsum(on_scale) / n
    own = math.fsum((value - mean) ** 2 for value in on_scale) / (n - 1) if n > 1 else None
    prior = None
    if not isinstance(claim, SpeedClaim) and all(part.budget_fraction >= 1 for part in parts):
        prior = prior_of(_cells(claim, parts), priors)
    return Estimate(
        mean=mean,
        n=n,
        own=own,
        prior=prior and prior[0],
        units=prior[1] if prior else 1.0,
        level=level_for(n, num_readings=num_readings),
        is_ratio=is_ratio,
    )


def _cells(claim: ValueClaim | OrderClaim, parts: Sequence[Evidence]) -> list[tuple[Evidence, str]]:
    if isinstance(claim, ValueClaim):
        return [(parts[0], claim.metric)]
    of_better, of_worse = claim.metrics
    return [(parts[0], of_better), (parts[-1], of_worse)]


def tolerance_of(claim: Claim) -> Tolerance:
    """Return the bounds that the true mean must be within, on the scale of :class:`Estimate`."""
    if isinstance(claim, OrderClaim):
        return Tolerance(low=claim.margin, high=math.inf, is_open=True)
    if isinstance(claim, SpeedClaim):
        low = claim.ratio - claim.tolerance
        return Tolerance(
            low=math.log(low) if low > 0 else -math.inf,
            high=math.log(claim.ratio + claim.tolerance),
        )
    runs = runs_behind(claim.statistic)
    return Tolerance(
        low=claim.value - claim.tolerance,
        high=claim.value + claim.tolerance,
        paper=claim.value if runs else None,
        paper_runs=runs or math.inf,
    )


def runs_behind(statistic: str) -> float | None:
    """Return how many runs a paper's number is as good as the mean of; None: not known, or a best.

    A median of five or more scatters as the mean of 2/pi times as many.

    >>> runs_behind("single run"), runs_behind("mean of 5"), runs_behind("best of 3")
    (1.0, 5.0, None)
    >>> round(runs_behind("median of 5"), 3), runs_behind("median of 3")
    (3.183, 3.0)
    """
    if statistic == "single run":
        return 1.0
    kind, _, number = statistic.partition(" of ")
    if kind == "mean":
        return float(number)
    if kind == "median":
        return 2 * int(number) / math.pi if int(number) >= 5 else float(number)
    return None
