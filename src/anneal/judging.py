"""The verdict on each claim, from our runs (PURE).

A verdict needs the paper's own budget and three runs. What a diverged run does:

* it has no final accuracy, so that no mean contains it; it is counted and shown;
* while one is among the runs a claim rests on, nothing is ``reproduced`` or ``better``: the mean of
  the runs that survived would flatter, so that the verdict is ``inconclusive``;
* when half of three or more runs diverged, the claim is ``not reproduced``.

Where a claim sets two experiments against each other, it rests on the one it praises; a pair whose
other run diverged is left out, which can only make the claim harder to hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from anneal.claims import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.curves import updates_to_target
from anneal.metrics import Evidence, find_metric
from anneal.statistics import (
    CONFIDENCE,
    FEWEST_RUNS,
    Interval,
    mean_interval,
    paired_interval,
    ratio_interval,
    seeds_to_settle,
)

Verdict = Literal["reproduced", "better", "not reproduced", "inconclusive", "not run"]
SCALED_DOWN = "scaled-down"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What our runs say about one claim.

    Args:
        claim: the claim that was judged.
        verdict: None for a scaled-down budget, which can have none.
        label: ``scaled-down``, or None at the paper's budget.
        ours: what is held against the claim: a mean, a paired difference in the direction of an
            improvement, or a ratio of updates; None when nothing was measured.
        n: finished runs (pairs for order and speed) behind ``ours``.
        num_diverged: runs that diverged, over all experiments of the claim.
        budget_fraction: the smallest of the experiments; None when there are no runs.
        reason: why this verdict, in words.
    """

    claim: Claim
    verdict: Verdict | None
    label: str | None
    ours: Interval | None
    n: int
    num_diverged: int
    budget_fraction: float | None
    reason: str


def judge(
    claim: Claim, evidence: Mapping[str, Evidence], *, confidence: float = CONFIDENCE
) -> Judgement:
    """Return the verdict on one claim, with its reason.

    Args:
        claim: what the paper says.
        evidence: by experiment; experiments of other claims may be in it.
        confidence: of the interval; stricter when many claims of one table are judged together.
    """
    missing = [
        name for name in claim.experiments if name not in evidence or not evidence[name].runs
    ]
    if missing:
        return Judgement(
            claim=claim,
            verdict="not run",
            label=None,
            ours=None,
            n=0,
            num_diverged=0,
            budget_fraction=None,
            reason=f"no run yet of {' and '.join(missing)}",
        )
    parts = tuple(evidence[name] for name in claim.experiments)
    if isinstance(claim, ValueClaim):
        finding = _judge_value(claim, parts[0], confidence)
    elif isinstance(claim, OrderClaim):
        finding = _judge_order(claim, parts, confidence)
    else:
        finding = _judge_speed(claim, parts, confidence)
    budget = min(part.budget_fraction for part in parts)
    scaled_down = budget < 1
    return Judgement(
        claim=claim,
        verdict=None if scaled_down else finding.verdict,
        label=SCALED_DOWN if scaled_down else None,
        ours=finding.ours,
        n=finding.ours.n if finding.ours else 0,
        num_diverged=sum(part.num_diverged for part in parts),
        budget_fraction=budget,
        reason=(
            "a smaller budget than the paper's is shown and never judged"
            if scaled_down
            else finding.reason
        ),
    )


@dataclass(frozen=True)
class _Finding:
    verdict: Verdict
    reason: str
    ours: Interval | None


def _judge_value(claim: ValueClaim, part: Evidence, confidence: float) -> _Finding:
    """Hold the interval of the mean against value +- tolerance."""
    values = list(part.values(claim.metric).values())
    ours = mean_interval(values, confidence=confidence) if values else None
    blocked = _without_verdict(part, ours)
    if blocked:
        return blocked
    assert ours is not None
    edges = (claim.value - claim.tolerance, claim.value + claim.tolerance)
    if ours.n < FEWEST_RUNS:
        return _too_few(claim, ours, edges, confidence, part.num_diverged)
    low, high = _ends(ours)
    higher_is_better = find_metric(claim.metric).higher_is_better
    if edges[0] <= low and high <= edges[1]:
        found = _Finding("reproduced", "the interval lies inside the tolerance", ours)
    elif low > edges[1] or high < edges[0]:
        side = "above" if low > edges[1] else "below"
        better = (side == "above") == higher_is_better
        found = _Finding(
            "better" if better else "not reproduced",
            f"the whole interval lies {side} the tolerance",
            ours,
        )
    else:
        found = _straddling(ours, edges, confidence, "an edge of the tolerance")
    return _weigh_divergence(found, part)


def _judge_order(claim: OrderClaim, parts: tuple[Evidence, ...], confidence: float) -> _Finding:
    """Hold the interval of the paired differences against the margin."""
    differences = list(compared_values(claim, parts).values())
    ours = paired_interval(differences, confidence=confidence) if differences else None
    blocked = _without_verdict(parts[0], ours)
    if blocked:
        return blocked
    assert ours is not None
    edges = (claim.margin,)
    if ours.n < FEWEST_RUNS:
        return _too_few(claim, ours, edges, confidence, parts[0].num_diverged)
    low, high = _ends(ours)
    if low > claim.margin:
        found = _Finding("reproduced", "the whole interval lies above the margin", ours)
    elif high < claim.margin:
        found = _Finding("not reproduced", "the whole interval lies below the margin", ours)
    else:
        found = _straddling(ours, edges, confidence, "the margin")
    return _weigh_divergence(found, parts[0])


def _judge_speed(claim: SpeedClaim, parts: tuple[Evidence, ...], confidence: float) -> _Finding:
    """Hold the interval of the ratio of updates to the target against the paper's ratio.

    A run that never reached the target is censored. Where only the slower row is, the length of its
    run stands in: the true ratio is smaller still, which can only make the claim harder to hold.
    """
    faster, slower = (_updates_to_target(claim, part) for part in parts)
    reached = compared_values(claim, parts)
    ours = ratio_interval(list(reached.values()), confidence=confidence) if reached else None
    never = sum(updates is None for updates in faster.values())
    if never and 2 * never >= len(faster) >= FEWEST_RUNS:
        words = f"{never} of {len(faster)} runs of {parts[0].experiment} never reached the target"
        return _Finding("not reproduced", words, ours)
    blocked = _without_verdict(parts[0], ours)
    if blocked:
        return blocked
    assert ours is not None
    edges = (claim.ratio - claim.tolerance, claim.ratio + claim.tolerance)
    if ours.n < FEWEST_RUNS:
        return _too_few(claim, ours, edges[1:], confidence, parts[0].num_diverged)
    low, high = _ends(ours)
    censored = sum(slower[seed] is None for seed in reached)
    note = (
        f"; {censored} of {len(reached)} runs of {parts[1].experiment} never reached the target "
        "and count with their full length"
        if censored
        else ""
    )
    if high < edges[0]:
        found = _Finding("better", f"the whole interval lies below the tolerance{note}", ours)
    elif high <= edges[1]:
        found = _Finding("reproduced", f"the whole interval is as fast as claimed{note}", ours)
    elif low > edges[1] and not censored:
        found = _Finding("not reproduced", "the whole interval is slower than claimed", ours)
    else:
        straddling = _straddling(ours, edges[1:], confidence, "the edge of the tolerance")
        found = _Finding("inconclusive", straddling.reason + note, ours)
    if never and found.verdict in ("reproduced", "better"):
        words = f"{never} of {len(faster)} runs of {parts[0].experiment} never reached the target"
        found = _Finding("inconclusive", words, ours)
    return _weigh_divergence(found, parts[0])


def compared_values(claim: Claim, parts: Sequence[Evidence]) -> dict[int, float]:
    """Return, by seed, the single numbers whose mean is held against a claim.

    They are measurements, paired differences in the direction of an improvement, or ratios of
    updates to the target (where the slower run never reached it, its length stands in).

    Args:
        claim: what the paper says.
        parts: the evidence on its experiments, in the claim's order.
    """
    if isinstance(claim, ValueClaim):
        return dict(parts[0].values(claim.metric))
    if isinstance(claim, OrderClaim):
        better, worse = (part.values(claim.metric) for part in parts)
        sign = 1 if find_metric(claim.metric).higher_is_better else -1
        return {
            seed: sign * (better[seed] - worse[seed])
            for seed in sorted(better.keys() & worse.keys())
        }
    faster, slower = (_updates_to_target(claim, part) for part in parts)
    lengths = {run.seed: run.updates for run in parts[1].runs}
    return {
        seed: updates / (slower[seed] or lengths[seed])
        for seed, updates in sorted(faster.items())
        if seed in slower and updates is not None
    }


def _updates_to_target(claim: SpeedClaim, part: Evidence) -> dict[int, int | None]:
    """Return seed -> updates to the claim's target over finished runs, None where never reached."""
    higher_is_better = find_metric(claim.metric).higher_is_better
    give = -claim.target_tolerance if higher_is_better else claim.target_tolerance
    return {
        run.seed: updates_to_target(
            run.curve,
            claim.metric,
            target=claim.target + give,
            higher_is_better=higher_is_better,
        )
        for run in part.runs
        if run.finished and run.curve
    }


def _without_verdict(part: Evidence, ours: Interval | None) -> _Finding | None:
    """Return the finding where divergence decides, or where nothing was measured."""
    total, diverged = len(part.runs), part.num_diverged
    if total >= FEWEST_RUNS and 2 * diverged >= total:
        words = f"{diverged} of {total} runs of {part.experiment} diverged"
        return _Finding("not reproduced", words, ours)
    if ours is None:
        note = f"; {_diverged_words(diverged)}" if diverged else ""
        return _Finding("inconclusive", f"no run or pair of runs measured it{note}", None)
    return None


def _weigh_divergence(found: _Finding, part: Evidence) -> _Finding:
    """Take a favourable verdict back while a diverged run is missing from its mean."""
    if not part.num_diverged:
        return found
    note = f"{part.num_diverged} of {len(part.runs)} runs of {part.experiment} diverged"
    if found.verdict in ("reproduced", "better"):
        words = f"{note}; the others alone would say {found.verdict}"
        return _Finding("inconclusive", words, found.ours)
    return _Finding(found.verdict, f"{found.reason}; {note}", found.ours)


def _too_few(
    claim: Claim,
    ours: Interval,
    edges: tuple[float, ...],
    confidence: float,
    num_diverged: int,
) -> _Finding:
    """Say how many more runs would settle it, from the spread that the claim expects."""
    fewest = FEWEST_RUNS - ours.n
    words = f"{_runs(ours.n)} can settle nothing"
    # ratios spread about one another by their logarithms, for which the edges are no distances
    if claim.seed_sd is None or isinstance(claim, SpeedClaim):
        words += f"; at least {fewest} more"
    else:
        needed = seeds_to_settle(
            mean=ours.mean, sd=claim.seed_sd, edges=edges, confidence=confidence
        )
        spread = f"with the expected seed spread (sd {claim.seed_sd:g})"
        if needed is None:
            words += f"; {spread} no number of seeds would, so close is it to the edge"
        else:
            words += f"; {spread} about {needed - ours.n} more would"
    if num_diverged:
        words += f"; {_diverged_words(num_diverged)}"
    return _Finding("inconclusive", words, ours)


def _straddling(ours: Interval, edges: tuple[float, ...], confidence: float, what: str) -> _Finding:
    """Say how many more runs would settle it, from the spread that was seen."""
    words = f"the interval straddles {what}"
    if "logarithms" not in ours.method and ours.sd is not None:
        needed = seeds_to_settle(mean=ours.mean, sd=ours.sd, edges=edges, confidence=confidence)
        if needed is None:
            words += "; so close to it that no reasonable number of seeds would settle it"
        else:
            more = max(1, needed - ours.n)
            words += f"; about {more} more seed{'s' * (more > 1)} would settle it"
    return _Finding("inconclusive", words, ours)


def _ends(interval: Interval) -> tuple[float, float]:
    """Return both ends of an interval that two or more values gave."""
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


def _runs(n: int) -> str:
    return "one run" if n == 1 else "two runs" if n == 2 else f"{n} runs"


def _diverged_words(n: int) -> str:
    return f"{_runs(n)} diverged"
