"""The table over a multirun: one line per combination, from what its runs left on disk."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.warm import warm_python

from anneal.results.multirun import (
    HEADER,
    Cell,
    combination_of,
    multirun_table,
    read_cells,
    write_cell,
)


def cell(combination: str, seed: int, accuracy_pct: float | None, **others: Any) -> Cell:
    values: dict[str, Any] = {
        "configuration_hash": combination,
        "status": "diverged" if accuracy_pct is None else "finished",
        "updates": 300,
        "best_accuracy_pct": accuracy_pct,
    }
    return Cell(combination=combination, seed=seed, accuracy_pct=accuracy_pct, **(values | others))


def rows_of(cells: list[Cell]) -> list[list[str]]:
    """Return the cells of the table's lines, by the columns of its rule."""
    lines = multirun_table(cells).splitlines()
    if lines[0].startswith("all with"):
        del lines[0]
    rule, rows = lines[1], lines[2:]
    starts = [i for i in range(len(rule)) if rule[i] == "-" and (i == 0 or rule[i - 1] == " ")]
    ends = [*starts[1:], None]
    cut = [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines]
    assert tuple(cut[0]) == HEADER
    assert len(cut) == len(rows) + 2
    return cut[2:]


def test_combination_has_its_mean_interval_and_number_of_runs() -> None:
    """90, 92, 94: mean 92, sd 2; Student's t for 2 degrees of freedom is 4.3027, so 92 +- 4.97."""
    cells = [cell("scheduler=hann", seed, pct) for seed, pct in enumerate([90.0, 92.0, 94.0])]
    assert rows_of(cells) == [["scheduler=hann", "92.00 %", "87.03 to 96.97", "3", "92.00 %", ""]]


def test_one_run_has_no_interval_and_the_table_says_what_it_needs() -> None:
    assert rows_of([cell("defaults", 0, 95.5)]) == [
        ["defaults", "95.50 %", "needs n >= 2", "1", "95.50 %", ""]
    ]


def test_best_on_the_way_is_a_mean_of_its_own() -> None:
    cells = [
        cell("a=1", 0, 90.0, best_accuracy_pct=91.0),
        cell("a=1", 1, 90.0, best_accuracy_pct=94),
    ]
    assert rows_of(cells)[0][4] == "92.50 %"


def test_combinations_stand_in_the_order_they_were_run() -> None:
    cells = [cell(f"scheduler={s}", seed, 90.0) for seed in (0, 1) for s in ("welch", "hann", "a")]
    assert [row[0] for row in rows_of(cells)] == [
        "scheduler=welch",
        "scheduler=hann",
        "scheduler=a",
    ]
    assert [row[3] for row in rows_of(cells)] == ["2", "2", "2"]


def test_seed_is_no_part_of_a_combination() -> None:
    assert combination_of(["scheduler=hann", "seed=1"]) == "scheduler=hann"
    assert combination_of(["seed=1", "dataset.split_seed=2"]) == "dataset.split_seed=2"
    assert combination_of(["++seed=1", "scheduler=hann"]) == "scheduler=hann"
    assert combination_of(["seed=1"]) == "defaults"
    assert combination_of([]) == "defaults"


def test_what_all_combinations_have_in_common_stands_above() -> None:
    cells = [
        cell("scheduler=hann training.batch_size=50", 0, 90.0),
        cell("scheduler=welch training.batch_size=50", 0, 91.0),
    ]
    assert multirun_table(cells).splitlines()[0] == "all with training.batch_size=50"
    assert [row[0] for row in rows_of(cells)] == ["scheduler=hann", "scheduler=welch"]


def test_single_combination_keeps_its_whole_name() -> None:
    cells = [cell("scheduler=hann training.batch_size=50", seed, 90.0) for seed in (0, 1)]
    assert rows_of(cells)[0][0] == "scheduler=hann training.batch_size=50"
    assert not multirun_table(cells).startswith("all with")


def test_value_with_spaces_is_not_torn_apart() -> None:
    """`10 steps` and `10 epochs` once had their 10 in common."""
    cells = [
        cell("training.length=10 steps +model.arguments.depth=2", 0, 90.0),
        cell("training.length=10 epochs +model.arguments.depth=2", 0, 91.0),
    ]
    assert multirun_table(cells).splitlines()[0] == "all with +model.arguments.depth=2"
    assert [row[0] for row in rows_of(cells)] == [
        "training.length=10 steps",
        "training.length=10 epochs",
    ]


def test_combination_that_is_all_in_common_still_has_a_name() -> None:
    cells = [cell("a=1", 0, 90.0), cell("a=1 b=2", 0, 91.0)]
    assert [row[0] for row in rows_of(cells)] == ["nothing else", "b=2"]


def test_diverged_runs_are_counted_and_are_no_part_of_the_mean() -> None:
    cells = [cell("a=1", 0, 90.0), cell("a=1", 1, None), cell("a=1", 2, 94.0)]
    (row,) = rows_of(cells)
    assert (row[1], row[3], row[5]) == ("92.00 %", "2", "1")


def test_combination_of_which_every_run_diverged_has_no_accuracy() -> None:
    cells = [cell("a=1", seed, None, best_accuracy_pct=11.0) for seed in (0, 1)]
    assert rows_of(cells) == [["a=1", "none", "none", "0", "11.00 %", "2"]]
    without = [cell("a=1", 0, None, best_accuracy_pct=None)]
    assert rows_of(without)[0][4] == "none"


def test_same_run_asked_for_twice_counts_once() -> None:
    once = [cell("a=1", 0, 90.0), cell("a=1", 1, 94.0)]
    assert rows_of([*once, cell("a=1", 0, 90.0)]) == rows_of(once)


def test_what_a_job_leaves_is_what_the_table_reads(tmp_path: Path) -> None:
    cells = [cell("a=1", 0, 90.25), cell("a=1", 1, None, best_accuracy_pct=None)]
    paths = [tmp_path / str(i) / "job.json" for i in range(3)]
    for path, one in zip(paths, cells, strict=False):
        write_cell(path, one)
    assert read_cells(paths) == cells  # the third job failed and left nothing


def test_jobs_line_that_was_edited_is_refused_with_its_file(tmp_path: Path) -> None:
    write_cell(tmp_path / "job.json", cell("a=1", 0, 90.0))
    text = (tmp_path / "job.json").read_text()
    (tmp_path / "job.json").write_text(text.replace('"seed": 0', '"seed": "0"'))
    with pytest.raises(ValueError, match=r"job\.json: seed must be a whole number"):
        read_cells([tmp_path / "job.json"])


# --- the command, with one combination that fails -------------------------------------------------

STAND_IN = """
import os, sys
from anneal.commands import multirun_job
from anneal.results.multirun import Cell
import anneal.commands.run

def run_once(config, *, combination):
    seed = config["seed"]
    if seed == 1:
        raise RuntimeError("CUDA out of memory")
    if seed == 2:
        raise KeyError("ours")
    return Cell(combination=combination, configuration_hash="h", seed=seed, status="finished",
                updates=3, accuracy_pct=90.0, best_accuracy_pct=91.0)

multirun_job.run_once = run_once
LAUNCHER
anneal.commands.run.main()
"""

# What joblib and submitit do: each job in a process of its own, of which nothing comes back.
OTHER_PROCESSES = """
from hydra.core import utils  # its plugins are imported afresh, and take run_job from here
from hydra.core.utils import JobReturn, JobStatus

run_job = utils.run_job

def elsewhere(**given):
    if os.fork() == 0:
        os.close(2)  # its words are in a file of the launcher
        os.open(os.devnull, os.O_WRONLY)
        if given["config"].hydra.job.num == 3:
            multirun_job.run_once = lambda *_, **__: os._exit(9)
        run_job(**given)
        os._exit(0)
    os.wait()
    return JobReturn(status=JobStatus.COMPLETED, _return_value=None)

utils.run_job = elsewhere
"""

# What submitit does where sbatch takes no job.
REFUSES = """
from hydra.core import utils  # its plugins are imported afresh, and take run_job from here

def refuse(**_):
    raise RuntimeError("sbatch: error: invalid partition specified: gpu")

utils.run_job = refuse
"""


def multirun(
    tmp_path: Path, *arguments: str, launcher: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [warm_python(), "-c", STAND_IN.replace("LAUNCHER", launcher), "-m", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def num_runs(stdout: str) -> int:
    """Return n of the only row of the table."""
    header, _, row = stdout.splitlines()
    return int(row[header.index(" n ") :].split()[0])


def test_failed_combination_leaves_table_of_the_others(
    tmp_path: Path,
) -> None:
    ended = multirun(tmp_path, "seed=0,1,3,${no_such_key}")
    assert ended.returncode == 1
    assert "90.00 %" in ended.stdout
    assert num_runs(ended.stdout) == 2
    one, other, last = ended.stderr.splitlines()
    assert one == "error: seed=1: CUDA out of memory"
    assert other.startswith("error: seed=$")
    assert "Interpolation key 'no_such_key' not found" in other
    assert last == "error: 2 of 4 runs failed"


def test_mistake_of_ours_keeps_its_traceback_and_the_table(tmp_path: Path) -> None:
    ended = multirun(tmp_path, "seed=0,2,3")
    assert ended.returncode == 1
    assert "KeyError: 'ours'" in ended.stderr
    assert num_runs(ended.stdout) == 2


def test_jobs_in_other_processes_are_read_from_their_folders(tmp_path: Path) -> None:
    ended = multirun(tmp_path, "seed=0,1,3,4", launcher=OTHER_PROCESSES)
    assert ended.returncode == 1
    assert num_runs(ended.stdout) == 2
    assert ended.stderr.splitlines() == [
        "error: seed=1: CUDA out of memory",
        "error: seed=4: the job was killed",
        "error: 2 of 4 runs failed",
    ]


def test_launcher_that_takes_no_job_is_one_line(tmp_path: Path) -> None:
    refused = multirun(tmp_path, "seed=0,1", launcher=REFUSES)
    assert refused.returncode == 1
    said = "error: hydra/launcher: sbatch: error: invalid partition specified: gpu\n"
    assert (refused.stdout, refused.stderr) == ("", said)


def test_given_sweep_folder_is_used_without_rows_of_earlier_multirun(
    tmp_path: Path,
) -> None:
    first = multirun(tmp_path, "seed=0,1,3", "hydra.sweep.dir=mine")
    assert first.returncode == 1
    left = sorted(
        p.relative_to(tmp_path / "mine").as_posix() for p in (tmp_path / "mine").glob("*/*")
    )
    assert left == ["0/job.json", "1/error.json", "2/job.json"]
    second = multirun(tmp_path, "seed=5", "hydra.sweep.dir=mine")
    assert (second.returncode, second.stderr) == (0, "")
    assert num_runs(second.stdout) == 1
    assert not (tmp_path / "multirun").exists()
    refused = multirun(tmp_path, "seed=5", "hydra.sweep.dir=${now:%Y}")
    assert refused.stderr == "error: hydra.sweep.dir must be a folder's plain name, got ${now:%Y}\n"
