"""Our runs expressed in the paper's own statistic.

A verdict is taken from the mean of our runs. Papers report other things, and each has its own
comparison, shown beside the mean and never judged:

* *median of n*: the median of ours. That of other n has the same centre.
* *best*: the best of ours. It grows with the number of runs, so that ours is said with it.
* *mean of n*: the mean of ours, and between which ends the mean of n further runs would fall.
* *single run*: between which ends one further run would fall. No run of ours is picked to stand
  for it, unless there is one alone.

The last two are prediction intervals (:func:`anneal.results.statistics.prediction_interval`): the
paper's runs are assumed to have the variance and the pairing of ours.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from anneal.claims.observed import measured_values
from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.results.metrics import Evidence, find_metric
from anneal.results.statistics import prediction_interval


@dataclass(frozen=True, kw_only=True)
class LikePaper:
    """Our runs in the paper's statistic, on the scale of ``Judgement.ours``.

    Args:
        statistic: ours in words: ``median of 3``, ``best of 3``, ``mean of 3``, ``single run``.
        value: it; None where the paper's is a single run and ours are several.
        low, high: ends of the prediction interval; None where there is none.
        paper: the paper's number; None where the budget is smaller and nothing is compared with it.
        words: what the mean does not say already, in a sentence; may be empty.
    """

    statistic: str
    value: float | None
    low: float | None
    high: float | None
    paper: float | None
    words: str

    @property
    def foretells_paper(self) -> bool | None:
        """Whether the paper's number is in our prediction interval; None without an interval."""
        if self.paper is None or self.low is None or self.high is None:
            return None
        return self.low <= self.paper <= self.high


def find_like_paper(
    claim: Claim, parts: Sequence[Evidence], compared: Mapping[int, float], *, full_budget: bool
) -> LikePaper:
    """Return our runs in the paper's statistic.

    Args:
        claim: what the paper says.
        parts: the evidence on its experiments, in the claim's order.
        compared: by seed, the numbers whose mean is judged; at least one.
        full_budget: whether ours ran as long as the paper's.
    """
    values = list(compared.values())
    kind, ahead = _kind_of(claim.statistic)
    name = kind if kind == "single run" else f"{kind} of {len(values)}"
    ends = _foretell(claim, values, ahead) if ahead else None
    paper = claim.paper_number if full_budget else None
    value, words = None, []
    if kind != "single run" or len(values) == 1:
        value, said = _same_statistic(claim, parts, compared, kind)
        # a single run, or ratio, is said by the mean already
        if kind != "single run" or isinstance(claim, OrderClaim):
            words.append(f"{name}: {said}")
    if ends:
        words.append(_foretelling_words(claim, ends, ahead, paper))
    low, high = ends or (None, None)
    return LikePaper(
        statistic=name, value=value, low=low, high=high, paper=paper, words="; ".join(words)
    )


def _kind_of(statistic: str) -> tuple[str, int]:
    """Return the statistic without its number, and of how many runs the paper's is a mean.

    >>> _kind_of("median of 5"), _kind_of("mean of 5"), _kind_of("single run"), _kind_of("best")
    (('median', 0), ('mean', 5), ('single run', 1), ('best', 0))
    """
    if statistic in ("single run", "runs not stated"):  # the second is read as the weakest
        return "single run", 1
    kind, _, number = statistic.partition(" of ")
    return kind, int(number) if kind == "mean" else 0


def _foretell(claim: Claim, values: Sequence[float], ahead: int) -> tuple[float, float] | None:
    if not isinstance(claim, SpeedClaim):
        return prediction_interval(values, num_ahead=ahead)
    ends = prediction_interval([math.log(value) for value in values], num_ahead=ahead)
    return ends and (math.exp(ends[0]), math.exp(ends[1]))


def _same_statistic(
    claim: Claim, parts: Sequence[Evidence], compared: Mapping[int, float], kind: str
) -> tuple[float, str]:
    """Return our value of a statistic, and the numbers behind it as a reader sees them."""
    metric = find_metric(claim.metric)
    if isinstance(claim, SpeedClaim):
        value = _take(kind, higher_is_better=False, of_ratios=True)(list(compared.values()))
        return value, f"{value:.2f} of the updates"
    take = _take(kind, higher_is_better=metric.higher_is_better)
    unit = f" {metric.unit}" if metric.unit else ""
    measured = measured_values(claim, parts)
    taken = [take([by_seed[seed] for seed in compared]) for by_seed in measured]
    said = " against ".join(f"{value:.{metric.decimals}f}" for value in taken) + unit
    if isinstance(claim, ValueClaim):
        return taken[0], said
    sign = 1 if metric.higher_is_better else -1
    return sign * (taken[0] - taken[1]), said


def _take(
    kind: str, *, higher_is_better: bool, of_ratios: bool = False
) -> Callable[[Sequence[float]], float]:
    if kind == "median":
        return statistics.median
    if kind == "best":
        return max if higher_is_better else min
    return statistics.geometric_mean if of_ratios else statistics.fmean


def _foretelling_words(
    claim: Claim, ends: tuple[float, float], ahead: int, paper: float | None
) -> str:
    metric = find_metric(claim.metric)
    runs = "run" if isinstance(claim, ValueClaim) else "pair"
    of = f"one more {runs}" if ahead == 1 else f"the mean of {ahead} more {runs}s"
    decimals, unit = metric.decimals, metric.unit
    if isinstance(claim, SpeedClaim):
        decimals, unit = 2, "of the updates"
    elif isinstance(claim, OrderClaim) and unit == "%":
        unit = "points"
    interval = f"[{ends[0]:.{decimals}f}, {ends[1]:.{decimals}f}] {unit}".strip()
    words = f"95 % prediction interval for {of}: {interval}"
    if paper is None:
        return words
    contains = "contains" if ends[0] <= paper <= ends[1] else "does not contain"
    return f"{words}, {contains} the paper's {paper:.5g}"
