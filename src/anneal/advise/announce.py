"""Announce the cost of a recommendation before anything is trained."""

from collections.abc import Mapping

from anneal.advise.question import Question
from anneal.advise.trials import Trial, measure_pace, run_directory
from anneal.io.terminal import say
from anneal.io.text import duration_words, number


def announce_all(question: Question, *, is_swept: bool) -> None:
    """Print the data, the network and the total cost.

    Args:
        question: the question.
        is_swept: whether its range test is finished. The cost is then left to ``announce_rest``.
    """
    setup, sweep, config = question.setup, question.sweep, question.experiment.range_test
    data_set = setup.data
    say(
        f"{question.experiment.model.architecture} on {question.experiment.dataset.name}: "
        f"{data_set.num_classes} classes, {number(len(sweep.training))} training images, "
        f"{number(len(sweep.held_out))} held-out images"
    )
    if is_swept:
        return
    plans = question.plans(1.0, 2.0)
    seeds = len(question.advice.seeds)
    more = seeds if question.advice.raises else 0  # at higher bounds
    trials, steps = len(plans) * seeds + more, _steps_of(plans)
    sweeps = len(config.seeds)
    updates = sweeps * sweep.total_steps + trials * steps
    evaluations = sweeps * (config.points + 1) + trials * question.experiment.training.evaluations
    say(
        f"cost: {number(updates)} updates (range test: {sweeps} seed{'s' * (sweeps > 1)} x "
        f"{number(sweep.total_steps)}; {len(plans)} candidates x {seeds} "
        f"seeds x {number(steps)}{_higher_words(more, steps)})"
        f"{_time_words(question, updates, evaluations)}"
    )


def _higher_words(trials: int, steps: int) -> str:
    return f"; at least {trials} x {number(steps)} at higher bounds" if trials else ""


def announce_rest(question: Question, plans: Mapping[str, Trial]) -> None:
    """Print the cost of the trials that an earlier start left unfinished."""
    left = [
        plan
        for plan in plans.values()
        for seed in question.advice.seeds
        if run_directory(plan, question.setup, seed=seed).result() is None
    ]
    trials = len(plans) * len(question.advice.seeds)
    if not left:
        say(f"cost: nothing, the {trials} trials are finished")
        return
    updates = len(left) * _steps_of(plans)
    evaluations = len(left) * question.experiment.training.evaluations
    say(
        f"cost: at most {number(updates)} updates ({len(left)} of {trials} trials are left)"
        f"{_time_words(question, updates, evaluations)}"
    )


def _time_words(question: Question, updates: int, evaluations: int) -> str:
    pace = measure_pace(question.setup, question.sweep)
    seconds = updates * pace.update_seconds + evaluations * pace.evaluation_seconds
    return (
        f", about {duration_words(seconds)} at {pace.update_seconds:.2g} s each "
        f"(measured over {pace.num_updates} updates)"
    )


def _steps_of(plans: Mapping[str, Trial]) -> int:
    return next(iter(plans.values())).total_steps
