"""Observers: when a run calls them, and what each does to the directory, tracker and terminal."""

import signal
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anneal.runs import observers as module
from anneal.runs.directory import CHECKPOINT, HISTORY, TIMING, RunDirectory, read_lines
from anneal.runs.observers import (
    Checkpoints,
    History,
    Observer,
    ProgressBar,
    Snapshots,
    Tracking,
    observed,
)
from anneal.runs.run import Interrupted, SeedRun, train_run, usual_observers
from anneal.training.loop import Outcome, Record, Status
from anneal.training.parts import ALONE

TOTAL = 3


class Loop:
    """What a run needs of the training loop: three updates, each with its record."""

    def __init__(self, *, update: int = 0, split: str = "test") -> None:
        self.update, self.total_steps, self.split = update, TOTAL, split
        self.learner = SimpleNamespace(model=SimpleNamespace(state_dict=lambda: {"w": self.update}))

    def state_dict(self) -> dict[str, int]:
        return {"update": self.update}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.update = state["update"]

    def updates(
        self, *, record: Callable[[Record], None], between: Callable[[int], bool]
    ) -> Generator[None, None, Outcome]:
        while self.update < TOTAL:
            self.update += 1
            record({"update": self.update, f"{self.split}_accuracy_pct": 10.0 * self.update})
            if not between(self.update) and self.update < TOTAL:
                return Outcome(status="stopped", updates=self.update)
            yield
        return Outcome(status="finished", updates=self.update)


class Listener(Observer):
    """Writes down which of its hooks are called."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self._name, self._calls = name, calls

    def start(self, training: Any) -> None:
        self._calls.append(f"{self._name} starts at {training.update}")

    def record(self, line: Record) -> None:
        self._calls.append(f"{self._name} records {line['update']}")

    def between(self, update: int, *, stopping: bool) -> None:
        self._calls.append(f"{self._name} {'stops' if stopping else 'is'} at {update}")

    def end(self, status: Status, result: Mapping[str, Any] | None) -> None:
        self._calls.append(f"{self._name} {status} {result and result['updates']}")

    def close(self, *, failed: bool) -> None:
        self._calls.append(f"{self._name} {'failed' if failed else 'closed'}")


class Interrupting(Observer):
    """Presses Ctrl-C after an update."""

    def __init__(self, update: int) -> None:
        self._update = update

    def record(self, line: Record) -> None:
        if line["update"] == self._update:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SeedRun:
    """Return a run of the loop above."""
    monkeypatch.setattr("anneal.runs.run.describe_environment", dict)
    plan: Any = SimpleNamespace(
        describe=lambda: {"configuration_hash": "h"}, total_steps=TOTAL, snapshots=()
    )
    setup: Any = SimpleNamespace(
        settings=SimpleNamespace(describe=dict, device="cpu"),
        data=SimpleNamespace(identity={}),
        parts=ALONE,
    )
    build: Any = lambda *_, seed: Loop()  # noqa: ARG005, E731
    return SeedRun(
        plan=plan, setup=setup, seed=0, build=build, replaced=tmp_path / "replaced",
        directory=RunDirectory(tmp_path / "run", configuration_hash="h", code="c"),
    )  # fmt: skip


# --- when they are called -------------------------------------------------------------------------


def test_observers_are_called_in_the_order_of_the_list(run: SeedRun) -> None:
    calls: list[str] = []
    result = train_run(run, [Listener("one", calls), Listener("two", calls)])
    assert result == {"status": "finished", "updates": TOTAL}
    assert calls == [
        "one starts at 0", "two starts at 0",
        "one records 1", "two records 1", "one is at 1", "two is at 1",
        "one records 2", "two records 2", "one is at 2", "two is at 2",
        "one records 3", "two records 3", "one is at 3", "two is at 3",
        "one finished 3", "two finished 3", "two closed", "one closed",
    ]  # fmt: skip


def test_interrupted_run_saves_a_checkpoint_and_resumes_from_it(run: SeedRun) -> None:
    calls: list[str] = []
    with pytest.raises(Interrupted):
        train_run(run, [Interrupting(2), Checkpoints(run.directory), Listener("it", calls)])
    assert calls[-3:] == ["it stops at 2", "it stopped None", "it failed"]
    assert run.directory.result() is None
    calls.clear()
    train_run(run, [Listener("it", calls)])
    assert calls[0] == "it starts at 2"
    assert [e["from_update"] for e in run.directory.environment()] == [0, 2]
    assert [e["to_update"] for e in run.directory.environment()] == [2, 3]


def test_run_interrupted_on_its_last_update_ends_before_the_interrupt(run: SeedRun) -> None:
    calls: list[str] = []
    with pytest.raises(Interrupted):
        train_run(run, [Interrupting(TOTAL), Listener("it", calls)])
    assert calls[-2:] == ["it finished 3", "it failed"]
    assert run.directory.result() is not None


def test_ended_run_calls_no_observer(run: SeedRun, capsys: pytest.CaptureFixture[str]) -> None:
    first, calls = train_run(run, []), []
    again = train_run(run, [Listener("it", calls)])
    assert {"status", "updates"} <= again.keys()
    assert (again["status"], again["updates"], calls) == (first["status"], TOTAL, [])
    assert "already finished, not run again" in capsys.readouterr().out


def test_only_started_observers_are_closed_after_an_error() -> None:
    calls: list[str] = []
    loop: Any = Loop()
    broken = Listener("broken", calls)
    broken.start = lambda _: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    with (
        pytest.raises(ZeroDivisionError),
        observed(loop, [Listener("one", calls), broken, Listener("two", calls)]),
    ):
        pass
    assert calls == ["one starts at 0", "one failed"]


# --- what each does -------------------------------------------------------------------------------


def test_history_takes_each_record_and_its_time(run: SeedRun) -> None:
    result = train_run(run, [History(run.directory)])
    lines = read_lines(run.directory.path / HISTORY)
    assert [line["test_accuracy_pct"] for line in lines] == [10.0, 20.0, 30.0]
    assert [line["update"] for line in read_lines(run.directory.path / TIMING)] == [1, 2, 3]
    assert result["test_accuracy_pct@final"] == 30.0


def test_no_checkpoint_is_ahead_of_its_snapshots(
    run: SeedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    saved: list[str] = []
    directory = run.directory
    monkeypatch.setattr(directory, "save_snapshot", lambda *_, update: saved.append(f"s{update}"))
    monkeypatch.setattr(
        directory, "save_checkpoint", lambda *_, update, **_how: saved.append(f"c{update}")
    )
    run.plan.snapshots = (2,)  # type: ignore[misc]
    run.plan.experiment = SimpleNamespace(  # type: ignore[misc, assignment]
        paper=None, name="x", tracking=None,
        scheduler=SimpleNamespace(name="s"), dataset=SimpleNamespace(name="d"),
    )  # fmt: skip
    used = usual_observers(run, job_type="train")
    train_run(run, [one for one in used if isinstance(one, Snapshots | Checkpoints)])
    assert saved == ["c1", "s2", "c2", "c3", "c3"]  # the last is that of the end


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, [59.0, 61.0, 100.0]), ("7.5", [7.0, 8.0, 15.0])]
)
def test_checkpoints_are_a_minute_or_what_is_asked_for_apart(
    run: SeedRun, monkeypatch: pytest.MonkeyPatch, asked: str | None, seconds: list[float]
) -> None:
    if asked is not None:
        monkeypatch.setenv(module.OTHER_SECONDS, asked)
    early, due, late = seconds
    clock = iter([0.0, early, due, due, due, due, late])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    directory: Any = run.directory
    saved: list[int] = []
    monkeypatch.setattr(directory, "save_checkpoint", lambda _, update, **__: saved.append(update))
    checkpoints = Checkpoints(directory)
    loop: Any = Loop()
    checkpoints.start(loop)
    for update in (1, 2, 3):
        checkpoints.between(update, stopping=False)
    assert saved == [2]
    assert not (run.directory.path / CHECKPOINT).exists()


@pytest.mark.parametrize("asked", ["", "often", "-1", "nan", "inf"])
def test_time_between_checkpoints_that_is_none_is_refused(
    run: SeedRun, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv(module.OTHER_SECONDS, asked)
    named = f"ANNEAL_CHECKPOINT_SECONDS must be a number of seconds, at least 0, got '{asked}'"
    loop: Any = Loop()
    with pytest.raises(ValueError, match=named):
        Checkpoints(run.directory).start(loop)


@pytest.mark.parametrize(("update", "resumed"), [(0, None), (2, 2)])
def test_tracker_is_resumed_and_gets_records_result_and_status(
    update: int, resumed: int | None
) -> None:
    said: list[Any] = []

    def open_view(*, resume_from_update: int | None) -> Any:
        said.append(resume_from_update)
        return SimpleNamespace(
            log=lambda at, values: said.append((at, values)), summary=said.append, close=said.append
        )

    tracking, loop = Tracking(open_view), Loop(update=update)
    tracking.start(loop)  # type: ignore[arg-type]
    tracking.record({"update": 3, "loss": 0.5})
    tracking.end("diverged", {"best": 1, "final": None})
    tracking.close(failed=True)  # an error after the end; a closed tracker takes no notice
    assert said == [resumed, (3, {"update": 3, "loss": 0.5}), {"best": 1}, "diverged", "failed"]


@pytest.mark.parametrize("split", ["test", "held_out"])
def test_progress_bar_shows_the_accuracy_of_the_measured_split(
    split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import contextmanager

    shown: list[Any] = []

    @contextmanager
    def metered(label: str, *, total: int, done: int) -> Any:
        shown.append((label, total, done))
        yield lambda *said: shown.append(said)
        shown.append("gone")

    monkeypatch.setattr(module, "metered", metered)
    bar, loop = ProgressBar("a run"), Loop(update=1, split=split)
    bar.start(loop)  # type: ignore[arg-type]
    bar.record({"update": 2, f"{split}_accuracy_pct": 12.34})
    bar.record({"update": 3, "loss": 0.1})
    bar.between(3, stopping=False)
    bar.close(failed=False)
    assert shown == [("a run", TOTAL, 1), (2, "12.3 %"), (3, None), "gone"]
