"""One run of a multirun: composed, planned, trained, its line of the table left behind (edge)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anneal.config.compose import check_experiment
from anneal.config.schema import ExperimentConfig
from anneal.datasets import Paths
from anneal.results.multirun import Cell
from anneal.runs.code_digest import code_digest
from anneal.runs.directory import RunDirectory
from anneal.runs.inputs import load_bounds
from anneal.runs.layout import MULTIRUN, REPLACED, seed_folder
from anneal.runs.plan import Bounds, plan_run
from anneal.runs.range_test import find_bounds
from anneal.runs.run import Run, train_run, usual_observers
from anneal.runs.setup import ExperimentSetup, load_setup

WHERE = "conf/run.yaml"


def run_once(config: dict[str, Any], *, combination: str) -> Cell:
    """Train one combination with one seed, unless it is finished; return its line of the table.

    Args:
        config: ``conf/run.yaml`` composed, as plain data.
        combination: what tells its row of the table apart.

    Raises:
        ValueError: the configuration is wrong; names the file, the key and the rule.
    """
    seed, places = check_seed(config.pop("seed")), config.pop("paths")
    experiment = check_experiment(config, where=WHERE)
    setup = load_setup(experiment, paths_of(places))
    bounds = _bounds(experiment, setup)
    plan = plan_run(experiment, setup.data.identity, bounds=bounds, where=WHERE)
    directory = RunDirectory(
        seed_folder(MULTIRUN / plan.configuration_hash, seed),
        configuration_hash=plan.configuration_hash,
        code=f"{code_digest()} {setup.settings.numerics}",
    )
    run = Run(plan=plan, setup=setup, seed=seed, directory=directory, replaced=MULTIRUN / REPLACED)
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


def paths_of(places: Mapping[str, Any]) -> Paths:
    """Return where data is looked for, from the section ``paths`` of ``conf/run.yaml``."""
    archives = places["archives"]
    return Paths(Path(places["data"]), Path(archives) if archives else None)


def check_seed(seed: object) -> int:
    """Return the seed of a run.

    Raises:
        ValueError: it is no whole number from 0 to 2**32 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"{WHERE}: seed must be a whole number from 0 to 2**32 - 1, got {seed!r}")
    return seed


def _bounds(experiment: ExperimentConfig, setup: ExperimentSetup) -> Bounds | None:
    if experiment.bounds == "given":
        return None
    return load_bounds(find_bounds(experiment, setup, folder=MULTIRUN / "range_tests"))
