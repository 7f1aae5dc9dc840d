"""One job of ``anneal run``: plan and train a combination, return its row of the table."""

from typing import Any

from anneal.config.compose import check_experiment
from anneal.config.options import options
from anneal.config.paths import Paths
from anneal.config.schema import ExperimentConfig, check_seed
from anneal.results.multirun import Cell
from anneal.runs.code_digest import code_of_run
from anneal.runs.directory import RunDirectory
from anneal.runs.inputs import load_bounds
from anneal.runs.layout import MULTIRUN, REPLACED, seed_folder
from anneal.runs.plan import Bounds, plan_run
from anneal.runs.range_test import find_bounds
from anneal.runs.run import SeedRun, train_run, usual_observers
from anneal.runs.setup import ExperimentSetup, load_setup
from anneal.runs.timed_settings import time_setup

RUN_FILE = "conf/run.yaml"


def run_once(config: dict[str, Any], *, combination: str) -> Cell:
    """Train one combination with one seed, unless it is finished; return its row of the table.

    Args:
        config: the composed ``conf/run.yaml`` as plain data.
        combination: label of its row.

    Raises:
        ValueError: the configuration is wrong; names the file, the key and the rule.
    """
    seed = check_seed(config.pop("seed"), where=RUN_FILE)
    paths = Paths.from_section(config.pop("paths"))
    experiment = check_experiment(config, where=RUN_FILE)
    setup = load_setup(experiment, paths)
    if experiment.name not in options("experiment"):  # rows keep the settings of the table
        setup = time_setup(setup)
    bounds = _bounds(experiment, setup)
    plan = plan_run(experiment, setup.data.identity, bounds=bounds, where=RUN_FILE)
    directory = RunDirectory(
        seed_folder(MULTIRUN / plan.configuration_hash, seed),
        configuration_hash=plan.configuration_hash,
        code=code_of_run(setup.settings.numerics),
    )
    run = SeedRun(
        plan=plan, setup=setup, seed=seed, directory=directory, replaced=MULTIRUN / REPLACED
    )
    with directory.held():
        result = train_run(run, usual_observers(run, job_type="multirun"))
    return Cell(
        combination=combination,
        configuration_hash=plan.configuration_hash,
        seed=seed,
        status=str(result["status"]),
        updates=int(result["updates"]),
        accuracy_pct=result.get("test_accuracy_pct@final"),
        best_accuracy_pct=result.get("test_accuracy_pct@best"),
    )


def _bounds(experiment: ExperimentConfig, setup: ExperimentSetup) -> Bounds | None:
    if experiment.bounds == "given":
        return None
    return load_bounds(find_bounds(experiment, setup, folder=MULTIRUN / "range_tests"))
