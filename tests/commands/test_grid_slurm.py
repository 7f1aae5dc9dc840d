"""Runs as a job array: with stand-ins for sbatch, srun and squeue that run the jobs here."""

import json
import os
import sys
from pathlib import Path

import pytest

from anneal.commands import grid
from anneal.commands.grid import read_options
from anneal.config.compose import PARAMS, compose_plain, load_campaign
from anneal.io.files import read_json, write_json, write_yaml
from anneal.runs import slurm
from anneal.runs.board import Board
from anneal.runs.campaign_runs import CampaignRun, campaign_runs
from anneal.runs.code_digest import code_digest
from anneal.runs.directory import PLAN
from anneal.runs.queue import ended_somewhere
from anneal.runs.result_file import RESULT
from anneal.runs.slurm import Farm, Task, open_executor, read_parameters, run_job
from anneal.runs.status import RunStatus

pytest.importorskip("submitit", reason="the extra cluster is not installed")

SBATCH = """#!{python}
import os, pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[1]).read_text()
array = re.search(r"--array=0-(\\d+)%", script)
number = 100 + len(list(pathlib.Path("jobs").iterdir()))
pathlib.Path(f"jobs/{{number}}").write_text(script)
for task in range(int(array.group(1)) + 1) if array else [None]:
    named = {{"SLURM_JOB_ID": str(number), "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "1",
              "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
              "SLURM_JOB_NODELIST": "here"}}
    if task is not None:
        named |= {{"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task)}}
    name = str(number) if task is None else f"{{number}}_{{task}}"
    command = f"sleep 1; bash {{sys.argv[1]}}; rm alive/{{name}}"  # squeue knows it until then
    pathlib.Path(f"alive/{{name}}").touch()
    subprocess.Popen(["sh", "-c", command], env=os.environ | named, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL, start_new_session=True)
print(f"Submitted batch job {{number}}")
"""
SRUN = """#!{python}
import os, subprocess, sys
where = sys.argv[sys.argv.index("--output") + 1]
number = os.environ["SLURM_JOB_ID"]
where = where.replace("%A", number).replace("%j", number).replace("%t", "0")
where = where.replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", ""))
command = sys.argv[sys.argv.index("--output") + 2:]
with open(where, "ab") as log:
    sys.exit(subprocess.call(command, stdout=log, stderr=log))
"""
SQUEUE = "#!/bin/sh\nls alive\n"
TRAINING = """
import json, pathlib, sys
def main(arguments):
    path, steps, seed = arguments
    if seed == "1" and not pathlib.Path("mended").exists():
        print("CUDA out of memory", file=sys.stderr)
        sys.exit(1)
    pathlib.Path(path).mkdir(parents=True)
    plan = json.dumps({"configuration_hash": "abc", "total_steps": int(steps)})
    pathlib.Path(path, "experiment.yaml").write_text(plan)
    pathlib.Path(path, "result.json").write_text('{"status": "finished", "code": "c"}')
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """Return a folder with conf/, one row with two seeds, and a SLURM that is this machine."""
    for name in ("conf", "pyproject.toml"):
        (tmp_path / name).symlink_to(repository / name)
    monkeypatch.chdir(tmp_path)
    plain = compose_plain("config", ["campaign=quick", "hardware=cpu"])
    plain["seeds"] = [0, 1]
    plain["campaign"]["range_tests"] = {}
    plain["campaign"]["experiments"] = {"digits/sgdr": {"dataset": "digits", "range_test": "given"}}
    write_yaml(PARAMS, plain)
    for name in ("bin", "jobs", "alive", "modules"):
        (tmp_path / name).mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN}.items():
        (tmp_path / "bin" / name).write_text(text.format(python=sys.executable))
    (tmp_path / "bin/squeue").write_text(SQUEUE)
    for program in (tmp_path / "bin").iterdir():
        program.chmod(0o755)
    (tmp_path / "modules/fake_training.py").write_text(TRAINING)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.3)
    return tmp_path


class Lines(Board):
    """A board that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def has_result(run: CampaignRun) -> bool:
    return (run.path / RESULT).is_file()


def fake_task(run: CampaignRun) -> Task:
    return Task("fake_training", (str(run.path), str(run.total_steps), str(run.seed)))


def train(*, retries: int = 0) -> tuple[list[RunStatus], list[str]]:
    runs, board = campaign_runs(load_campaign()), Lines()
    executor = open_executor("quick", read_parameters("partition=low"), parallel=7)
    todo = [run for run in runs if not has_result(run)]
    farm = Farm(
        runs, todo, executor, retries=retries, task=fake_task, is_ended=has_result, board=board
    )
    return farm.train(), board.lines


def test_runs_are_one_array_and_a_failed_one_is_submitted_again(project: Path) -> None:
    found, lines = train(retries=1)
    assert lines[:2] == [
        "digits/sgdr seed 0: submitted as job 100_0",
        "digits/sgdr seed 1: submitted as job 100_1",
    ]
    assert "#SBATCH --array=0-1%2" in (project / "jobs/100").read_text()
    assert "#SBATCH --array" not in (project / "jobs/101").read_text()  # the second attempt
    assert [status.state for status in found] == ["done", "failed"]
    assert found[1].failure == "CUDA out of memory"
    assert lines[-1] == "digits/sgdr seed 1: failed: CUDA out of memory (job 101)"
    (project / "mended").touch()  # and the same command again
    found, lines = train()
    assert lines[0] == "digits/sgdr seed 1: submitted as job 102"
    assert [status.state for status in found] == ["done", "done"]


def test_job_that_still_waits_is_not_submitted_again(project: Path) -> None:
    (project / "mended").touch()
    runs = campaign_runs(load_campaign())
    executor = open_executor("quick", read_parameters("partition=low"), parallel=7)
    job = executor.submit(fake_task(runs[1]))
    write_json(runs[1].attempt, {"slurm_job": job.job_id})
    found, lines = train()
    assert lines[:2] == [
        "digits/sgdr seed 1: job 100 has it already",
        "digits/sgdr seed 0: submitted as job 101",
    ]
    assert [status.state for status in found] == ["done", "done"]
    assert not runs[1].attempt.is_file()


def test_shared_stage_that_fails_in_its_job_is_one_line(project: Path) -> None:
    executor = open_executor("quick", read_parameters("partition=low"), parallel=7)
    (project / "mended").touch()
    run_job(executor, Task("fake_training", ("elsewhere", "3", "0")))
    assert read_json(project / "elsewhere" / RESULT) == {"status": "finished", "code": "c"}
    (project / "mended").unlink()
    with pytest.raises(ValueError, match=r"job 101 failed: CUDA out of memory \(.*101_0_log.out"):
        run_job(executor, Task("fake_training", ("there", "3", "1")))


def test_refused_job_is_one_line(project: Path) -> None:
    (project / "bin/sbatch").write_text("#!/bin/sh\necho 'invalid partition: low' >&2; exit 1\n")
    with pytest.raises(ValueError, match=r"sbatch took no job: .*invalid partition: low"):
        train()


def test_result_of_another_machine_counts_under_the_same_sources(project: Path) -> None:
    write_json(Path("range_tests/quick/given/suggestion.json"), {"rule": None})
    sizes = {"train": {"num_images": 1437}, "test": {"num_images": 360}}
    write_json(Path("data/digits.identity.json"), {"splits": sizes})
    run = campaign_runs(load_campaign())[0]
    write_yaml(run.path / PLAN, {"configuration_hash": run.configuration_hash})
    assert not ended_somewhere(run)
    for code, ended in ((f"{code_digest()} bf16 on a GPU", True), ("0123 bf16", False)):
        write_json(run.path / RESULT, {"status": "finished", "code": code})
        assert ended_somewhere(run) is ended


def test_preempted_task_is_what_submitit_puts_back(project: Path) -> None:
    task = fake_task(campaign_runs(load_campaign())[0])
    assert task.checkpoint().function == task


def test_dry_run_prints_the_script_without_slurm(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    asked = "partition=gpu,gpus_per_node=1,timeout_min=240,mem_gb=16"
    grid.main(["--dry-run", "--slurm", asked, "--parallel", "1"])
    said = capsys.readouterr().out
    for flag in ("array=0-1%1", "partition=gpu", "gpus-per-node=1", "time=240", "mem=16GB",
                 "job-name=anneal-quick", "signal=USR2@120"):  # fmt: skip
        assert f"#SBATCH --{flag}\n" in said
    assert "#SBATCH --requeue\n" in said
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("partitio=gpu", "--slurm has no parameter 'partitio'; did you mean 'partition'"),
        ("partition", "--slurm partition needs a value"),
        ("timeout_min=60", "timeout_min must be a whole number from 61 min on"),
        ("partition=gpu", "--slurm needs SLURM (srun, sbatch), and there is none here"),
    ],
)
def test_wrong_parameter_is_one_line(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: str,
    said: str,
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit):
        grid.main(["--slurm", asked])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--slurm", "partition=gpu", "--workers", "2"], "SLURM places jobs"),
        (["--parallel", "2"], "--parallel is of --slurm"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_options(arguments)


def test_parameters_are_numbers_where_they_look_like_it() -> None:
    found = read_parameters("time=90,gres=gpu:1")
    assert found["timeout_min"] == 90
    assert found["gres"] == "gpu:1"
    assert json.dumps(found)
