"""From a question to a recommendation: range test, trials, choice, output files."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from anneal.advise.announce import announce_all, announce_rest
from anneal.advise.bounds import multiplied, take_bounds
from anneal.advise.budget import FIRST
from anneal.advise.candidates import Choice, choose
from anneal.advise.figure import draw_advice
from anneal.advise.higher import Higher, try_higher
from anneal.advise.lines import Lines
from anneal.advise.page import PICTURE, RANGE_TEST_PICTURE, Advice, data, page, snippet_file
from anneal.advise.question import ANSWER, Question
from anneal.advise.trials import OWN_CODE, Trial, read_trial_curve, run_directory, run_trial
from anneal.io.csv_files import read_columns
from anneal.io.files import read_json, write_json, write_whole
from anneal.io.terminal import say
from anneal.io.text import duration_words
from anneal.range_test.record import RangeTestRecord, read_range_test
from anneal.runs.code_digest import code_digest
from anneal.runs.layout import CURVE, MULTIRUN
from anneal.runs.range_test import PICTURE as SWEEP_PICTURE
from anneal.runs.range_test import find_bounds, suggestion_file

RANGE_TEST_FOLDER = MULTIRUN / "range_tests"
PAGE, SNIPPET = "advice.md", "snippet.py"


def recommend(question: Question, *, command: Sequence[str], folder: Path) -> Advice:
    """Run the range test and the trials, choose a candidate, write the output files.

    Finished sweeps and trials are not run again.

    Args:
        question: the question.
        command: its overrides.
        folder: for the page, the data, the snippet and the figures.

    Raises:
        NoBoundsError: the range test gives no bounds; names the setting to change.
    """
    experiment, setup = question.experiment, question.setup
    is_swept = suggestion_file(experiment, setup, folder=RANGE_TEST_FOLDER).is_file()
    announce_all(question, is_swept=is_swept)
    suggestion = find_bounds(experiment, setup, folder=RANGE_TEST_FOLDER)
    record = _read_sweeps(suggestion)
    bounds = take_bounds(
        record,
        experiment.range_test,
        total_steps=question.sweep.total_steps,
        picture=suggestion.with_name(SWEEP_PICTURE),
    )
    _say_bounds(record, *bounds)
    higher = find_higher(question, bounds)
    bounds = multiplied(bounds, higher.factor)
    if higher.num_more:
        say(f"bounds: {bounds[0]:g} to {bounds[1]:g} ({higher.words})")
    plans = question.plans(*bounds)
    if is_swept:
        announce_rest(question, plans)
    choice = choose(
        run_trials(question, plans),
        resolution_pct=_resolution_pct(question),
        chance_pct=_chance_pct(question),
    )
    advice = _advice(command, question, record, plans, choice, bounds, higher)
    picture = draw_advice(
        list(record.curves.values()),
        record.readings[record.rule],
        {
            name: {s: read_trial_curve(plan, setup, seed=s) for s in question.advice.seeds}
            for name, plan in plans.items()
        },
        choice,
        title=f"Recommendation: {advice.about}",
    )
    write_whole(folder / PICTURE, picture)
    write_whole(folder / RANGE_TEST_PICTURE, suggestion.with_name(SWEEP_PICTURE).read_bytes())
    write_whole(folder / SNIPPET, snippet_file(advice))
    write_whole(folder / PAGE, page(advice))
    write_json(folder / ANSWER, data(advice))
    return advice


def _read_sweeps(suggestion: Path) -> RangeTestRecord:
    plain = read_json(suggestion) | {"curve": read_columns(suggestion.with_name(CURVE))}
    return read_range_test(plain, where=str(suggestion))


def _say_bounds(record: RangeTestRecord, base_lr: float, max_lr: float) -> None:
    say(f"bounds: {base_lr:g} to {max_lr:g} ({record.rule})")
    for rule, reading in record.readings.items():
        pair = f"{reading.base_lr:.3g} to {reading.max_lr:.3g}" if reading.found else "abstains"
        say(f"  {rule}: {pair}; {reading.reason}")


def find_higher(question: Question, bounds: tuple[float, float]) -> Higher:
    """Train the first candidate of a budget's order at the bounds, and at higher ones."""
    name = next(name for name in FIRST if name in question.shapes)
    if not question.advice.raises:
        return Higher(candidate=name, accuracies_pct={1: {}}, factor=1)

    def train(factor: int) -> Mapping[int, float | None]:
        plan = question.plans(*multiplied(bounds, factor))[name]
        return run_trials(question, {name: plan})[name]

    return try_higher(
        name, train, raises=question.advice.raises, resolution_pct=_resolution_pct(question)
    )


def run_trials(
    question: Question, plans: Mapping[str, Trial]
) -> dict[str, dict[int, float | None]]:
    """Train the unfinished trials: all candidates with one seed, then the next seed."""
    seeds = question.advice.seeds
    accuracies: dict[str, dict[int, float | None]] = {name: {} for name in plans}
    left = sum(
        run_directory(plan, question.setup, seed=seed).result() is None
        for plan in plans.values()
        for seed in seeds
    )
    trained, began = 0, time.monotonic()
    for number_of_seed, seed in enumerate(seeds):
        for place, (name, plan) in enumerate(plans.items(), start=1):
            trial = number_of_seed * len(plans) + place
            label = f"{trial} of {len(plans) * len(seeds)}: {name}, seed {seed}"
            if trained:
                seconds = (time.monotonic() - began) / trained * (left - trained)
                label += f", about {duration_words(seconds)} left"
            is_finished = run_directory(plan, question.setup, seed=seed).result() is not None
            trained += not is_finished
            accuracies[name][seed] = run_trial(
                plan, question.setup, question.sweep, seed=seed, label=label
            )
    return accuracies


def _resolution_pct(question: Question) -> float:
    """Return the accuracy of one held-out image."""
    return 100 / len(question.sweep.held_out)


def _chance_pct(question: Question) -> float:
    """Return the held-out accuracy of always predicting the most frequent class."""
    held_out = question.sweep.held_out
    labels = question.setup.data.train.labels.cpu()[held_out]
    return 100 * int(labels.bincount().max()) / len(held_out)


def _advice(
    arguments: Sequence[str],
    question: Question,
    record: RangeTestRecord,
    plans: Mapping[str, Trial],
    choice: Choice,
    bounds: tuple[float, float],
    higher: Higher,
) -> Advice:
    trial = next(iter(plans.values()))
    whole = dataclasses.replace(
        question, experiment=dataclasses.replace(question.experiment, budget_fraction=1.0)
    ).plans(*bounds)
    shown = [] if choice.recommended is None else [choice.recommended, choice.best or ""]
    lines = [
        Lines(
            name=name,
            schedule=whole[name].schedule.describe(),
            momentum=momentum.describe() if (momentum := whole[name].momentum) else None,
            total_steps=whole[name].total_steps,
            layer_decay=question.experiment.fine_tuning.layer_decay != 1,
        )
        for name in dict.fromkeys(shown)
    ]
    experiment = dict(trial.describe()["configuration"])
    for key in ("scheduler", "name", "title", "bounds"):
        del experiment[key]
    return Advice(
        question=question.digest,
        command=arguments,
        experiment=experiment,
        rule=record.rule,
        readings=record.readings,
        base_lr=bounds[0],
        max_lr=bounds[1],
        higher=higher,
        sweep_updates=question.sweep.total_steps * len(record.curves),
        trial_updates=trial.total_steps,
        full_updates=trial.full_total_steps,
        num_training=len(question.sweep.training),
        num_held_out=len(question.sweep.held_out),
        choice=choice,
        plans={name: plan.describe() for name, plan in plans.items()},
        lines=tuple(lines),
        settings=question.setup.settings.describe(),
        code=code_digest(OWN_CODE),
    )
