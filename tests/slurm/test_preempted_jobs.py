"""Preempted jobs of a real SLURM: they resume from the update at which they were stopped."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from tests.pipeline.conftest import copy_project
from tests.pipeline.test_grid import forget, results
from tests.slurm.cluster import running_cluster

from anneal.runs.directory import ENVIRONMENT_FILE, HISTORY, PREVIOUS
from anneal.runs.observers import Checkpoints
from anneal.runs.result_file import RESULT

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(1800)]

# Four runs of seconds, on a node with room for two.
CAMPAIGN = """\
# @package _global_
seeds: [0, 1, 2, 3]
budget_fraction: 1.0
campaign:
  name: smoke
  title: Four runs
  rerun_committed: false
  datasets: [small_digits]
  range_tests: {}
  experiments:
    smoke/plain: {dataset: small_digits, range_test: given}
"""
SHORT = {"batch_size: 50": "batch_size: 20", "400 steps": "300 steps", "evaluations: 4":
         "evaluations: 2", "log_lines: 20": "log_lines: 60"}  # fmt: skip
HIGH = ("srun", "--partition=high", "--cpus-per-task=2", "true")  # returns at its end
PLAIN_JOB = """\
#!/bin/sh
#SBATCH --partition=low
#SBATCH --requeue
#SBATCH --signal=B:USR2@120
#SBATCH --open-mode=append
trap "" USR2
exec {python} -m anneal run experiment=smoke/plain tracking=off hardware=cpu hardware.threads=1
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm") / "cluster"
    with running_cluster(folder, cpus=2, grace_seconds=30) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("preempted") / "project")
    (project.root / "conf/campaign/smoke.yaml").write_text(CAMPAIGN)
    row = project.root / "conf/experiment/smoke/plain.yaml"
    text = row.read_text()
    for old, new in SHORT.items():
        assert old in text
        text = text.replace(old, new)
    row.write_text(text)
    project.python("-m", "anneal", "params", "campaign=smoke", "tracking=off", "hardware=cpu",
                   "hardware.threads=1")  # fmt: skip
    return project


def wait_until(ready, cluster):
    deadline = time.monotonic() + 600
    while not ready():
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.05)


def at_work(folder):
    """Return the run directories below a folder whose runs have made updates and go on."""
    found = (path.parent for path in folder.rglob(HISTORY))
    return {path for path in found if not (path / RESULT).is_file()}


def starts(run):
    """Return the updates between which each start of a run trained."""
    entries = json.loads((run / ENVIRONMENT_FILE).read_text())
    return [(entry["from_update"], entry["to_update"]) for entry in entries]


def test_campaign_with_preempted_runs_gives_the_local_results(project, cluster):
    pytest.importorskip("submitit", reason="the extra cluster is not installed")
    grid = subprocess.Popen(
        [sys.executable, "-m", "anneal", "grid", "--slurm", "partition=low,cpus_per_task=1"],
        cwd=project.root,
        env=os.environ | cluster.environment | {"PYTHONPATH": str(project.root / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    runs = project.root / "runs/smoke/smoke/plain"
    wait_until(lambda: len(at_work(runs)) == 2 or grid.poll() is not None, cluster)
    preempted = at_work(runs)
    cluster.run(*HIGH, cwd=project.root)
    said, _ = grid.communicate(timeout=900)
    assert grid.returncode == 0, said + cluster.logs()
    assert "4 of 4 runs ended" in said
    assert not any(word in said for word in ("sacct", "submitit", "WARNING")), said

    assert len(preempted) == 2
    assert not list(runs.rglob(PREVIOUS))
    for run in runs.glob("seed-*"):
        if run in preempted:
            (_, stopped), (resumed, end) = starts(run)
            assert 0 < stopped == resumed < end == 300
        else:
            assert starts(run) == [(0, 300)]
    found = results(project)
    assert len(found[1]) == 4
    forget(project)
    project.run("dvc", "repro", "collect")
    assert results(project) == found


def test_preempted_job_of_sbatch_alone_resumes(project, cluster):
    folder = project.root / "multirun"
    shutil.rmtree(folder, ignore_errors=True)
    script, log = project.root / "job.sh", project.root / "job.log"
    script.write_text(PLAIN_JOB.format(python=sys.executable))
    sent = ("sbatch", "--parsable", f"--output={log}", str(script))
    job = cluster.run(*sent, cwd=project.root)
    wait_until(lambda: at_work(folder), cluster)
    (run,) = at_work(folder)
    cluster.run(*HIGH, cwd=project.root)
    wait_until(lambda: cluster.states()[job] not in ("PENDING", "RUNNING", "COMPLETING"), cluster)
    said = log.read_text()
    assert cluster.states()[job] == "COMPLETED", said + cluster.logs()
    assert f"preempted: scontrol requeue {job}" in said
    (_, stopped), (resumed, end) = starts(run)
    assert 0 < stopped == resumed < end == 300


def test_grace_shorter_than_a_checkpoint_is_said_once(cluster, monkeypatch, capsys):
    class Slow:
        def history_bytes(self):
            return 0

        def save_checkpoint(self, state, *, update, history_bytes):
            time.sleep(1.1)

    class Idle:
        def state_dict(self):
            return {}

    monkeypatch.setattr("anneal.runs.observers.CHECKPOINT_SECONDS", 0.0)
    for name, value in (cluster.environment | {"SLURM_JOB_PARTITION": "low"}).items():
        monkeypatch.setenv(name, value)
    checkpoints = Checkpoints(Slow())
    checkpoints.start(Idle())
    cluster.run("scontrol", "update", "partitionname=low", "gracetime=1")
    try:
        checkpoints.between(1, stopping=False)
        checkpoints.between(2, stopping=False)
    finally:
        cluster.run("scontrol", "update", "partitionname=low", "gracetime=30")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("a checkpoint took 1.1 s and a preempted job of this partition has 1 s")
