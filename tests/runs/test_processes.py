"""Several processes of one run: who they are, what is refused, how they end."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.runs.rank_program import AT, hardware
from tests.warm import warm_python

from anneal.runs import processes
from anneal.runs.processes import on_processes, rank_of, refuse_several

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = "tests.runs.rank_program"


# --- who they are ---------------------------------------------------------------------------------


def test_process_alone_is_no_rank():
    assert rank_of({}) is None
    assert rank_of({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None


def test_variables_of_torchrun_name_the_rank():
    found = rank_of({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert found is not None
    assert (found.rank, found.size, found.local_rank) == (5, 8, 1)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu7", "gpu7"), ("gpu[03-05,9]", "gpu03"), ("a1,b2", "a1"), ("rack2-n[8,11]", "rack2-n8")],
)
def test_variables_of_srun_name_rank_and_meeting_point(monkeypatch, nodes, first):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    step = {
        "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1",
        "SLURM_STEP_NODELIST": nodes, "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    }  # fmt: skip
    found = rank_of(step)
    assert found is not None
    assert (found.rank, found.size, found.local_rank) == (3, 4, 1)
    assert os.environ["MASTER_ADDR"] == first
    assert 20_000 <= int(os.environ["MASTER_PORT"]) < 30_000
    rank_of(step | {"MASTER_PORT": "4711"})
    assert os.environ["MASTER_PORT"] == "4711"  # as a person has set it


# --- what is refused ------------------------------------------------------------------------------


def run(num, accumulation):
    on_processes(
        hardware(processes=num), accumulation=accumulation, module=PROGRAM, arguments=[],
        work=lambda parts: pytest.fail(f"{parts} works"),
    )  # fmt: skip


def test_processes_that_do_not_divide_the_parts_are_refused():
    with pytest.raises(ValueError, match="processes must divide the 6 parts of an update") as said:
        run(4, 6)
    assert str(said.value).startswith("conf/hardware/cpu.yaml: ")
    assert str(said.value).endswith("(training.accumulation), got 4")


def test_more_processes_than_devices_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "_num_devices", lambda _: 2)
    with pytest.raises(ValueError, match="processes must be at most the 2 devices here, got 4"):
        run(4, 4)


def test_several_processes_are_refused_where_one_does_the_work():
    refuse_several(hardware(), for_what="a range test")
    with pytest.raises(ValueError, match="processes must be 1 for a range test, got 2"):
        refuse_several(hardware(processes=2), for_what="a range test")


def test_several_processes_of_torchrun_are_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="processes must be 1 for a range test, got 2"):
        refuse_several(hardware(), for_what="a range test")


def test_one_process_does_the_work_itself():
    worked = []
    on_processes(hardware(), accumulation=1, module=PROGRAM, arguments=[], work=worked.append)
    assert [(parts.rank, parts.size) for parts in worked] == [(0, 1)]


# --- how they end ---------------------------------------------------------------------------------


def start(what, rank=1, patience="10 minutes", folder=REPOSITORY):
    return subprocess.Popen(
        [warm_python(), "-m", PROGRAM, what, str(rank), patience],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def left_in(folder):
    """Return the processes that work in a folder: ranks, and what started them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # it has ended
            if path.readlink() == folder:
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "rank", "said"),
    [
        ("is killed", 1, "rank 1 of 3 was killed by SIGKILL"),
        ("is killed", 0, "rank 0 of 3 was killed by SIGKILL"),
        ("is wrong", 2, "rank 2 of 3: conf/x.yaml: y must be z"),
        ("has a bug", 2, "rank 2 of 3: TypeError: a bug"),
    ],
)
def test_rank_that_ends_ends_the_others_with_one_line(what, rank, said):
    process = start(what, rank)
    assert process.stdout is not None
    while f"update {AT - 1} " not in process.stdout.readline():
        pass
    began = time.monotonic()
    _, errors = process.communicate(timeout=120)
    assert time.monotonic() - began < 10
    assert (process.returncode, errors) == (1, f"error: {said}\n")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_rank_that_hangs_is_named_when_patience_is_over(rank, tmp_path):
    process = start("hangs", rank, "3 seconds", folder=tmp_path)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors == f"error: rank {rank} of 3 did not answer for 3 seconds (hardware.patience)\n"
    assert f"update {AT - 1} total 6" in output
    assert not left_in(tmp_path)


@pytest.mark.slow
def test_signal_at_any_rank_stops_all_after_the_same_update():
    process = start("is told to stop", 2)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, "error: interrupted\n")
    assert output.splitlines()[-1] == f"rank 0 update {AT} total 6"  # the others are silent
    assert len(output.splitlines()) == AT + 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_signal_to_the_starter_stops_all(number):
    process = start("goes on")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, "error: interrupted\n")


@pytest.mark.slow
def test_ranks_stop_when_their_starter_is_killed(tmp_path):
    process = start("goes on", folder=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    assert len(left_in(tmp_path)) > 3
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while left_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left_in(tmp_path)


# --- a run ----------------------------------------------------------------------------------------

OPTIONS = [
    "hardware=cpu", "tracking=off", "dataset.image_size=16", "training.accumulation=2",
    "training.batch_size=10", "training.length=12 steps", "training.log_lines=4",
    "training.evaluations=2", "hardware.threads=1",
]  # fmt: skip


def anneal_run(folder, *options):
    ended = subprocess.run(
        [warm_python(), "-m", "anneal", "run", *OPTIONS, *options],
        cwd=folder, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (run,) = folder.glob("multirun/*/seed-0")
    return run, ended.stdout


@pytest.mark.slow
def test_run_on_two_processes_is_the_run_of_one(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, _ = anneal_run(tmp_path / "one")
    two, said = anneal_run(tmp_path / "two", "hardware.processes=2")
    assert said.count("12 updates") == 1  # rank 0 alone talks
    assert one.parent.name == two.parent.name  # the configuration hash
    assert [p.name for p in sorted(one.iterdir())] == [p.name for p in sorted(two.iterdir())]
    environment = [json.loads((run / "environment.json").read_text()) for run in (one, two)]
    assert [entries[0]["processes"] for entries in environment] == [1, 2]
    records = [
        [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        for run in (one, two)
    ]
    assert len(records[0]) == 4
    for a, b in zip(*records, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    _, said = anneal_run(tmp_path / "two")  # finished, for any number of processes
    assert "already finished" in said
