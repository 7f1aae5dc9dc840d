"""Observed values of a claim: the numbers of our runs to compare, and failed runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.results.curves import updates_to_target
from anneal.results.metrics import Evidence, find_metric, restate


def compared_values(claim: Claim, parts: Sequence[Evidence]) -> dict[int, float]:
    """Return, by seed, the single numbers whose mean is held against a claim.

    They are measurements, paired differences in the direction of an improvement, or ratios of
    updates to the target; a run of the other row that never reached it counts with its length.

    Args:
        claim: what the paper says.
        parts: the evidence on its experiments, in the claim's order.
    """
    if isinstance(claim, ValueClaim):
        return parts[0].values(claim.metric)
    if isinstance(claim, OrderClaim):
        better, worse = measured_values(claim, parts)
        sign = 1 if find_metric(claim.metric).higher_is_better else -1
        return {seed: sign * (better[seed] - worse[seed]) for seed in better if seed in worse}
    faster, slower = (_updates_to_target(claim, part) for part in parts)
    lengths = {run.seed: run.updates for run in parts[1].runs}
    restricted = {s: lengths[s] if updates is None else updates for s, updates in slower.items()}
    return {
        seed: updates / restricted[seed]
        for seed, updates in faster.items()
        if updates is not None and seed in restricted
    }


def measured_values(
    claim: ValueClaim | OrderClaim, parts: Sequence[Evidence]
) -> list[dict[int, float]]:
    """Return seed -> measurement for each cell of a claim: one, or the better and the worse.

    An order between two metrics of one experiment has both cells in the same evidence.
    """
    if isinstance(claim, ValueClaim):
        return [parts[0].values(claim.metric)]
    of_better, of_worse = claim.metrics
    return [parts[0].values(of_better), parts[-1].values(of_worse)]


def _updates_to_target(claim: SpeedClaim, part: Evidence) -> dict[int, int | None]:
    """Return seed -> updates to the claim's target over finished runs, None where never reached."""
    higher_is_better = find_metric(claim.metric).higher_is_better
    give = -claim.target_tolerance if higher_is_better else claim.target_tolerance
    column, target = restate(claim.metric, claim.target + give)
    return {
        run.seed: updates_to_target(
            run.curve,
            column,
            target=target,
            higher_is_better=find_metric(column).higher_is_better,
        )
        for run in part.runs
        if run.finished and run.curve
    }


@dataclass(frozen=True)
class Failure:
    """How many of the runs that a claim rests on failed in one way.

    Args:
        count: the runs that did.
        total: the runs that could have.
        words: both in a sentence.
    """

    count: int
    total: int
    words: str


def find_failures(claim: Claim, parts: Sequence[Evidence]) -> list[Failure]:
    """Return how runs of the experiment that a claim praises failed; empty when none did."""
    praised = parts[0]
    total, diverged = len(praised.runs), praised.num_diverged
    words = f"{diverged} of {total} runs of {praised.experiment} diverged"
    found = [Failure(diverged, total, words)]
    if isinstance(claim, SpeedClaim):
        faster, slower = (list(_updates_to_target(claim, part).values()) for part in parts)
        never = faster.count(None)
        words = f"{never} of {len(faster)} runs of {praised.experiment} never reached the target"
        if slower and slower.count(None) == len(slower):
            words += f", and none of {parts[1].experiment} did"
        found.insert(0, Failure(never, len(faster), words))
    return [failure for failure in found if failure.count]


def cut_short_words(claim: Claim, parts: Sequence[Evidence]) -> str:
    """Return how many compared runs of the other row ended before the target; empty when none."""
    if not isinstance(claim, SpeedClaim):
        return ""
    slower = _updates_to_target(claim, parts[1])
    pairs = compared_values(claim, parts)
    count = sum(slower[seed] is None for seed in pairs)
    words = (
        f"; {count} of {len(pairs)} runs of {parts[1].experiment} never reached the target and "
        "count with their full length"
    )
    return words if count else ""
