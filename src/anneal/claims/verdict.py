"""The verdict on a claim, computed from our runs.

A verdict needs the paper's own budget and three runs. It is taken from an interval that is widened
where several claims of one table are judged together (:mod:`anneal.claims.families`). What a
diverged run does:

* it has no final accuracy, so that no mean contains it; it is counted and shown;
* while one is among the runs a claim rests on, nothing is ``reproduced`` or ``better``: the mean of
  the runs that survived would flatter, so that the verdict is ``inconclusive``;
* when half of three or more runs diverged, the claim is ``not reproduced``.

Where a claim sets two experiments against each other, it rests on the one it praises; a pair whose
other run diverged is left out, which can only make the claim harder to hold.

Speed is judged by updates to a target, which a run may never reach. In the row that is praised such
a run has failed the claim, since the paper's own reached it by then: one among the runs takes a
favourable verdict back, and half of three or more are ``not reproduced``. In the other row its
length stands in, so that what is judged is the ratio to the *restricted* time, which is never below
the true one: an interval below the tolerance holds for the true ratio too, and one above it proves
nothing. Kaplan and Meier's curves and the log-rank test (``scipy.stats.ecdf``, ``logrank``) are not
used: they compare two rows without their pairs and give no ratio to hold against the paper's, and
of three runs against three the test calls every separation significant at 5 %, which comes about
by chance in one of ten.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from anneal.claims.families import count_together, place_of
from anneal.claims.observed import compared_values, cut_short_words, find_failures
from anneal.claims.paper_statistic import LikePaper, find_like_paper
from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.results.metrics import Evidence, find_metric
from anneal.results.power import CHANCE, MOST_RUNS, runs_to_settle
from anneal.results.statistics import (
    FEWEST_RUNS,
    FindsInterval,
    Interval,
    joint_interval,
    mean_interval,
    paired_interval,
    ratio_interval,
)

Verdict = Literal["reproduced", "better", "not reproduced", "inconclusive", "not run"]
SCALED_DOWN = "scaled-down"
_FAVOURABLE = ("reproduced", "better")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What our runs say about one claim.

    Args:
        claim: the claim that was judged.
        verdict: None for a scaled-down budget, which can have none.
        label: ``scaled-down``, or None at the paper's budget.
        ours: what is held against the claim: a mean, a paired difference in the direction of an
            improvement, or a ratio of updates, with its 95 % interval; None when nothing was
            measured.
        joint: ``ours`` with the interval that the verdict is taken from: the same one for a claim
            that is judged alone, else wider. None where there is no verdict to take.
        num_together: claims of the same table and kind that are judged together, with this one.
        like_paper: our runs in the paper's own statistic; None when nothing was measured.
        n: finished runs (pairs for order and speed) behind ``ours``.
        num_diverged: runs that diverged, over all experiments of the claim.
        num_more: further runs that would settle an ``inconclusive`` with a chance of 80 %; None
            where no reasonable number would, or where the question does not arise.
        budget_fraction: the smallest of the experiments; None when there are no runs.
        reason: why this verdict, in words.
    """

    claim: Claim
    verdict: Verdict | None
    label: str | None = None
    ours: Interval | None = None
    joint: Interval | None = None
    num_together: int = 1
    like_paper: LikePaper | None = None
    n: int = 0
    num_diverged: int = 0
    num_more: int | None = None
    budget_fraction: float | None = None
    reason: str


def judge_all(claims: Sequence[Claim], evidence: Mapping[str, Evidence]) -> tuple[Judgement, ...]:
    """Return the verdict on each claim, those of one table judged together.

    Args:
        claims: of any number of papers.
        evidence: by experiment; experiments of other claims may be in it.
    """
    together = count_together(claims, evidence)
    return tuple(judge(claim, evidence, num_together=together[claim.id]) for claim in claims)


def judge(claim: Claim, evidence: Mapping[str, Evidence], *, num_together: int = 1) -> Judgement:
    """Return the verdict on one claim, with its reason.

    Args:
        claim: what the paper says.
        evidence: by experiment; experiments of other claims may be in it.
        num_together: claims judged together, this one included.
    """
    missing = [
        name for name in claim.experiments if name not in evidence or not evidence[name].runs
    ]
    if missing:
        return Judgement(
            claim=claim, verdict="not run", reason=f"no run yet of {' and '.join(missing)}"
        )
    parts = tuple(evidence[name] for name in claim.experiments)
    budgets = sorted({part.budget_fraction for part in parts})
    if len(budgets) > 1:
        unequal = " and ".join(f"{budget:g}" for budget in budgets)
        return Judgement(
            claim=claim,
            verdict=None,
            label=SCALED_DOWN,
            num_diverged=sum(part.num_diverged for part in parts),
            budget_fraction=budgets[0],
            reason=f"rows run at {unequal} of the paper's budget are not compared",
        )
    compared = compared_values(claim, parts)
    values = list(compared.values())
    find = _interval_of(claim)
    budget = min(part.budget_fraction for part in parts)
    found = Judgement(
        claim=claim,
        verdict=None,
        label=SCALED_DOWN,
        ours=find(values) if values else None,
        like_paper=(
            find_like_paper(claim, parts, compared, full_budget=budget >= 1) if values else None
        ),
        n=len(values),
        num_diverged=sum(part.num_diverged for part in parts),
        budget_fraction=budget,
        reason="a smaller budget than the paper's is shown and never judged",
    )
    if budget < 1:
        return found
    joint = joint_interval(find, values, num_together=num_together) if values else None
    finding = _weigh(claim, parts, found.ours, joint, num_together)
    return replace(
        found,
        verdict=finding.verdict,
        label=None,
        joint=joint,
        num_together=num_together,
        num_more=finding.num_more,
        reason=finding.reason,
    )


def _interval_of(claim: Claim) -> FindsInterval:
    if isinstance(claim, ValueClaim):
        return mean_interval
    return paired_interval if isinstance(claim, OrderClaim) else ratio_interval


@dataclass(frozen=True)
class _Finding:
    verdict: Verdict
    reason: str
    num_more: int | None = None


def _weigh(
    claim: Claim,
    parts: tuple[Evidence, ...],
    ours: Interval | None,
    joint: Interval | None,
    num_together: int,
) -> _Finding:
    """Return what the runs that failed and the interval of the others come to."""
    failures = find_failures(claim, parts)
    for failure in failures:
        if failure.total >= FEWEST_RUNS and 2 * failure.count >= failure.total:
            return _Finding("not reproduced", failure.words)
    notes = "; ".join(failure.words for failure in failures)
    behind = f"; {notes}" if notes else ""
    if ours is None or joint is None:
        return _Finding("inconclusive", f"no run or pair of runs measured it{behind}")
    if ours.n < FEWEST_RUNS:
        found = _too_few(claim, ours, num_together)
        return replace(found, reason=found.reason + behind)
    cut_short = cut_short_words(claim, parts)
    verdict, does = _locate(claim, joint, cut_short=bool(cut_short))
    if notes and verdict in _FAVOURABLE:
        return _Finding("inconclusive", f"{notes}; the others alone would say {verdict}")
    reason, num_more = f"the interval {does}", None
    if num_together > 1:
        reason = (
            f"with {num_together} claims of {place_of(claim.source.at)} judged together the "
            f"interval is {_ends_words(claim, joint)} and {does}"
        )
        alone, _ = _locate(claim, ours, cut_short=bool(cut_short))
        reason += f" (alone it would be {alone})" if alone != verdict else ""
    if verdict == "inconclusive":
        assert ours.sd is not None
        if cut_short and _centre(claim, ours) > _edges(claim)[-1]:
            needs = f"longer runs of {parts[1].experiment} would tell, more seeds would not"
        else:
            num_more, needs = _view_power(claim, ours, sd=ours.sd, num_together=num_together)
            needs = f"if mean and spread stay as they are, {needs}"
        reason += f"; {needs}"
    return _Finding(verdict, f"{reason}{cut_short}{behind}", num_more)


def _locate(claim: Claim, interval: Interval, *, cut_short: bool) -> tuple[Verdict, str]:
    """Return the verdict that an interval alone gives, with what it does in words.

    A wider interval around it gives the same verdict or ``inconclusive``.
    """
    low, high = interval.low, interval.high
    assert low is not None
    assert high is not None
    if isinstance(claim, OrderClaim):
        if low > claim.margin:
            return "reproduced", "lies above the margin"
        if high < claim.margin:
            return "not reproduced", "lies below the margin"
        return "inconclusive", "straddles the margin"
    if isinstance(claim, SpeedClaim):
        if high < claim.ratio - claim.tolerance:
            return "better", "lies below the tolerance"
        if high <= claim.ratio + claim.tolerance:
            return "reproduced", "is as fast as claimed"
        if low > claim.ratio + claim.tolerance and not cut_short:
            return "not reproduced", "is slower than claimed"
        return "inconclusive", "is not wholly as fast as claimed"
    below, above = claim.value - claim.tolerance, claim.value + claim.tolerance
    if below <= low and high <= above:
        return "reproduced", "lies inside the tolerance"
    if low <= above and high >= below:
        return "inconclusive", "straddles an edge of the tolerance"
    side = "above" if low > above else "below"
    better = (side == "above") == find_metric(claim.metric).higher_is_better
    return "better" if better else "not reproduced", f"lies wholly {side} the tolerance"


def _too_few(claim: Claim, ours: Interval, num_together: int) -> _Finding:
    """Say how many more runs would settle it, from the spread that the claim expects."""
    words = f"{'one run' if ours.n == 1 else 'two runs'} can settle nothing"
    if claim.seed_sd is None:
        return _Finding("inconclusive", f"{words}; at least {FEWEST_RUNS - ours.n} more")
    more, needs = _view_power(claim, ours, sd=claim.seed_sd, num_together=num_together)
    spread = f"with the expected seed spread (sd {claim.seed_sd:g})"
    return _Finding("inconclusive", f"{words}; {spread} {needs}", more)


def _view_power(
    claim: Claim, ours: Interval, *, sd: float, num_together: int
) -> tuple[int | None, str]:
    """Return how many more runs would settle it (:mod:`anneal.results.power`), and in words."""
    needed = runs_to_settle(
        mean=_centre(claim, ours),
        sd=sd,
        edges=_edges(claim),
        num_together=num_together,
        paired=not isinstance(claim, ValueClaim),
    )
    chance = f"with a chance of {CHANCE:.0%}".replace("%", " %")
    if needed is None:
        return None, f"even {MOST_RUNS} would not settle it {chance}, so close is it to the edge"
    more = max(1, needed - ours.n)
    return more, f"{more} more seed{'s' * (more > 1)} would settle it {chance}"


def _centre(claim: Claim, interval: Interval) -> float:
    """Return the mean on the scale on which values spread evenly: a ratio's logarithm."""
    return math.log(interval.mean) if isinstance(claim, SpeedClaim) else interval.mean


def _edges(claim: Claim) -> tuple[float, ...]:
    """Return what an interval must not straddle, on the scale of :func:`_centre`."""
    if isinstance(claim, OrderClaim):
        return (claim.margin,)
    if isinstance(claim, SpeedClaim):
        return (math.log(claim.ratio + claim.tolerance),)
    return claim.value - claim.tolerance, claim.value + claim.tolerance


def _ends_words(claim: Claim, interval: Interval) -> str:
    decimals = 2 if isinstance(claim, SpeedClaim) else find_metric(claim.metric).decimals
    return f"[{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"
