"""Checkpoints written by a thread: of their update, waited for, and failing in one line."""

import errno
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anneal.config.schema import ExperimentConfig
from anneal.config.strict import parse
from anneal.io.files import read_yaml
from anneal.runs import observers as module
from anneal.runs.directory import CHECKPOINT, HISTORY, PREVIOUS, RunDirectory, read_lines
from anneal.runs.observers import Checkpoints, History, Observer
from anneal.runs.plan import plan_run
from anneal.runs.result_file import RESULT
from anneal.runs.run import Interrupted, SeedRun, train_run
from anneal.runs.setup import ExperimentSetup, load_setup
from anneal.runs.state_copy import StateCopy

SMALL = Path(__file__).parents[1] / "golden" / "small_run.yaml"
TOTAL = 6


class Loop:
    """A state that the next update changes in place."""

    def __init__(self) -> None:
        self.weights = torch.zeros(3)

    def state_dict(self) -> dict[str, Any]:
        return {"model": {"w": self.weights}}


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    opened = RunDirectory(tmp_path / "seed-0", configuration_hash="h", code="c")
    opened.open({"configuration_hash": "h"}, replaced=tmp_path / "replaced")
    return opened


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a disk on which a checkpoint waits until it is ``free``."""
    free, waits, save = threading.Event(), threading.Event(), RunDirectory.save_checkpoint
    written: list[int] = []
    writing: list[int] = []
    at_once: list[int] = []

    def saved(self: RunDirectory, state: Any, *, update: int, **how: Any) -> None:
        writing.append(update)
        at_once.append(len(writing))
        waits.set()
        assert free.wait(30)
        save(self, state, update=update, **how)
        writing.remove(update)
        written.append(update)

    monkeypatch.setattr(RunDirectory, "save_checkpoint", saved)
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    return SimpleNamespace(free=free, waits=waits, written=written, at_once=at_once)


def started(directory: RunDirectory, loop: Any) -> Checkpoints:
    checkpoints = Checkpoints(directory, aside=True)
    checkpoints.start(loop)
    return checkpoints


def test_checkpoint_is_of_its_update_though_the_run_goes_on(
    directory: RunDirectory, disk: Any
) -> None:
    loop = Loop()
    checkpoints = started(directory, loop)
    for update in (1, 2, 3):
        loop.weights += 1
        directory.append(HISTORY, {"update": update})
        checkpoints.between(update, stopping=False)
    assert not (directory.path / CHECKPOINT).exists()
    disk.free.set()
    checkpoints.flush()
    assert disk.written == [1]  # none begins while one is being written
    found = directory.resume()
    assert found is not None
    assert found["state"]["model"]["w"].tolist() == [1.0, 1.0, 1.0]
    assert read_lines(directory.path / HISTORY) == [{"update": 1}]


def test_stop_waits_for_the_write_and_adds_its_own_checkpoint(
    directory: RunDirectory, disk: Any
) -> None:
    checkpoints = started(directory, Loop())
    checkpoints.between(1, stopping=False)
    threading.Timer(0.2, disk.free.set).start()
    checkpoints.between(2, stopping=True)
    assert disk.written == [1, 2]
    assert torch.load(directory.path / PREVIOUS, weights_only=True)["update"] == 1


def test_directory_is_not_released_before_the_write_has_ended(
    directory: RunDirectory, disk: Any
) -> None:
    checkpoints = started(directory, Loop())
    checkpoints.between(1, stopping=False)
    threading.Timer(0.2, disk.free.set).start()
    checkpoints.close(failed=True)
    assert disk.written == [1]


def test_failed_write_ends_the_run_after_an_update(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    directory.save_checkpoint({}, update=1)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    checkpoints = started(directory, Loop())

    def go_on() -> None:
        for update in range(2, 1000):
            checkpoints.between(update, stopping=False)
            time.sleep(0.01)

    with pytest.raises(OSError, match=r"No space left on device.*checkpoint\.pt"):
        go_on()
    monkeypatch.undo()
    assert [file.name for file in directory.path.iterdir() if "tmp" in file.name] == []
    found = directory.read_checkpoint()
    assert found is not None
    assert found["update"] == 1


def test_short_grace_is_compared_with_the_time_of_the_thread(
    directory: RunDirectory, disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[float] = []
    monkeypatch.setattr(module, "warn_of_short_grace", took.append)
    checkpoints = started(directory, Loop())
    checkpoints.between(1, stopping=False)
    assert disk.waits.wait(30)
    time.sleep(0.2)
    disk.free.set()
    checkpoints.flush()
    checkpoints.between(2, stopping=False)
    checkpoints.flush()
    (seconds,) = took
    assert seconds >= 0.2


# --- a real run -----------------------------------------------------------------------------------


class Stopping(Observer):
    """Presses Ctrl-C after an update."""

    def __init__(self, update: int) -> None:
        self._update = update

    def between(self, update: int, *, stopping: bool) -> None:
        if update == self._update:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def setup() -> ExperimentSetup:
    return small_setup("cpu")


def small_setup(device: str) -> ExperimentSetup:
    plain = read_yaml(SMALL)
    plain["training"] |= {
        "batch_size": 20, "length": f"{TOTAL} steps", "evaluations": 2, "log_lines": TOTAL,
    }  # fmt: skip
    plain["hardware"] |= {"device": device}
    return load_setup(parse(ExperimentConfig, plain, where="x"))


def train(setup: ExperimentSetup, folder: Path, *, aside: bool, stop: int | None) -> RunDirectory:
    plan = plan_run(setup.experiment, setup.data.identity, bounds=None, where="x")
    digest = plan.configuration_hash
    directory = RunDirectory(folder / "seed-0", configuration_hash=digest, code="c")
    run = SeedRun(plan=plan, setup=setup, seed=0, directory=directory, replaced=folder / "replaced")
    observers = [History(directory), Checkpoints(directory, aside=aside)]
    with directory.held():
        if stop is not None:
            with pytest.raises(Interrupted):
                train_run(run, [*observers, Stopping(stop)])
            observers = [History(directory), Checkpoints(directory, aside=aside)]
        train_run(run, observers)
    return directory


def same_record(setup: ExperimentSetup, tmp_path: Path) -> None:
    """Compare a run that a thread writes, stopped on the way, with one that was left alone."""
    stopped = train(setup, tmp_path / "stopped", aside=True, stop=3)
    alone = train(setup, tmp_path / "alone", aside=False, stop=None)
    for name in (HISTORY, RESULT):
        assert (stopped.path / name).read_bytes() == (alone.path / name).read_bytes()
    weights = [one.read_checkpoint() for one in (stopped, alone)]
    found, expected = (one["state"]["model"] for one in weights if one is not None)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not (stopped.path / PREVIOUS).exists()


def test_stopped_run_with_the_thread_ends_with_the_same_bits(
    setup: ExperimentSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    same_record(setup, tmp_path)


@pytest.mark.gpu
def test_stopped_run_on_cuda_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    same_record(small_setup("cuda"), tmp_path)


def test_end_of_a_run_waits_for_the_write_before_its_last_checkpoint(
    setup: ExperimentSetup, tmp_path: Path, disk: Any
) -> None:
    threading.Timer(0.5, disk.free.set).start()
    directory = train(setup, tmp_path, aside=True, stop=None)
    assert disk.written[0] < disk.written[-1] == TOTAL
    assert sorted(disk.written) == disk.written
    assert max(disk.at_once) == 1
    content = directory.read_checkpoint()
    assert content is not None
    assert content["update"] == TOTAL


# --- copies ---------------------------------------------------------------------------------------


def test_copy_keeps_values_shared_memory_and_versions_of_layers() -> None:
    model = torch.nn.BatchNorm1d(3)
    shared = torch.arange(4.0)
    state = {
        "model": model.state_dict(),
        "random": (1, (2, None)),
        "optimizer": [{"lr": 0.1, "buffer": shared}, shared[:2]],
        "again": shared.view(4),
    }
    copied = StateCopy(state).content()
    with torch.no_grad():
        shared += 1
        model.weight += 1
    assert copied["optimizer"][0]["buffer"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert copied["again"].data_ptr() == copied["optimizer"][0]["buffer"].data_ptr()
    assert copied["model"]["weight"].tolist() == [1.0, 1.0, 1.0]
    assert copied["model"]._metadata == state["model"]._metadata  # type: ignore[attr-defined]
    assert copied["random"] == (1, (2, None))
    assert state["optimizer"][0] is not copied["optimizer"][0]


@pytest.mark.gpu
def test_copy_from_cuda_is_pinned_and_of_before_the_next_updates() -> None:
    weights = torch.zeros(2**24, device="cuda")
    copied = StateCopy({"w": weights})
    for _ in range(20):
        weights += 1
    found = copied.content()["w"]
    assert found.is_pinned()
    assert float(found.abs().max()) == 0.0
