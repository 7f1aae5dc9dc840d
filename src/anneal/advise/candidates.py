"""Candidate schedules of a recommendation: their learning rates, and the choice among them."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from anneal.config.bounds import apply_bounds
from anneal.config.durations import Duration
from anneal.config.schema import OptimizerConfig, SchedulerConfig
from anneal.config.strict import POSITIVE, Rule
from anneal.results.power import pairs_to_tell_apart
from anneal.results.statistics import FEWEST_RUNS, Interval, mean_interval, paired_interval
from anneal.runs.optimizers import has_momentum


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One candidate schedule.

    Args:
        scheduler: option of ``conf/scheduler`` that gives its shape.
        words: description for the reader.
        at_max: start at the upper bound where ``apply_bounds`` starts at the lower.
        cycles: number of cycles in the run, for a schedule that restarts at its peak.
    """

    scheduler: str
    words: str
    at_max: bool = False
    cycles: int | None = None


NEAR_PCT = 0.5  # points of held-out accuracy that a simpler schedule may cost at most

# Ordered from the simplest: by how often the rate changes direction; a cycled momentum comes last.
# ``apply_bounds`` holds rates at the lower bound, as Smith does. Most later papers start their
# steps as high as their cosines, so both are tried. ``linear``, ``warmup_cosine`` and
# ``warmup_stable_decay`` are what people train and fine-tune transformers with.
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
    "linear": Candidate(scheduler="polynomial", words="a line from the upper bound to 0"),
    "cosine": Candidate(scheduler="cosine", words="one cosine from the upper bound to 0"),
    "warmup_cosine": Candidate(
        scheduler="warmup",
        words="a line up to the upper bound over the first tenth, then one cosine to 0",
    ),
    "warmup_stable_decay": Candidate(
        scheduler="warmup_stable_decay",
        words="a line from 0 to the upper bound over the first tenth, held, a line to 0 over the "
        "last three tenths",
    ),
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
    """The section ``advise`` of ``conf/advise.yaml``."""

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
            "(fewer are not enough for a verdict)",
            lambda v: len(v) == len(set(v)) >= FEWEST_RUNS and all(0 <= s < 2**32 for s in v),
        ),
    ]
    candidates: Annotated[
        tuple[str, ...],
        Rule("must be one or more different candidates", lambda v: 0 < len(v) == len(set(v))),
    ]
    minutes: Annotated[float | None, POSITIVE] = None  # choose lengths, seeds and candidates
    raises: Annotated[int, Rule("must be 0 or more", lambda v: v >= 0)] = 3  # see higher.py


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
        optimizer: its momentum is cycled only if it has one above 0.

    Raises:
        ValueError: the bounds are not two rates in rising order.
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
    """Return warm restarts whose first ``cycles`` cycles cover the whole run.

    A cycle given as a fraction of the run is rounded down to whole updates. The updates left over
    at the end would be another restart, and the run would end at the highest rate. Here the first
    cycle is rounded up instead.

    Args:
        section: with ``growth`` and ``first_cycle``.
        cycles: number of cycles in the run, >= 1.
        total_steps: updates of the run at this budget.
        budget_fraction: factor by which a length in steps is multiplied.
    """
    parts = sum(section.arguments["growth"] ** i for i in range(cycles))
    first = Duration(-(-total_steps // parts) / budget_fraction, "steps")
    arguments = {**section.arguments, "first_cycle": str(first)}
    return dataclasses.replace(section, arguments=arguments)


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """Result of one candidate.

    Args:
        accuracies_pct: seed -> held-out accuracy after the last update, 0..100; None if it
            diverged.
        accuracy: their mean; None if a seed diverged.
        gap: accuracy of the best candidate minus this one's, paired by seed; None for the best
            itself, and if a seed diverged.
        tied: whether it is the best or statistically tied with it.
    """

    name: str
    accuracies_pct: Mapping[int, float | None]
    accuracy: Interval | None
    gap: Interval | None
    tied: bool

    @property
    def num_diverged(self) -> int:
        """Number of seeds that diverged."""
        return sum(value is None for value in self.accuracies_pct.values())


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The recommended candidate, and the reason.

    Args:
        recommended: the simplest candidate that is the best, or is statistically tied with it and
            within ``NEAR_PCT`` of it; None if every candidate diverged at least once, or nothing
            was learnt.
        best: the candidate with the highest mean.
        results: of all candidates, from the simplest.
        reason: one sentence.
    """

    recommended: str | None
    best: str | None
    results: tuple[CandidateResult, ...]
    reason: str

    def describe(self) -> dict[str, Any]:
        """Return the choice as plain data."""
        return dataclasses.asdict(self)


def choose(
    accuracies_pct: Mapping[str, Mapping[int, float | None]],
    *,
    resolution_pct: float,
    chance_pct: float,
) -> Choice:
    """Recommend the best candidate, or a simpler one that is near it and statistically tied.

    A tie is not equality: with few seeds and a wide spread, a tie can hide ten points. So a tied
    candidate is recommended only if its mean is within ``NEAR_PCT`` of the best.

    A candidate is worse than the best if two things hold. The 95 % interval of their differences,
    paired by seed, is above 0. The mean difference is more than one image: three seeds that differ
    in the same single image give an interval of width zero.

    A candidate with a diverged seed is never recommended. Nothing is recommended if the interval of
    the best candidate reaches down to chance.

    >>> seen = {"constant": {0: 90.0, 1: 91.0, 2: 92.0}, "cosine": {0: 95.0, 1: 96.1, 2: 97.0}}
    >>> choose(seen, resolution_pct=0.1, chance_pct=10.0).recommended
    'cosine'
    >>> seen["constant"] = {0: 95.1, 1: 95.0, 2: 96.9}
    >>> choose(seen, resolution_pct=0.1, chance_pct=10.0).recommended
    'constant'
    >>> seen["constant"] = {0: 80.0, 1: 96.0, 2: 96.9}  # also tied, but 5 points lower
    >>> choose(seen, resolution_pct=0.1, chance_pct=10.0).recommended
    'cosine'

    Args:
        accuracies_pct: candidate -> seed -> held-out accuracy at the end, 0..100, None where it
            diverged; the same seeds for each.
        resolution_pct: accuracy of one held-out image, 0..100.
        chance_pct: accuracy of always predicting the most frequent class, 0..100.

    Raises:
        ValueError: the candidates have different seeds, or there are none.
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
        gap = None
        if best is not None and name in whole and name != best:
            gap = paired_interval([whole[best][s] - whole[name][s] for s in whole[best]])
        results.append(
            CandidateResult(
                name=name,
                accuracies_pct=dict(accuracies_pct[name]),
                accuracy=means.get(name),
                gap=gap,
                tied=name == best or (gap is not None and not clearly_above(gap, resolution_pct)),
            )
        )
    tied = [s for s in results if s.tied]
    recommended = next((s for s in tied if s.gap is None or s.gap.mean <= NEAR_PCT), None)
    nothing = best is not None and not _is_above(means[best], chance_pct)
    return Choice(
        recommended=recommended.name if recommended and not nothing else None,
        best=best,
        results=tuple(results),
        reason=(
            f"{best} is the best, but its 95 % interval does not exclude the {chance_pct:.2f} % of "
            "always predicting the most frequent class: too little was learnt to choose by; "
            "increase training.length or budget_fraction"
            if nothing
            else _reason(tied, results, best, recommended)
        ),
    )


def _is_above(accuracy: Interval, chance_pct: float) -> bool:
    return accuracy.low is not None and accuracy.low > chance_pct


def clearly_above(gap: Interval, resolution_pct: float) -> bool:
    """Tell whether a paired difference is above 0, and of more than one image."""
    return gap.low is not None and gap.low > 0 and gap.mean > resolution_pct


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
    leader = next(s for s in tied if s.name == best)
    if len(tied) == 1:
        return f"{_named(leader)} is the best; every other is worse over {num_seeds} seeds{note}"
    others = [_named(s) for s in tied if s is not leader]
    listed = " and ".join(filter(None, [", ".join(others[:-1]), others[-1]]))
    words = (
        f"{_named(leader)} is the best and statistically tied over {num_seeds} seeds with "
        f"{listed}; {recommended.name} is the simplest of these within {NEAR_PCT:g} points of it"
    )
    gap = recommended.gap
    if gap is not None and gap.sd is not None and gap.mean > 0:
        needed = pairs_to_tell_apart(mean=gap.mean, sd=gap.sd)
        if needed is not None and needed > num_seeds:
            words += f" ({needed} seeds would separate it from {best} with 80 % power)"
    return words + note


def _named(result: CandidateResult) -> str:
    assert result.accuracy is not None
    return f"{result.name} ({result.accuracy.mean:.2f} %)"
