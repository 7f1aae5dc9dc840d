"""Train one run, or with -m every combination of comma-separated options.

  anneal run scheduler=one_cycle seed=3
  anneal run -m scheduler=triangular,triangular2,constant seed=0,1,2
  anneal run -m dataset=imagefolder dataset.folder=photos bounds=range_test

Runs are in multirun/<configuration hash>/seed-<n>/; finished runs are not run again. `--cfg job`
prints the configuration of a run; `--config-dir <folder>` is searched before the options below;
`--traceback` shows the traceback of an error. All other options are Hydra's (`--hydra-help`).
"""

import datetime
import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from anneal.config.compose import (
    COMPOSITION_ERRORS,
    explain,
    register_rows,
    search_own_folder_first,
)
from anneal.config.folders import conf_folder, own_folder_first
from anneal.io.files import read_json, write_json
from anneal.io.terminal import command, complain, describe_error, say
from anneal.results.multirun import JOB, combination_of, multirun_table, read_cells, write_cell
from anneal.runs.layout import MULTIRUN

ERROR = "error.json"  # in a job's folder while it runs; stays there if the job fails
SWEEP_FOLDER = "hydra.sweep.dir"
# Errors of one combination that do not stop the others; out of memory is a RuntimeError. Any other
# error is a bug: the others continue too, and Hydra raises it at the end.
OF_ONE_JOB = (ValueError, OSError, RuntimeError, MemoryError, OmegaConfBaseException)


@command(free=True)
def main(arguments: list[str]) -> None:
    """Run the command line with Hydra, then print the table of its runs."""
    config_path = str(conf_folder().resolve())
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors here; `command` prints them as one line
    search_own_folder_first()
    with own_folder_first(arguments) as left:
        register_rows()
        if any(a in ("-m", "--multirun") for a in left):
            _run_several(left, config_path)
        else:
            _run_one(left, config_path)


def _run_one(arguments: list[str], config_path: str) -> None:
    errors: list[Exception] = []
    folders: list[Path] = []

    @hydra.main(version_base=None, config_path=config_path, config_name="run")
    def job(composed: DictConfig) -> None:
        folders.append(Path(HydraConfig.get().runtime.output_dir))
        try:
            train_job(composed)
        except (ValueError, OSError, RecursionError) as error:  # not of the composition
            errors.append(error)

    sys.argv = ["anneal run", *arguments]
    try:
        job()
    except COMPOSITION_ERRORS as error:
        raise ValueError(explain(error, [a for a in arguments if "=" in a])) from error
    if errors:
        raise errors[0]
    if cells := read_cells([folder / JOB for folder in folders]):
        say(multirun_table(cells))


def _run_several(arguments: list[str], config_path: str) -> None:
    """Run every combination, in this process or a launcher's, and print their outcomes."""
    folder = sweep_folder(arguments)
    if folder is None:
        folder = MULTIRUN / ".hydra" / f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
        arguments = [*arguments, f"{SWEEP_FOLDER}={folder}"]
    folder = folder.resolve()
    before = left_in(folder)
    this_process = os.getpid()
    errors: dict[str, Exception] = {}  # stays empty where a launcher runs jobs in other processes

    @hydra.main(version_base=None, config_path=config_path, config_name="run")
    def job(composed: DictConfig) -> None:
        place = Path(HydraConfig.get().runtime.output_dir) / ERROR
        words = " ".join(HydraConfig.get().overrides.task)
        # Kept if the process is killed; overwritten or removed below if it is not.
        write_json(place, {"overrides": words, "error": "the job was killed"})
        try:
            train_job(composed)
        except Exception as error:
            omegaconf = isinstance(error, OmegaConfBaseException)
            said = explain(error) if omegaconf else describe_error(error)
            write_json(place, {"overrides": words, "error": said})
            if not isinstance(error, OF_ONE_JOB):
                raise
            if os.getpid() == this_process:
                errors[str(place)] = error
                complain(f"{words}: {said}")
        else:
            place.unlink()

    sys.argv = ["anneal run", *arguments]
    failed: list[Path] = []
    num_jobs = 0
    try:
        job()
    except COMPOSITION_ERRORS as error:
        raise ValueError(explain(error, [a for a in arguments if "=" in a])) from error
    except RuntimeError as error:  # of a launcher: those of jobs are in their files
        raise ValueError(f"hydra/launcher: {error}") from error
    finally:  # print the rows of finished jobs after an error too
        written = [path for path, state in left_in(folder).items() if before.get(path) != state]
        failed = [path for path in written if path.name == ERROR]
        num_jobs = len({path.parent for path in written})
        ended_well = {path.parent for path in written} - {path.parent for path in failed}
        cells = read_cells([p for p in written if p.name == JOB and p.parent in ended_well])
        if cells:
            say(multirun_table(cells))
        for path in failed:
            if str(path) not in errors:
                left = read_json(path)
                complain(f"{left['overrides']}: {left['error']}")
    if failed:
        cause = next(iter(errors.values()), None)
        raise ValueError(f"{len(failed)} of {num_jobs} runs failed") from cause


def train_job(composed: DictConfig) -> None:
    """Train a composed configuration and write its row of the table to the job's folder."""
    from anneal.commands.multirun_job import (
        run_once,  # imports torch, which takes seconds that --help and --cfg need not wait
    )

    here, overrides = HydraConfig.get().runtime.output_dir, HydraConfig.get().overrides.task
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    config = {str(key): value for key, value in plain.items()}
    write_cell(Path(here) / JOB, run_once(config, combination=combination_of(overrides)))


def sweep_folder(arguments: list[str]) -> Path | None:
    """Return the sweep folder given on the command line, if any.

    Raises:
        ValueError: it has an interpolation, which only Hydra resolves.

    >>> sweep_folder(["-m", "hydra.sweep.dir=there"]).name
    'there'
    """
    given = [a.lstrip("+").partition("=") for a in arguments]
    values = [value for key, _, value in given if key == SWEEP_FOLDER]
    if not values:
        return None
    if "${" in values[-1]:
        raise ValueError(f"{SWEEP_FOLDER} must be a folder's plain name, got {values[-1]}")
    return Path(values[-1].strip("'\""))


def left_in(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the result and error files in a multirun's folder, in the order of the jobs.

    Args:
        folder: of the multirun; it may have files of an earlier one too.

    Returns:
        file -> (inode, time of modification), which change when a job writes it again.
    """
    paths = [path for name in (JOB, ERROR) for path in folder.rglob(name)]
    paths.sort(key=lambda path: (len(path.parent.name), str(path)))  # 10 after 9
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}
