"""A budget in minutes: how long to sweep, which candidates to try, with how many seeds and updates.

The configuration is the upper limit: the budget takes from its seeds, candidates and lengths.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal.advise.candidates import CANDIDATES
from anneal.advise.question import ADVISE_FILE, Question, ask_again, refuse_other_question
from anneal.advise.trials import Pace, measure_pace
from anneal.config.durations import Duration
from anneal.config.strict import configuration_hash, parse, to_plain
from anneal.io.files import read_json, write_json
from anneal.io.terminal import say
from anneal.io.text import duration_words, number
from anneal.results.statistics import FEWEST_RUNS

CHOSEN = "budget.json"
RESERVE = 0.15  # of the minutes: start, figures, a machine that gets slower
SWEEP_SHARE = 0.25  # of the rest, at most
ENOUGH = 0.25  # of training.length: shorter trials only where fewer candidates do not help
RAISES = 2  # of the bounds, at most, that the plan has time for
FEWEST_UPDATES, FEWEST_EVALUATIONS = 20, 2  # of a trial
EVALUATION_SHARE = 0.25  # of a trial's time, at most
# From the one to try first: one of each kind, then its relatives.
FIRST = (
    "cosine", "one_cycle", "linear", "warmup_cosine", "step_decay_max", "warmup_stable_decay",
    "cosine_restarts", "triangular2", "step_decay", "constant",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a budget may choose: what is configured.

    Args:
        full_steps: updates of the full run.
        fraction: budget_fraction.
        evaluations: of a trial.
        candidates: names.
        seeds: number of seeds of a candidate.
        sweep_steps: updates of one sweep.
        sweep_seeds: number of sweeps.
        points: evaluations of one sweep.
        raises: how often the bounds may be raised.
    """

    full_steps: int
    fraction: float
    evaluations: int
    candidates: tuple[str, ...]
    seeds: int
    sweep_steps: int
    sweep_seeds: int
    points: int
    raises: int


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a budget chose.

    Args:
        sweep_seeds: number of sweeps.
        sweep_steps: updates of one sweep.
        candidates: names.
        seeds: number of seeds of a candidate.
        fraction: of the full run that a trial takes, two digits.
        evaluations: of a trial.
        seconds: what this takes at the measured pace.
    """

    sweep_seeds: int
    sweep_steps: int
    candidates: tuple[str, ...]
    seeds: int
    fraction: float
    evaluations: int
    seconds: float


def choose_budget(minutes: float, pace: Pace, limits: Limits) -> Budget:
    """Return the largest range test and trials that fit into the minutes.

    The range test gets at most a quarter of the time: first fewer seeds, then fewer updates. The
    rest is for the trials. As many candidates and seeds are tried as leave each trial a quarter of
    the full length (or ``budget_fraction``, if that is less); a candidate goes before two seeds.

    Raises:
        ValueError: not even the smallest choice fits; says which minutes would.
    """
    seconds = 60 * minutes * (1 - RESERVE)
    update, evaluation = pace.update_seconds, pace.evaluation_seconds
    fixed = evaluation * (limits.points + 1)

    def sweeps(seeds: int, steps: int) -> float:
        return seeds * (fixed + steps * update)

    sweep_seeds, sweep_steps = limits.sweep_seeds, limits.sweep_steps
    while sweep_seeds > 1 and sweeps(sweep_seeds, sweep_steps) > SWEEP_SHARE * seconds:
        sweep_seeds -= 1
    affordable = int((SWEEP_SHARE * seconds - fixed) / update)
    sweep_steps = max(min(sweep_steps, affordable), min(sweep_steps, 2 * limits.points))
    spent = sweeps(sweep_seeds, sweep_steps)
    ordered = [name for name in FIRST if name in limits.candidates]
    few = min(3, len(ordered))
    more = min(limits.raises, RAISES)  # trials of each seed at higher bounds
    counts = sorted({len(ordered), *(n for n in (6, 4) if few < n < len(ordered)), few})[::-1]
    numbers = sorted({limits.seeds, FEWEST_RUNS})[::-1]
    for count in counts:
        for seeds in numbers:
            per_trial = (seconds - spent) / ((count + more) * seeds)
            steps, evaluations = _trial(per_trial, pace, limits)
            fraction = min(limits.fraction, _two_digits(steps / limits.full_steps))
            if fraction >= min(ENOUGH, limits.fraction):
                break
        else:
            continue
        break
    steps, trials = int(fraction * limits.full_steps), (count + more) * seeds
    if steps < min(FEWEST_UPDATES, limits.full_steps * limits.fraction):
        least = FEWEST_UPDATES * update + FEWEST_EVALUATIONS * evaluation
        needed = (spent + trials * least) / (1 - RESERVE) / 60
        raise ValueError(
            f"{ADVISE_FILE}: advise.minutes must be at least {math.ceil(needed)} for {count} "
            f"candidates, {seeds} seeds and {FEWEST_UPDATES} updates at {update:.2g} s an update "
            f"and {evaluation:.2g} s an evaluation, got {minutes:g}"
        )
    chosen = set(ordered[:count])
    return Budget(
        sweep_seeds=sweep_seeds,
        sweep_steps=sweep_steps,
        candidates=tuple(name for name in CANDIDATES if name in chosen),
        seeds=seeds,
        fraction=fraction,
        evaluations=evaluations,
        seconds=spent + trials * (steps * update + evaluations * evaluation),
    )


def _trial(seconds: float, pace: Pace, limits: Limits) -> tuple[int, int]:
    """Return the updates and the evaluations of a trial of so many seconds."""
    most = int(EVALUATION_SHARE * seconds / max(pace.evaluation_seconds, 1e-9))
    evaluations = min(limits.evaluations, max(FEWEST_EVALUATIONS, most))
    return int((seconds - evaluations * pace.evaluation_seconds) / pace.update_seconds), evaluations


def _two_digits(share: float) -> float:
    """Round down to two significant digits.

    >>> _two_digits(0.03789), _two_digits(7.89), _two_digits(-1.0)
    (0.037, 7.8, 0.0)
    """
    if share <= 0:
        return 0.0
    digits = 1 - math.floor(math.log10(share))
    power = 10.0**digits
    return round(math.floor(share * power + 1e-9) / power, digits)


def fit_minutes(question: Question, *, folder: Path) -> Question:
    """Return the question with what fits into ``advise.minutes``, and say what was chosen.

    The choice is kept in the folder: the same question again goes on with it.

    Raises:
        ValueError: the minutes are too few, or the folder has the answer to another question.
    """
    minutes = question.advice.minutes
    assert minutes is not None
    key = configuration_hash({"question": question.digest, "advise": to_plain(question.advice)})
    file = folder / CHOSEN
    kept: dict[str, Any] = read_json(file) if file.is_file() else {}
    if kept.get("of") == key:
        budget = parse(Budget, kept["chosen"], where=str(file))
        smaller = _within(question, budget)
        say(f"{minutes:g} min: as chosen before ({file})")
    else:
        say(f"{minutes:g} min: timing a few updates and an evaluation first")
        pace = measure_pace(question.setup, question.sweep)
        budget = choose_budget(minutes, pace, _limits(question))
        smaller = _within(question, budget)
        refuse_other_question(folder, smaller.digest)  # whose choice is in the folder
        write_json(file, {"of": key, "chosen": to_plain(budget)})
        say(
            f"{minutes:g} min at {pace.update_seconds:.2g} s an update and "
            f"{pace.evaluation_seconds:.2g} s an evaluation (measured over {pace.num_updates} "
            f"updates), {duration_words(budget.seconds)} of it planned"
        )
    for line in describe_budget(budget, _limits(question)):
        say(f"  {line}")
    return smaller


def describe_budget(budget: Budget, limits: Limits) -> list[str]:
    """Return what was chosen, of what is configured, in lines."""
    steps = int(budget.fraction * limits.full_steps)
    return [
        f"range test: {budget.sweep_seeds} of {limits.sweep_seeds} seeds, "
        f"{number(budget.sweep_steps)} of {number(limits.sweep_steps)} updates",
        f"candidates: {len(budget.candidates)} of {len(limits.candidates)} "
        f"({', '.join(budget.candidates)})",
        f"trials: {budget.seeds} of {limits.seeds} seeds, {number(steps)} of "
        f"{number(limits.full_steps)} updates, {budget.evaluations} of {limits.evaluations} "
        "evaluations",
    ]


def _limits(question: Question) -> Limits:
    experiment, advice = question.experiment, question.advice
    plan = next(iter(question.plans(1.0, 2.0).values()))
    return Limits(
        full_steps=plan.full_total_steps,
        fraction=experiment.budget_fraction,
        evaluations=experiment.training.evaluations,
        candidates=tuple(question.shapes),
        seeds=len(advice.seeds),
        sweep_steps=question.sweep.total_steps,
        sweep_seeds=len(experiment.range_test.seeds),
        points=experiment.range_test.points,
        raises=advice.raises,
    )


def _within(question: Question, budget: Budget) -> Question:
    experiment, advice = question.experiment, question.advice
    range_test = dataclasses.replace(
        experiment.range_test,
        seeds=experiment.range_test.seeds[: budget.sweep_seeds],
        length=Duration(budget.sweep_steps, "steps"),
    )
    smaller = dataclasses.replace(
        experiment,
        range_test=range_test,
        training=dataclasses.replace(experiment.training, evaluations=budget.evaluations),
        budget_fraction=budget.fraction,
    )
    chosen = dataclasses.replace(
        advice, seeds=advice.seeds[: budget.seeds], candidates=budget.candidates
    )
    return ask_again(question, chosen, smaller)
