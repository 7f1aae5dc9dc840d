"""Candidate schedules of a recommendation: their rates, and the choice between them."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from anneal.config.bounds import apply_bounds
from anneal.config.durations import Duration
from anneal.config.schema import OptimizerConfig, SchedulerConfig
from anneal.config.strict import Rule
from anneal.results.power import pairs_to_tell_apart
from anneal.results.statistics import FEWEST_RUNS, Interval, mean_interval, paired_interval
from anneal.runs.optimizers import has_momentum


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One schedule that is tried.

    Args:
        scheduler: option of ``conf/scheduler`` that gives its shape.
        words: what it does, for people.
        at_max: start at the upper bound where ``apply_bounds`` starts at the lower.
        cycles: how many of them fill the run, of a schedule that restarts at its peak.
    """

    scheduler: str
    words: str
    at_max: bool = False
    cycles: int | None = None


NEAR_PCT = 0.5  # points of held-out accuracy that a simpler schedule may cost at most

# From the simplest to the least simple: how often the rate turns, and at last a momentum that
# moves with it. ``apply_bounds`` holds rates at the lower bound, as Smith does; most papers since
# start their steps as high as their cosines, so that both are tried.
CANDIDATES: dict[str, Candidate] = {
    "constant": Candidate(scheduler="constant", words="the lower bound throughout"),
    "step_decay": Candidate(
        scheduler="step_decay", words="the lower bound, a tenth of it after 1/2, again after 3/4"
    ),
    "step_decay_max": Candidate(
        scheduler="step_decay",
        words="the upper bound, a tenth of it after 1/2, again after 3/4",
        at_max=True,
    ),
    "cosine": Candidate(scheduler="cosine", words="one cosine from the upper bound to 0"),
    "triangular2": Candidate(
        scheduler="triangular2",
        words="four triangles between the bounds, each half as high as the one before",
    ),
    "cosine_restarts": Candidate(
        scheduler="cosine_restarts",
        words="three cosines from the upper bound to 0, each twice as long as the one before",
        cycles=3,
    ),
    "one_cycle": Candidate(
        scheduler="one_cycle",
        words="one triangle between the bounds, then down to 1/100 of the lower; the momentum "
        "falls while the rate climbs",
    ),
}


@dataclass(frozen=True, kw_only=True)
class AdviceConfig:
    """What ``conf/advise.yaml`` adds to a run."""

    name: Annotated[
        str,
        Rule(
            "must be the plain name of a folder (letters, digits, . _ -)",
            lambda v: re.fullmatch(r"[\w-][\w.-]*", v) is not None,
        ),
    ]
    seeds: Annotated[
        tuple[int, ...],
        Rule(
            f"must be {FEWEST_RUNS} or more different whole numbers from 0 to 2**32 - 1 "
            "(fewer can settle nothing)",
            lambda v: len(v) == len(set(v)) >= FEWEST_RUNS and all(0 <= s < 2**32 for s in v),
        ),
    ]
    candidates: Annotated[
        tuple[str, ...],
        Rule("must be one or more different candidates", lambda v: 0 < len(v) == len(set(v))),
    ]


def at_bounds(
    name: str,
    shape: SchedulerConfig,
    *,
    base_lr: float,
    max_lr: float,
    optimizer: OptimizerConfig,
) -> SchedulerConfig:
    """Return a candidate's scheduler section at a pair of bounds.

    Args:
        name: a key of ``CANDIDATES``.
        shape: the option of ``conf/scheduler`` that it names.
        base_lr: lower bound, > 0.
        max_lr: upper bound, > base_lr.
        optimizer: one that has no momentum, or is told to use none, gets none to cycle.

    Raises:
        ValueError: the pair is no pair.
    """
    arguments = apply_bounds(shape.name, shape.arguments, base_lr, max_lr)
    if CANDIDATES[name].at_max:
        arguments["initial_lr"] = max_lr
    moves = has_momentum(optimizer.name) and optimizer.arguments.get("momentum") != 0
    return dataclasses.replace(
        shape, arguments=arguments, momentum=shape.momentum if moves else None
    )


def fill_run(
    section: SchedulerConfig, *, cycles: int, total_steps: int, budget_fraction: float
) -> SchedulerConfig:
    """Return warm restarts of which ``cycles`` last until the run ends, and not a little less.

    A fraction of the run is rounded down to whole updates; what is then left over at the end would
    be another restart, so that the run would end at the highest rate.

    Args:
        section: with ``growth`` and ``first_cycle``.
        cycles: that fill the run, >= 1.
        total_steps: updates of the run at this budget.
        budget_fraction: by which a length in steps is multiplied.
    """
    parts = sum(section.arguments["growth"] ** i for i in range(cycles))
    first = Duration(-(-total_steps // parts) / budget_fraction, "steps")
    arguments = {**section.arguments, "first_cycle": str(first)}
    return dataclasses.replace(section, arguments=arguments)


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """How one candidate did.

    Args:
        accuracies_pct: by seed, on held-out images after the last update; None where it diverged.
        accuracy: their mean; None when a seed diverged.
        behind: the best one's accuracy less this one's, paired by seed; None for the best itself
            and where a seed diverged.
        tied: it is the best, or the seeds cannot tell it from the best.
    """

    name: str
    accuracies_pct: Mapping[int, float | None]
    accuracy: Interval | None
    behind: Interval | None
    tied: bool

    @property
    def num_diverged(self) -> int:
        """How many seeds diverged."""
        return sum(value is None for value in self.accuracies_pct.values())


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is recommended, and why.

    Args:
        recommended: the simplest of the best and those that the seeds cannot tell from it and that
            lie within ``NEAR_PCT`` of it; None when each candidate diverged at least once, or
            nothing was learnt.
        best: the one with the highest mean.
        results: of all candidates, from the simplest.
        reason: in words.
    """

    recommended: str | None
    best: str | None
    results: tuple[CandidateResult, ...]
    reason: str

    def describe(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dataclasses.asdict(self)


def choose(
    accuracies_pct: Mapping[str, Mapping[int, float | None]],
    *,
    resolution_pct: float,
    chance_pct: float,
) -> Choice:
    """Recommend the best candidate, or a simpler one that is near it and cannot be told from it.

    Not told apart is not equal: few seeds that spread widely hide ten points. So the simplest is
    taken only of those whose mean, too, lies within ``NEAR_PCT`` of the highest. Another is
    worse than the best when the 95 % interval of their differences, paired by seed, lies above 0,
    and their mean is more than what one image counts: a difference that three seeds make
    in the same single image has an interval without width. A candidate of which a seed diverged is
    never recommended, and none is where not even the best has learnt anything for certain.

    >>> seen = {"constant": {0: 90.0, 1: 91.0, 2: 92.0}, "cosine": {0: 95.0, 1: 96.1, 2: 97.0}}
    >>> choose(seen, resolution_pct=0.1, chance_pct=10.0).recommended
    'cosine'
    >>> seen["constant"] = {0: 95.1, 1: 95.0, 2: 96.9}
    >>> choose(seen, resolution_pct=0.1, chance_pct=10.0).recommended
    'constant'
    >>> seen["constant"] = {0: 80.0, 1: 96.0, 2: 96.9}  # not told apart either, and 5 points lower
    >>> choose(seen, resolution_pct=0.1, chance_pct=10.0).recommended
    'cosine'

    Args:
        accuracies_pct: candidate -> seed -> held-out accuracy at the end, 0..100, None where it
            diverged; the same seeds for each.
        resolution_pct: what one held-out image counts.
        chance_pct: the accuracy of always answering with the most frequent class.

    Raises:
        ValueError: the candidates were tried with different seeds, or there is none.
    """
    if not accuracies_pct or len({frozenset(of) for of in accuracies_pct.values()}) != 1:
        raise ValueError("candidates must be tried with the same seeds, at least one")
    names = sorted(accuracies_pct, key=list(CANDIDATES).index)
    whole: dict[str, dict[int, float]] = {}
    for name in names:
        of_name = {s: value for s, value in accuracies_pct[name].items() if value is not None}
        if len(of_name) == len(accuracies_pct[name]):
            whole[name] = of_name
    means = {name: mean_interval(list(of.values())) for name, of in whole.items()}
    best = max(means, key=lambda name: means[name].mean, default=None)
    results = []
    for name in names:
        behind = None
        if best is not None and name in whole and name != best:
            behind = paired_interval([whole[best][s] - whole[name][s] for s in whole[best]])
        results.append(
            CandidateResult(
                name=name,
                accuracies_pct=dict(accuracies_pct[name]),
                accuracy=means.get(name),
                behind=behind,
                tied=name == best or (behind is not None and not _is_worse(behind, resolution_pct)),
            )
        )
    tied = [s for s in results if s.tied]
    recommended = next((s for s in tied if s.behind is None or s.behind.mean <= NEAR_PCT), None)
    nothing = best is not None and not _is_above(means[best], chance_pct)
    return Choice(
        recommended=recommended.name if recommended and not nothing else None,
        best=best,
        results=tuple(results),
        reason=(
            f"{best}, the highest, is not above the {chance_pct:.2f} % of always answering with "
            "the most frequent class for certain: too little was learnt to choose by, give "
            "training.length (or budget_fraction) more"
            if nothing
            else _reason(tied, results, best, recommended)
        ),
    )


def _is_above(accuracy: Interval, chance_pct: float) -> bool:
    return accuracy.low is not None and accuracy.low > chance_pct


def _is_worse(behind: Interval, resolution_pct: float) -> bool:
    return behind.low is not None and behind.low > 0 and behind.mean > resolution_pct


def _reason(
    tied: Sequence[CandidateResult],
    results: Sequence[CandidateResult],
    best: str | None,
    recommended: CandidateResult | None,
) -> str:
    note = "".join(
        f"; {s.name} diverged with {s.num_diverged} of {len(s.accuracies_pct)} seeds"
        for s in results
        if s.num_diverged
    )
    if best is None or recommended is None:
        return f"no candidate trained to its end with every seed{note}"
    num_seeds = len(results[0].accuracies_pct)
    if len(results) == 1:
        return f"{best} is the only candidate{note}"
    highest = next(s for s in tied if s.name == best)
    if len(tied) == 1:
        return (
            f"{_named(highest)} is the best, and each other is worse with {num_seeds} seeds{note}"
        )
    others = [_named(s) for s in tied if s is not highest]
    listed = " and ".join(filter(None, [", ".join(others[:-1]), others[-1]]))
    words = (
        f"{_named(highest)} is the highest, but {num_seeds} seeds cannot tell it from {listed}; "
        f"{recommended.name} is the simplest of these within {NEAR_PCT:g} points of the highest"
    )
    behind = recommended.behind
    if behind is not None and behind.sd is not None and behind.mean > 0:
        needed = pairs_to_tell_apart(mean=behind.mean, sd=behind.sd)
        if needed is not None and needed > num_seeds:
            words += f" ({needed} seeds would tell it from {best} with a chance of 80 %)"
    return words + note


def _named(result: CandidateResult) -> str:
    assert result.accuracy is not None
    return f"{result.name} ({result.accuracy.mean:.2f} %)"
