"""Runs that are stopped, and trackers that fail: the record on disk is the same."""

import os
import signal
import time

import pytest
import torch

from anneal.runs.directory import CHECKPOINT, HISTORY, RunDirectory
from anneal.runs.result_file import RESULT

pytestmark = pytest.mark.slow
TRAIN = ("-m", "anneal.commands.stages.train", "smoke", "smoke/plain", "given")
RUN = "runs/smoke/smoke/plain/seed-0"
FAKE_WANDB = {
    "raises": "raise RuntimeError('no tracker today')",
    "hangs": "import time\ntime.sleep(30)",
    "vanishes": "import os\nos._exit(9)",
}


@pytest.fixture(scope="module")
def composed(project):
    """Return the project ready to train one seed."""
    project.python("-m", "anneal", "params", "campaign=smoke", "tracking=off", "hardware=cpu",
                   "hardware.threads=1", "seeds=[0]", "budget_fraction=0.25")  # fmt: skip
    project.python("-m", "anneal.commands.stages.compose")
    project.python("-m", "anneal.commands.stages.download", "small_digits")
    return project


def record(project):
    """Return the bytes that a run leaves behind, and take the run away."""
    folder = project.root / RUN
    weights = torch.load(folder / CHECKPOINT, weights_only=True)["state"]
    found = ((folder / HISTORY).read_bytes(), (folder / RESULT).read_bytes(), weights)
    folder.rename(folder.with_name(f"seen-{time.monotonic_ns()}"))
    return found


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.fixture(scope="module")
def uninterrupted(composed):
    composed.python(*TRAIN)
    return record(composed)


def start(project, wait_for, **environment):
    """Start the training and wait for a file of its run."""
    process = project.start(*TRAIN, **environment)
    file = project.root / RUN / wait_for
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if file.is_file() and file.stat().st_size:
            return process
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_signal_writes_a_checkpoint_and_the_run_resumes(composed, uninterrupted, number):
    process = start(composed, HISTORY)
    process.send_signal(number)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert said.splitlines()[-1] == "error: interrupted"
    assert (composed.root / RUN / CHECKPOINT).is_file()
    assert not (composed.root / RUN / RESULT).is_file()
    assert "stopped at" in composed.python("-m", "anneal", "status")
    assert "left of 100" in composed.python(*TRAIN)
    assert same(record(composed), uninterrupted)


def test_killed_run_starts_again_and_ends_with_the_same_bits(composed, uninterrupted):
    process = start(composed, CHECKPOINT, ANNEAL_CHECKPOINT_SECONDS="0")
    process.kill()
    process.communicate(timeout=60)
    assert "left of 100" in composed.python(*TRAIN)
    assert same(record(composed), uninterrupted)


def test_run_in_use_is_refused_in_one_line(composed):
    held = RunDirectory(composed.root / RUN, configuration_hash="of the other process")
    with held.held():
        said = composed.python(*TRAIN, expect=1)
    reason = "is in use by another process; wait for it or stop it"
    assert said.splitlines()[-1] == f"error: {RUN} {reason}"
    assert "Traceback" not in said
    assert not (composed.root / RUN).exists()


@pytest.mark.parametrize("fault", FAKE_WANDB)
def test_tracker_that_fails_leaves_the_same_record(composed, uninterrupted, tmp_path, fault):
    (tmp_path / "wandb.py").write_text(FAKE_WANDB[fault])
    resolved = composed.root / "experiments/smoke/smoke/plain.yaml"
    plain = resolved.read_text()
    resolved.write_text(plain.replace("mode: 'off'", "mode: offline"))
    assert resolved.read_text() != plain
    try:
        path = f"{composed.root / 'src'}{os.pathsep}{tmp_path}"
        began = time.monotonic()
        said = composed.python(*TRAIN, PYTHONPATH=path)
        assert "the record on disk is complete" in said
        assert time.monotonic() - began < 240  # 75 s on a busy machine; a hang has no end
    finally:
        resolved.write_text(plain)
    assert same(record(composed), uninterrupted)
