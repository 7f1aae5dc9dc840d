"""One run, or every combination of options: the Hydra entry (edge).

``python -m anneal.run scheduler=one_cycle`` or ``-m scheduler=triangular,constant seed=0,1,2``.
"""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from anneal.command_line import command, complain, describe, say
from anneal.composing import conf_folder, explain
from anneal.multirun import combination_of, multirun_table, read_cells, write_cell

JOB = "job.json"


@command(free=True, own_help=True)
def main(arguments: list[str]) -> None:
    """Hand the command line to Hydra; then print the table over what was run."""
    config_path = str(conf_folder().resolve())
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us; `command` makes one line of them
    errors: list[Exception] = []
    folders: list[Path] = []
    several = any(a in ("-m", "--multirun") for a in arguments)

    @hydra.main(version_base=None, config_path=config_path, config_name="run")
    def job(composed: DictConfig) -> None:
        from anneal.one_run import run_once  # torch: seconds that --help and --cfg need not wait

        here, overrides = HydraConfig.get().runtime.output_dir, HydraConfig.get().overrides.task
        folders.append(Path(here))
        try:
            plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
            assert isinstance(plain, dict)
            config = {str(key): value for key, value in plain.items()}
            write_cell(Path(here) / JOB, run_once(config, combination=combination_of(overrides)))
        except (ValueError, OSError) as error:
            errors.append(error)
            if several:  # the others go on
                complain(f"{' '.join(overrides)}: {describe(error)}")

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
