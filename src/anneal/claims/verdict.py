"""The verdict on a claim, computed from our runs (docs/verdicts.md explains the rule).

Each claim is judged by itself, at 5 % on each side: the 90 % interval of our mean is inside the
tolerance, or wholly outside it, or it is too close to call. Other claims have no
influence. A spread from fewer than five runs is helped by the network's other rows
(:mod:`anneal.results.network_prior`), which gives one or two runs a provisional verdict.

What a diverged run does:

* it has no final accuracy, so that no mean contains it; it is counted and shown;
* while one is among the runs a claim rests on, nothing is ``reproduced`` or ``agrees so far``: the
  mean of the runs that survived would flatter;
* when half of three or more runs diverged, the claim is ``not reproduced``.

Where a claim sets two experiments against each other, it rests on the one it praises; a pair whose
other run diverged is left out, which can only make the claim harder to hold.

Speed is judged by updates to a target, which a run may never reach. In the row that is praised such
a run takes a favourable verdict back, and many of them condemn
(:func:`anneal.claims.observed.find_failures`). In the other row its length is used instead. The
judged ratio is then to the *restricted* time, which is never below the true one: an interval
below the tolerance holds for the true ratio too, and one inside it or above it proves nothing.
Kaplan and Meier's curves and the log-rank test (``scipy.stats.ecdf``, ``logrank``) are not used:
they compare two rows without their pairs and give no ratio to compare with the paper's. For
three runs against three the log-rank test calls every separation significant at 5 %, which happens
by chance in one case of ten.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from anneal.claims.estimate import Estimate, Priors, estimate, tolerance_of
from anneal.claims.observed import compared_values, cut_short_words, find_failures
from anneal.claims.over_subjects import MedianEstimate, evidence_of, few_subjects
from anneal.claims.paper_statistic import LikePaper, find_like_paper
from anneal.claims.reasons import estimate_words, power_words, sensitivity_words
from anneal.claims.schema import Claim, OrderClaim, ValueClaim
from anneal.results.equivalence import Place, Tolerance, level_for
from anneal.results.metrics import Evidence
from anneal.results.network_prior import find_priors
from anneal.results.power import runs_to_verdict
from anneal.results.statistics import FEWEST_RUNS, Interval

Verdict = Literal[
    "reproduced", "lower", "higher", "not the paper's order", "not reproduced", "agrees so far",
    "differs so far", "one run", "too close to call", "shorter run", "not run",
]  # fmt: skip
FAVOURABLE = ("reproduced", "agrees so far")
SO_FAR = ("agrees so far", "differs so far")
RULE_SINCE = datetime(2026, 11, 28, 5, 0, tzinfo=UTC)  # it was chosen with earlier runs in view
NOISY = 0.7  # sd of one run over the tolerance


@dataclass(frozen=True, kw_only=True)
class ReadingResult:
    """A claim under another reading of a setting that the paper leaves open.

    Args:
        experiment: replaces the claim's first.
        verdict: at a stricter level, as one of several readings.
        ours: the interval that it is taken from.
    """

    experiment: str
    verdict: Verdict
    ours: Interval | None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Verdict on one claim, with the numbers behind it.

    Args:
        claim: the claim that was judged.
        verdict: from the literal reading of the paper.
        ours: the number compared with the claim: a mean, a paired difference in the direction of an
            improvement, or a ratio of updates, with the interval that decides; None when nothing
            was measured.
        confidence: how sure it is that the truth is within the tolerance, in 0..1; None where it
            is not judged.
        n: finished runs (pairs for order and speed) behind ``ours``.
        num_diverged: runs that diverged, over all experiments of the claim.
        num_more: further runs that would settle what is not settled with a chance of 80 %; None
            where no reasonable number would, or where the question does not arise.
        failure: in words, the failed runs that condemn the claim; may be empty.
        borrows: whether the network's other rows have a part in the spread.
        is_noisy: whether single runs spread so widely that the tolerance is hard to meet.
        is_post_hoc: whether a run behind it is older than the rule.
        sensitivity: in words, what another usual spread of the network would change; may be empty.
        readings: the same under the claim's other readings, in its order.
        missing: experiments of which there is no run.
        like_paper: our runs in the paper's own statistic; None when nothing was measured.
        budget_fraction: the smallest of the experiments; None when there are no runs.
        reason: why this verdict, in words.
    """

    claim: Claim
    verdict: Verdict
    ours: Interval | None = None
    confidence: float | None = None
    n: int = 0
    num_diverged: int = 0
    num_more: int | None = None
    failure: str = ""
    borrows: bool = False
    is_noisy: bool = False
    is_post_hoc: bool = False
    sensitivity: str = ""
    readings: tuple[ReadingResult, ...] = ()
    missing: tuple[str, ...] = ()
    like_paper: LikePaper | None = None
    budget_fraction: float | None = None
    reason: str

    @property
    def depends_on_reading(self) -> bool:
        """Whether another reading agrees with the paper where the literal one does not."""
        agrees = any(reading.verdict in FAVOURABLE for reading in self.readings)
        return agrees and self.verdict not in (*FAVOURABLE, "not run", "shorter run")


def judge_all(claims: Sequence[Claim], evidence: Mapping[str, Evidence]) -> tuple[Judgement, ...]:
    """Return the verdict on each claim.

    Args:
        claims: of any number of papers.
        evidence: by experiment; experiments of other claims tell of the networks' spreads.
    """
    priors = find_priors(evidence)
    return tuple(judge(claim, evidence, priors) for claim in claims)


def judge(
    claim: Claim, evidence: Mapping[str, Evidence], priors: Priors | None = None
) -> Judgement:
    """Return the verdict on one claim, with its reason.

    Args:
        claim: what the paper says.
        evidence: by experiment.
        priors: of the networks; found in the evidence without them.
    """
    missing = _missing(claim.experiments, evidence)
    if missing:
        return Judgement(
            claim=claim,
            verdict="not run",
            missing=missing,
            reason=f"no run yet of {' and '.join(missing)}",
        )
    priors = find_priors(evidence) if priors is None else priors
    parts = tuple(evidence_of(claim, evidence, claim.experiments))
    if few := few_subjects(claim, evidence, claim.experiments):
        words = f"{', '.join(dict.fromkeys(few.values()))} subjects"
        return Judgement(claim=claim, verdict="not run", missing=tuple(few), reason=words)
    found = replace(
        _weigh(claim, parts, priors),
        num_diverged=sum(part.num_diverged for part in parts),
        budget_fraction=min(part.budget_fraction for part in parts),
        is_post_hoc=any(_is_older(part) for part in parts),
    )
    readings = tuple(_read_as(name, claim, evidence, priors) for name in claim.readings)
    return replace(found, readings=readings)


def _missing(names: Sequence[str], evidence: Mapping[str, Evidence]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in evidence or not evidence[name].runs)


def _is_older(part: Evidence) -> bool:
    """Return whether a run is older than the rule; one that does not say when it began is."""
    started = [run.environment.get("started", "") for run in part.runs]
    return not all(when and datetime.fromisoformat(when) >= RULE_SINCE for when in started)


def _read_as(
    name: str, claim: Claim, evidence: Mapping[str, Evidence], priors: Priors
) -> ReadingResult:
    """Return the claim with its first experiment replaced."""
    names = (name, *claim.experiments[1:])
    if _missing(names, evidence) or few_subjects(claim, evidence, names):
        return ReadingResult(experiment=name, verdict="not run", ours=None)
    parts = tuple(evidence_of(claim, evidence, names))
    found = _weigh(claim, parts, priors, num_readings=len(claim.readings))
    return ReadingResult(experiment=name, verdict=found.verdict, ours=found.ours)


def _weigh(
    claim: Claim, parts: Sequence[Evidence], priors: Priors, *, num_readings: int | None = None
) -> Judgement:
    """Return the verdict on complete evidence, without remarks on the runs themselves."""
    budgets = sorted({part.budget_fraction for part in parts})
    if len(budgets) > 1:
        unequal = " and ".join(f"{budget:g}" for budget in budgets)
        return Judgement(
            claim=claim,
            verdict="shorter run",
            reason=f"rows run at {unequal} of the paper's budget are not compared",
        )
    compared = compared_values(claim, parts)
    values = list(compared.values())
    found = Judgement(claim=claim, verdict="shorter run", n=len(values), reason="no verdict")
    seen: Estimate | MedianEstimate | None = None
    if values and parts[0].subjects:  # the paper's statistic itself
        level = level_for(len(values), num_readings=num_readings)
        seen = MedianEstimate(values=tuple(values), level=level)
        found = replace(found, ours=seen.interval())
    elif values:
        seen = estimate(claim, parts, values, priors, num_readings=num_readings)
        found = replace(
            found,
            ours=seen.interval(),
            like_paper=find_like_paper(claim, parts, compared, full_budget=budgets[0] >= 1),
        )
    if budgets[0] < 1:
        return found
    failures = find_failures(claim, parts)
    notes = "; ".join(failure.words for failure in failures)
    condemned = [failure.words for failure in failures if failure.condemns]
    if seen is not None:
        found = _judge_estimate(found, seen, cut_short=cut_short_words(claim, parts))
    elif failures:
        several = len(parts[0].runs) >= FEWEST_RUNS
        found = replace(found, verdict="too close to call" if several else "one run", reason="")
    else:
        found = replace(found, verdict="not run", reason="no run or pair of runs measured it")
    if condemned:
        return replace(
            found,
            verdict="not reproduced",
            num_more=None,
            failure="; ".join(condemned),
            reason=notes,
        )
    if notes and found.verdict in FAVOURABLE:
        reason = f"{notes}; the others alone would say {found.verdict}"
        return replace(found, verdict="too close to call", num_more=None, reason=reason)
    return replace(found, reason="; ".join(filter(None, [found.reason, notes])))


def _judge_estimate(
    found: Judgement, seen: Estimate | MedianEstimate, *, cut_short: str
) -> Judgement:
    """Return the verdict that the interval gives, failed runs aside."""
    claim, tolerance = found.claim, tolerance_of(found.claim)
    where = seen.place(tolerance)
    if where is None and isinstance(seen, MedianEstimate):
        few = f"{seen.n} subject{'s are' if seen.n > 1 else ' is'} not enough for an interval"
        return replace(found, verdict="one run", reason=few)
    if where is None:
        assert isinstance(seen, Estimate)
        more, words = _view_expected(claim, seen, tolerance)
        what = "run" if isinstance(claim, ValueClaim) else "pair"
        few = f"one {what} is" if seen.n == 1 else f"two {what}s are"
        reason = f"{few} not enough for a verdict; {words}"
        return replace(found, verdict="one run", num_more=more, reason=reason)
    if cut_short:  # the true ratio is at most this one
        where = Place(inside=False, lower=where.lower, higher=False)
    verdict = _verdict_of(claim, where, seen.n)
    sd = found.ours.sd if found.ours else None
    confidence = None if cut_short else seen.confidence(tolerance)  # of a bound there is none
    is_noisy = isinstance(claim, ValueClaim) and sd is not None and sd > NOISY * claim.tolerance
    reasons = [estimate_words(claim, seen, confidence)]
    more = None
    if verdict == "too close to call":
        alone = seen.place(replace(tolerance, paper=None))
        if alone is not None and (alone.lower or alone.higher) and not cut_short:
            reasons.append("outside it, but the paper's own number may be as far off by chance")
        if cut_short:
            reasons.append("longer runs of the other row would tell, more seeds would not")
        elif isinstance(seen, MedianEstimate):
            reasons.append("more subjects would tell, more seeds of these hardly")
        else:
            more, words = _view_power(seen, tolerance)
            reasons.append(words)
    if seen.n < FEWEST_RUNS and seen.borrows:
        reasons.append("assumes the usual spread of this network")
    if is_noisy:
        reasons.append(f"noisy: single runs differ by sd {sd:.2g}")
    sensitivity = ""
    if verdict in SO_FAR and isinstance(seen, Estimate):
        sensitivity = _sensitivity(claim, seen, tolerance, verdict)
    reasons += [words for words in (sensitivity, cut_short) if words]
    return replace(
        found,
        verdict=verdict,
        confidence=confidence,
        num_more=more,
        borrows=seen.borrows,
        is_noisy=is_noisy,
        sensitivity=sensitivity,
        reason="; ".join(reasons),
    )


def _verdict_of(claim: Claim, where: Place, n: int) -> Verdict:
    if where.inside:
        return "reproduced" if n >= FEWEST_RUNS else "agrees so far"
    if not (where.lower or where.higher):
        return "too close to call"
    if n < FEWEST_RUNS:
        return "differs so far"
    if isinstance(claim, OrderClaim):
        return "not the paper's order"
    return "lower" if where.lower else "higher"


def _sensitivity(claim: Claim, seen: Estimate, tolerance: Tolerance, verdict: Verdict) -> str:
    """Return what half and twice the network's variance would change, in words."""
    flips: dict[str, str] = {}
    for times, word in ((0.5, "halved"), (2.0, "doubled")):
        where = seen.place(tolerance, times=times)
        if where is not None and (other := _verdict_of(claim, where, seen.n)) != verdict:
            flips[word] = other
    return sensitivity_words(flips)


def _view_power(seen: Estimate, tolerance: Tolerance) -> tuple[int | None, str]:
    """Return how many more runs would settle it, and in words."""
    found = seen.spread()
    assert found is not None
    needed = runs_to_verdict(
        mean=seen.mean,
        sd=found[0] ** 0.5,
        tolerance=tolerance,
        prior=seen.prior,
        units=seen.units,
    )
    more = None if needed is None else max(1, needed - seen.n)
    return more, power_words(more)


def _view_expected(claim: Claim, seen: Estimate, tolerance: Tolerance) -> tuple[int | None, str]:
    """Return the same where there is no spread but the one that the claim expects."""
    if claim.seed_sd is None:
        return None, f"at least {FEWEST_RUNS - seen.n} more"
    needed = runs_to_verdict(mean=seen.mean, sd=claim.seed_sd, tolerance=tolerance)
    more = None if needed is None else max(1, needed - seen.n)
    return more, f"with the expected seed spread (sd {claim.seed_sd:g}) {power_words(more)}"
