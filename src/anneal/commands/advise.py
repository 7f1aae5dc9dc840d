"""Bounds and a schedule for your own data and network (edge).

``anneal advise dataset=imagefolder dataset.folder=photos model=timm optimizer=sgd
training.length="20 epochs" budget_fraction=0.1``; options and values are those of ``anneal run``
(``anneal run --help`` lists them), the schedule apart, which is what is advised:

1. A range test on held-out training images, with several seeds, suggests bounds. Where it gives
   none it says why and what to do next, and nothing else is run.
2. Each candidate (``advise.candidates``) is trained between these bounds with the same seeds
   (``advise.seeds``) for the same number of updates, ``training.length`` times
   ``budget_fraction``, and measured on the held-out images. No test image is looked at.
3. The best is recommended, or the simplest of those that the seeds cannot tell from it and whose
   mean lies within half a point of its own, with the lines to paste.

All of it lies in ``advice/<advise.name>/`` then: advice.md, advice.json, snippet.py and two
pictures. What is finished is not run again when the same is asked once more.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anneal.advise.candidates import Choice, choose
from anneal.advise.figure import draw_advice
from anneal.advise.page import (
    PICTURE,
    RANGE_TEST_PICTURE,
    Advice,
    Lines,
    data,
    page,
    snippet_file,
    table_lines,
)
from anneal.advise.question import ANSWER, Question, ask, refuse_another
from anneal.advise.trials import Trial, measure_pace, read_curve, run_directory, run_trial
from anneal.claims.words import number
from anneal.commands.status import in_words
from anneal.config.folders import own_folder_first
from anneal.config.schema import RangeTestConfig
from anneal.io.files import read_json, write_json, write_whole
from anneal.io.terminal import command, say
from anneal.range_test.record import RangeTestRecord, read_range_test
from anneal.results.csv_files import read_columns
from anneal.runs.code_digest import code_digest
from anneal.runs.inputs import NoBoundsError
from anneal.runs.layout import ADVICE, CURVE, MULTIRUN
from anneal.runs.range_test import PICTURE as SWEEP_PICTURE
from anneal.runs.range_test import find_bounds, suggestion_file

SWEEPS = MULTIRUN / "range_tests"
PAGE, SNIPPET = "advice.md", "snippet.py"
DIGITS = 3  # of the bounds: a range test knows no more, and what is pasted stays readable


@command(free=True)
def main(arguments: list[str]) -> None:
    """Advise on bounds and a schedule: anneal advise dataset=digits optimizer=sgd."""
    with own_folder_first(arguments) as left:
        question = ask(left)
    folder = ADVICE / question.advice.name
    refuse_another(folder, question.digest)
    announced = _announce_all(question)
    suggestion = find_bounds(question.experiment, question.workshop, folder=SWEEPS)
    found = read_json(suggestion)
    record = read_range_test(
        found | {"curve": read_columns(suggestion.with_name(CURVE))}, where=str(suggestion)
    )
    base_lr, max_lr = take_bounds(found, question.experiment.range_test, suggestion.parent)
    _say_bounds(record, base_lr, max_lr)
    plans = question.plans(base_lr, max_lr)
    if not announced:
        _announce_rest(question, plans)
    choice = choose(
        _run_trials(question, plans),
        resolution_pct=100 / len(question.sweep.held_out),
        chance_pct=_chance_pct(question),
    )
    advice = _advice(arguments, question, record, plans, choice, (base_lr, max_lr))
    picture = draw_advice(
        list(record.curves.values()),
        record.readings[record.rule],
        {
            name: {s: read_curve(plan, question.workshop, seed=s) for s in question.advice.seeds}
            for name, plan in plans.items()
        },
        choice,
        title=f"Advice: {advice.about}",
    )
    write_whole(folder / PICTURE, picture)
    write_whole(folder / RANGE_TEST_PICTURE, suggestion.with_name(SWEEP_PICTURE).read_bytes())
    write_whole(folder / SNIPPET, snippet_file(advice))
    write_whole(folder / PAGE, page(advice))
    write_json(folder / ANSWER, data(advice))
    _say_advice(advice, folder)


def take_bounds(
    found: Mapping[str, Any], config: RangeTestConfig, folder: Path
) -> tuple[float, float]:
    """Return the suggested pair, rounded to three digits: so it is tried, and so it is pasted.

    Raises:
        NoBoundsError: the rule abstains; says why, and what to do next.
    """
    if found["base_lr"] is None or found["max_lr"] is None:
        others = "".join(
            f"; {rule} would say {said['base_lr']:.3g} to {said['max_lr']:.3g} "
            f"(range_test.rule={rule})"
            for rule, said in found["agreement"].items()
            if said["max_lr"] is not None
        )
        raise NoBoundsError(
            f"the range test gives no bounds, {found['rule']} abstains: {found['reason']}. "
            f"Next: {what_next(found, config)}{others}. Its picture: {folder / SWEEP_PICTURE}"
        )
    base_lr, max_lr = (float(f"{found[key]:.{DIGITS}g}") for key in ("base_lr", "max_lr"))
    return base_lr, max_lr


def what_next(found: Mapping[str, Any], config: RangeTestConfig) -> str:
    """Return what to change after a range test that gave no bounds, as overrides."""
    reason = str(found["reason"])
    if "sweep further" in reason:
        return f"range_test.last_lr={10 * config.last_lr:g}"
    diverged = sorted(lr for lr in found["diverged_lr"].values() if lr)
    if "sweep lower rates" in reason and diverged:
        first = min(config.first_lr, diverged[0] / 1000)
        return f"range_test.first_lr={first:.1g} range_test.last_lr={diverged[-1]:.1g}"
    if "measure more densely" in reason:
        return f"range_test.points={2 * config.points} range_test.length='{_twice(found)}'"
    if "contradict" in reason:
        seeds = ",".join(map(str, range(2 * len(config.seeds) + 1)))
        return f"more seeds, range_test.seeds=[{seeds}]"
    return (
        f"a longer sweep, range_test.length='{_twice(found)}', or other rates than "
        f"{config.first_lr:g} to {config.last_lr:g} (range_test.first_lr, range_test.last_lr)"
    )


def _twice(found: Mapping[str, Any]) -> str:
    return f"{2 * found['total_steps']} steps"


def _announce_all(question: Question) -> bool:
    """Say what everything will cost, unless the range test is done; return whether it was said."""
    workshop, sweep, config = question.workshop, question.sweep, question.experiment.range_test
    data_set = workshop.data
    say(
        f"{question.experiment.model.architecture} on {question.experiment.dataset.name}: "
        f"{data_set.num_classes} classes, {number(len(sweep.training))} training images to learn "
        f"from, {number(len(sweep.held_out))} held out"
    )
    if suggestion_file(question.experiment, workshop, folder=SWEEPS).is_file():
        return False
    plans = question.plans(1.0, 2.0)
    trials, steps = len(plans) * len(question.advice.seeds), _steps_of(plans)
    sweeps = len(config.seeds)
    updates = sweeps * sweep.total_steps + trials * steps
    evaluations = sweeps * (config.points + 1) + trials * question.experiment.training.evaluations
    say(
        f"cost: {number(updates)} updates (range test: {sweeps} seed{'s' * (sweeps > 1)} x "
        f"{number(sweep.total_steps)}; {len(plans)} candidates x {len(question.advice.seeds)} "
        f"seeds x {number(steps)}){_time_words(question, updates, evaluations)}"
    )
    return True


def _announce_rest(question: Question, plans: Mapping[str, Trial]) -> None:
    """Say what is left after an earlier start."""
    left = [
        plan
        for plan in plans.values()
        for seed in question.advice.seeds
        if run_directory(plan, question.workshop, seed=seed).result() is None
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
    pace = measure_pace(question.workshop, question.sweep)
    seconds = updates * pace.update_seconds + evaluations * pace.evaluation_seconds
    return (
        f", about {in_words(seconds)} at {pace.update_seconds:.2g} s each "
        f"(measured over {pace.num_updates} updates)"
    )


def _steps_of(plans: Mapping[str, Trial]) -> int:
    return next(iter(plans.values())).total_steps


def _run_trials(
    question: Question, plans: Mapping[str, Trial]
) -> dict[str, dict[int, float | None]]:
    """Train what is not finished, all candidates with one seed before the next seed."""
    seeds = question.advice.seeds
    accuracies: dict[str, dict[int, float | None]] = {name: {} for name in plans}
    for number_of_seed, seed in enumerate(seeds):
        for place, (name, plan) in enumerate(plans.items(), start=1):
            trial = number_of_seed * len(plans) + place
            label = f"{trial} of {len(plans) * len(seeds)}: {name}, seed {seed}"
            accuracies[name][seed] = run_trial(
                plan, question.workshop, question.sweep, seed=seed, label=label
            )
    return accuracies


def _chance_pct(question: Question) -> float:
    """Return the held-out accuracy of always answering with the most frequent class."""
    held_out = question.sweep.held_out
    labels = question.workshop.data.train.labels.cpu()[held_out]
    return 100 * int(labels.bincount().max()) / len(held_out)


def _advice(
    arguments: Sequence[str],
    question: Question,
    record: RangeTestRecord,
    plans: Mapping[str, Trial],
    choice: Choice,
    bounds: tuple[float, float],
) -> Advice:
    trial = next(iter(plans.values()))
    whole = dataclasses.replace(
        question, experiment=dataclasses.replace(question.experiment, budget_fraction=1.0)
    ).plans(*bounds)
    told = [] if choice.recommended is None else [choice.recommended, choice.best or ""]
    lines = [
        Lines(
            name=name,
            schedule=whole[name].schedule.describe(),
            momentum=momentum.describe() if (momentum := whole[name].momentum) else None,
        )
        for name in dict.fromkeys(told)
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
        sweep_updates=question.sweep.total_steps * len(record.curves),
        trial_updates=trial.total_steps,
        full_updates=trial.full_total_steps,
        num_training=len(question.sweep.training),
        num_held_out=len(question.sweep.held_out),
        choice=choice,
        plans={name: plan.describe() for name, plan in plans.items()},
        lines=tuple(lines),
        settings=question.workshop.settings.describe(),
        code=code_digest("trials.py"),
    )


def _say_bounds(record: RangeTestRecord, base_lr: float, max_lr: float) -> None:
    say(f"bounds: {base_lr:g} to {max_lr:g} ({record.rule})")
    for rule, reading in record.readings.items():
        pair = f"{reading.base_lr:.3g} to {reading.max_lr:.3g}" if reading.found else "abstains"
        say(f"  {rule}: {pair}; {reading.reason}")


def _say_advice(advice: Advice, folder: Path) -> None:
    say("\n" + "\n".join(table_lines(advice.choice)))
    say(f"\n{advice.verdict}")
    for lines in advice.lines[:1]:
        say(f"\nTo paste, for a run of {advice.length_words}:\n\n{lines.ours}")
        if lines.torch.code is not None:
            say(f"\nor with torch alone:\n\n{lines.torch.code}")
        else:
            say(f"\nWith torch alone there is none: {lines.torch.reason}.")
    more = "".join(f", with {lines.name} to paste too" for lines in advice.lines[1:])
    say(f"\n{folder / PAGE}{more}")
