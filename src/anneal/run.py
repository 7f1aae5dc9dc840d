"""One run, or every combination of options: the Hydra entry (edge).

``python -m anneal.run scheduler=one_cycle`` or ``-m scheduler=triangular,constant seed=0,1,2``.
"""

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from anneal.artifacts import RunDirectory
from anneal.builders import Workshop
from anneal.code import code_digest
from anneal.command_line import command, complain, describe, say
from anneal.composing import check_experiment, conf_folder, explain
from anneal.config import ExperimentConfig
from anneal.datasets import Paths
from anneal.layout import MULTIRUN, REPLACED, seed_folder
from anneal.loading import load_bounds, open_experiment
from anneal.multirun import Cell, combination_of, multirun_table, read_cells, write_cell
from anneal.plans import Bounds, Plan, check_plan, plan_run
from anneal.runs import train_run
from anneal.sweeps import find_bounds

WHERE = "conf/run.yaml"
JOB = "job.json"


def run_once(composed: DictConfig) -> None:
    """Train one combination with one seed, and leave what the table needs in the job's folder."""
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    config: dict[str, Any] = {str(k): v for k, v in plain.items()}
    seed, places = check_seed(config.pop("seed")), config.pop("paths")
    experiment = check_experiment(config, where=WHERE)
    check_plan(experiment, where=WHERE)
    archives = places["archives"]
    paths = Paths(Path(places["data"]), Path(archives) if archives else None)
    workshop = open_experiment(experiment, paths)
    bounds = _bounds(experiment, workshop)
    plan = plan_run(experiment, workshop.data.identity, bounds=bounds, where=WHERE)
    directory = RunDirectory(
        seed_folder(MULTIRUN / plan.configuration_hash, seed),
        configuration_hash=plan.configuration_hash,
        code=code_digest(),
    )
    with directory.held():
        result = train_run(
            plan,
            workshop,
            seed=seed,
            directory=directory,
            replaced=MULTIRUN / REPLACED,
            job_type="multirun",
        )
    _leave(plan, seed, result)


def check_seed(seed: object) -> int:
    """Return the seed of a run.

    Raises:
        ValueError: it is no whole number from 0 to 2**32 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"{WHERE}: seed must be a whole number from 0 to 2**32 - 1, got {seed!r}")
    return seed


def _bounds(experiment: ExperimentConfig, workshop: Workshop) -> Bounds | None:
    if experiment.bounds == "given":
        return None
    return load_bounds(find_bounds(experiment, workshop, folder=MULTIRUN / "range_tests"))


def _leave(plan: Plan, seed: int, result: dict[str, Any]) -> None:
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    cell = Cell(
        combination=combination_of(job.overrides.task),
        configuration_hash=plan.configuration_hash,
        seed=seed,
        status=str(result["status"]),
        updates=int(result["updates"]),
        accuracy_pct=result.get("test_accuracy_pct@final"),
        best_accuracy_pct=result.get("test_accuracy_pct@best"),
    )
    write_cell(folder / JOB, cell)


@command(free=True)
def main(arguments: list[str]) -> None:
    """Hand the command line to Hydra; then print the table over what was run."""
    config_path = str(conf_folder().resolve())
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us; `stage` makes one line of them
    errors: list[Exception] = []
    folders: list[Path] = []
    several = any(a in ("-m", "--multirun") for a in arguments)

    @hydra.main(version_base=None, config_path=config_path, config_name="run")
    def job(composed: DictConfig) -> None:
        folders.append(Path(HydraConfig.get().runtime.output_dir))
        try:
            run_once(composed)
        except (ValueError, OSError) as error:
            errors.append(error)
            if several:  # the others go on
                complain(f"{' '.join(HydraConfig.get().overrides.task)}: {describe(error)}")

    sys.argv = ["anneal.run", *arguments]
    try:
        job()
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, [a for a in arguments if "=" in a])) from error
    cells = read_cells([folder / JOB for folder in folders])
    if cells:
        say(multirun_table(cells))
    if errors and several:
        raise ValueError(f"{len(errors)} of {len(folders)} runs failed") from errors[0]
    if errors:
        raise errors[0]


if __name__ == "__main__":
    main()
