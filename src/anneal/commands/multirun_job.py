"""One job of ``anneal run``: plan and train a combination, return its row of the table.

``python -m anneal.commands.multirun_job <job.json> <cell.json>`` is one of several processes that
``anneal run`` starts for a job.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anneal.config.compose import check_experiment
from anneal.config.options import options
from anneal.config.paths import Paths
from anneal.config.schema import ExperimentConfig, check_seed
from anneal.io.files import read_json, write_json
from anneal.io.terminal import command
from anneal.results.multirun import Cell, read_cells, write_cell
from anneal.runs.code_digest import code_of_run
from anneal.runs.directory import RunDirectory
from anneal.runs.inputs import load_bounds
from anneal.runs.layout import MULTIRUN, REPLACED, seed_folder
from anneal.runs.memory import memory_explained
from anneal.runs.plan import Bounds, plan_run
from anneal.runs.processes import on_processes, refuse_several
from anneal.runs.range_test import find_bounds
from anneal.runs.run import SeedRun, train_run, usual_observers
from anneal.runs.setup import ExperimentSetup, load_setup
from anneal.runs.timed_settings import time_setup
from anneal.training.parts import ALONE, Parts

RUN_FILE = "conf/run.yaml"


@command("job", "cell")
def main(arguments: list[str]) -> None:
    """Train a job as one of its processes; rank 0 writes its row of the table."""
    job, cell = map(Path, arguments)

    def take(row: Cell, parts: Parts) -> None:
        if parts.leads:
            write_cell(cell, row)

    _run_job(read_json(job), job=job, cell=cell, take=take)


def run_once(config: dict[str, Any], *, combination: str) -> Cell:
    """Train one combination with one seed, unless it is finished; return its row of the table.

    Args:
        config: the composed ``conf/run.yaml`` as plain data.
        combination: label of its row.

    Raises:
        ValueError: the configuration is wrong; names the file, the key and the rule.
    """
    rows: list[Cell] = []
    content = {"config": config, "combination": combination}
    with tempfile.TemporaryDirectory() as folder:
        job, cell = Path(folder, "job.json"), Path(folder, "cell.json")
        write_json(job, content)
        _run_job(content, job=job, cell=cell, take=lambda row, _: rows.append(row))
        return (rows or read_cells([cell]))[0]


def _run_job(
    content: Mapping[str, Any], *, job: Path, cell: Path, take: Callable[[Cell, Parts], None]
) -> None:
    """Train a job here or on processes of its own.

    Args:
        content: configuration and combination.
        job: file of the content, for other processes.
        cell: file that they write.
        take: takes the row where it was trained here.
    """
    config = dict(content["config"])
    seed = check_seed(config.pop("seed"), where=RUN_FILE)
    paths = Paths.from_section(config.pop("paths"))
    experiment = check_experiment(config, where=RUN_FILE)
    if experiment.bounds == "range_test":
        refuse_several(experiment.hardware, for_what="bounds: range_test")

    def work(parts: Parts) -> None:
        setup = load_setup(experiment, paths, parts=parts)
        if parts is ALONE and experiment.name not in options("experiment"):
            if experiment.bounds != "range_test":  # refuse a wrong plan before anything is timed
                plan_run(experiment, setup.data.identity, bounds=None, where=RUN_FILE)
            setup = time_setup(setup)  # rows keep the settings of the table
        take(_train(experiment, setup, seed=seed, combination=content["combination"]), parts)

    on_processes(
        experiment.hardware,
        accumulation=experiment.training.accumulation,
        module="anneal.commands.multirun_job",
        arguments=[str(job), str(cell)],
        work=memory_explained(experiment)(work),
    )


def _train(
    experiment: ExperimentConfig, setup: ExperimentSetup, *, seed: int, combination: str
) -> Cell:
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
    with run.held():
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


if __name__ == "__main__":
    main()
