"""Observed values of a claim: the numbers of our runs to compare, and failed runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.results.curves import updates_to_target
from anneal.results.metrics import Evidence, find_metric, restate
from anneal.results.statistics import FEWEST_RUNS

ONE_SIDE = 0.05


def compared_values(claim: Claim, parts: Sequence[Evidence]) -> dict[int, float]:
    """Return, by seed, the single numbers whose mean is compared with a claim.

    They are measurements, paired differences in the direction of an improvement, or ratios of
    updates to the target; a run of the other row that never reached it counts with its length.
    A row that draws nothing is the pair of every seed.

    Args:
        claim: what the paper says.
        parts: the evidence on its experiments, in the claim's order.
    """
    if isinstance(claim, ValueClaim):
        return parts[0].values(claim.metric)
    if isinstance(claim, OrderClaim):
        better, worse = measured_values(claim, parts)
        if parts[0].draws_nothing and len(better) == 1:
            better = dict.fromkeys(worse, *better.values())
        elif parts[-1].draws_nothing and len(worse) == 1:
            worse = dict.fromkeys(better, *worse.values())
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
            ends=part.setting.ends() if part.setting else (run.updates,),
        )
        for run in part.runs
        if run.finished and run.curve
    }


@dataclass(frozen=True)
class Failure:
    """Runs that a claim rests on and that failed in one way.

    Args:
        condemns: whether there are so many that the claim is not reproduced.
        words: how many did, in a sentence.
    """

    condemns: bool
    words: str


def find_failures(claim: Claim, parts: Sequence[Evidence]) -> list[Failure]:
    """Return the failures of the experiment that a claim calls better; empty without any.

    Half of three or more that diverged condemn. Runs that never reached a target do where the exact
    binomial test against one half is significant at 5 %: five of five, seven of eight. Where no run
    of either row reached it, they condemn nothing.
    """
    found: list[Failure] = []
    praised = parts[0]
    if isinstance(claim, SpeedClaim):
        faster, slower = (list(_updates_to_target(claim, part).values()) for part in parts)
        never, total = faster.count(None), len(faster)
        words = f"{never} of {total} runs of {praised.experiment} never reached the target"
        none_did = bool(slower) and slower.count(None) == len(slower)
        if none_did:
            words += f", and none of {parts[1].experiment} did"
        if never:
            out_of_reach = none_did and never == total
            found.append(Failure(_mostly_fails(never, total) and not out_of_reach, words))
    total, diverged = len(praised.runs), praised.num_diverged
    if diverged:
        condemns = total >= FEWEST_RUNS and 2 * diverged >= total
        found.append(
            Failure(condemns, f"{diverged} of {total} runs of {praised.experiment} diverged")
        )
    return found


def _mostly_fails(count: int, total: int) -> bool:
    """Return whether runs fail more often than not, at 5 % on one side.

    >>> _mostly_fails(4, 4), _mostly_fails(5, 5), _mostly_fails(6, 8), _mostly_fails(7, 8)
    (False, True, False, True)
    """
    return bool(special.bdtrc(count - 1, total, 0.5) <= ONE_SIDE)


def cut_short_words(claim: Claim, parts: Sequence[Evidence]) -> str:
    """Return how many compared runs of the other row ended before the target; empty when none."""
    if not isinstance(claim, SpeedClaim):
        return ""
    slower = _updates_to_target(claim, parts[1])
    pairs = compared_values(claim, parts)
    count = sum(slower[seed] is None for seed in pairs)
    words = (
        f"{count} of {len(pairs)} runs of {parts[1].experiment} never reached the target and "
        "count with their full length"
    )
    return words if count else ""
