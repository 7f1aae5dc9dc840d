"""Stage ``train``: train all seeds of one experiment of a campaign, or one of them.

``python -m anneal.commands.stages.train <campaign> <experiment> <range test or "given"> [seed]``
"""

from collections.abc import Sequence

from anneal.io.terminal import command, say
from anneal.runs.abreast import train_abreast, without_bar
from anneal.runs.code_digest import code_of_run
from anneal.runs.committed import committed_seeds
from anneal.runs.directory import RunDirectory
from anneal.runs.inputs import Loaded, NoBoundsError, load_bounds, load_experiment
from anneal.runs.layout import RANGE_TESTS, REPLACED, RUNS, SUGGESTION, seed_folder
from anneal.runs.memory import memory_explained
from anneal.runs.plan import Bounds
from anneal.runs.processes import on_processes
from anneal.runs.run import SeedRun, train_run, usual_observers
from anneal.runs.setup import plan_experiment
from anneal.training.parts import Parts


@command(free=True)
def main(arguments: list[str]) -> None:
    """Train every unfinished seed; resume interrupted ones."""
    campaign, name, range_test, seeds = read_arguments(arguments)
    loaded = load_experiment(campaign, name)
    if unknown := set(seeds) - set(loaded.seeds):
        raise ValueError(f"{loaded.path}: seeds has no {unknown.pop()}")
    (RUNS / campaign / name).mkdir(parents=True, exist_ok=True)
    try:
        bounds = load_bounds(RANGE_TESTS / campaign / range_test / SUGGESTION)
    except NoBoundsError as abstention:
        say(f"{name}: not trained. {abstention}")
        return
    on_processes(
        loaded.experiment.hardware,
        accumulation=loaded.experiment.training.accumulation,
        module="anneal.commands.stages.train",
        arguments=arguments,
        work=lambda parts: _train(loaded, campaign, bounds, seeds, parts),
    )


def _train(
    loaded: Loaded, campaign: str, bounds: Bounds | None, seeds: Sequence[int], parts: Parts
) -> None:
    """Train the seeds of an experiment, of one of its subjects after another."""
    for part in loaded.of_each_subject():
        with memory_explained(part.experiment):
            _train_seeds(campaign, part, bounds, seeds or part.seeds, parts)


def _train_seeds(
    campaign: str, loaded: Loaded, bounds: Bounds | None, seeds: Sequence[int], parts: Parts
) -> None:
    """Train the seeds of an experiment, or of one of its subjects."""
    name = loaded.experiment.name
    folder = RUNS / campaign / name
    plan, setup = plan_experiment(loaded, bounds, parts=parts)
    committed = committed_seeds(campaign, name, plan.configuration_hash)
    unrecorded = [seed for seed, kernels in committed.items() if kernels == "unrecorded"]
    if unrecorded and not committed.keys() >= set(seeds):
        say(
            f"{name}: results/{campaign} does not record whether seeds "
            f"{', '.join(map(str, unrecorded))} used CPU kernels; "
            "the seeds trained now record that they use none"
        )
    runs = []
    for seed in seeds:
        if seed in committed:
            say(f"{name} seed {seed}: already in results/{campaign}, not run again")
            continue
        directory = RunDirectory(
            seed_folder(folder, seed),
            configuration_hash=plan.configuration_hash,
            code=code_of_run(setup.settings.numerics),
        )
        replaced = RUNS / campaign / REPLACED / name
        runs.append(
            SeedRun(plan=plan, setup=setup, seed=seed, directory=directory, replaced=replaced)
        )
    if loaded.experiment.hardware.abreast != 1 and parts.size == 1 < len(runs):
        train_abreast(runs, lambda run: without_bar(usual_observers(run, job_type="train")))
        return
    for run in runs:
        with run.held():
            train_run(run, usual_observers(run, job_type="train"))


def read_arguments(arguments: Sequence[str]) -> tuple[str, str, str, list[int]]:
    """Return campaign, experiment, range test and the seed asked for; none: all of them.

    Raises:
        ValueError: one is missing, or the seed is no number.
    """
    if len(arguments) not in (3, 4) or not all(word.isdigit() for word in arguments[3:]):
        given = " ".join(arguments) or "nothing"
        raise ValueError(f"needs <campaign> <experiment> <range_test> [seed], got {given}")
    campaign, name, range_test, *seeds = arguments
    return campaign, name, range_test, [int(seed) for seed in seeds]


if __name__ == "__main__":
    main()
