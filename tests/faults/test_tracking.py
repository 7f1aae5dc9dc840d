"""A tracker that raises, hangs or vanishes does nothing to a run."""

import io
import json
import logging
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from anneal.config.schema import TrackingConfig
from anneal.runs import side_process, tracking
from anneal.runs.side_process import dismiss_all
from anneal.runs.tracking import open_tracker, resolve_mode, serve

OFFLINE = TrackingConfig(name="offline", mode="offline", project="anneal-tests", entity=None)
OFF = TrackingConfig(name="off", mode="off", project="anneal-tests", entity=None)
SECONDS = 1.0  # that the end of a run waits, in these tests; a helper starts in 0.1 s

# A helper with a backend of its own: the body of the method that misbehaves goes in.
BROKEN = """
import os, signal, sys, time
from pathlib import Path
from anneal.runs.tracking import serve_pipe
class Backend:
    def open(self, message): {open}
    def log(self, update, values): {log}
    def summary(self, values): {summary}
    def close(self, status): {close}
serve_pipe(Backend())
"""
FINE = {"open": "pass", "log": "pass", "summary": "pass", "close": "pass"}
RAISES = "raise RuntimeError('no such project')"
HANGS = "time.sleep(30)"
VANISHES = "os.kill(os.getpid(), signal.SIGKILL)"
EXITS = "os._exit(3)"


def helper(**bodies: str) -> Sequence[str]:
    return (sys.executable, "-c", BROKEN.format(**(FINE | bodies)))


@pytest.fixture(autouse=True)
def _no_helper_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(side_process, "START_SECONDS", SECONDS)
    dismiss_all()
    yield
    dismiss_all()


def a_run(run_dir: Path, config: TrackingConfig = OFFLINE, **options: Any) -> bytes:
    """Write a record as a run does, with a tracker beside it; return the record."""
    run_dir.mkdir(parents=True, exist_ok=True)
    history = run_dir / "history.jsonl"
    options = {"close_seconds": SECONDS} | options
    with (
        history.open("w") as record,
        open_tracker(
            config, run_dir=run_dir, group="e", job_type="train", name="e, seed 0", **options
        ) as tracker,
    ):
        for update in range(0, 100, 10):
            line = {"update": update, "loss": 1 / (update + 1)}
            record.write(json.dumps(line) + "\n")
            tracker.log(update, line)
        tracker.summary({"test/accuracy_pct@final": 90.0})
    return history.read_bytes()


@pytest.mark.parametrize("method", ["open", "log", "summary", "close"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (RAISES, "RuntimeError: no such project"),
        (HANGS, "no answer within 1 s"),
        (VANISHES, "the tracker died"),
        (EXITS, "the tracker died"),
    ],
)
def test_broken_tracker_costs_one_notice_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str, fault: str, said: str
) -> None:
    untracked = a_run(tmp_path / "off", OFF)
    start = time.monotonic()
    tracked = a_run(tmp_path / "tracked", command=helper(**{method: fault}))
    assert time.monotonic() - start < SECONDS + 2.5  # 0.6 s measured; the hang is 30 s
    assert tracked == untracked
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "tracking failed" in caplog.text
    assert said in caplog.text
    assert "the record on disk is complete" in caplog.text


def test_healthy_tracker_is_silent_and_serves_the_next_run_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = tmp_path / "pids"
    command = helper(open=f"Path({str(seen)!r}).open('a').write(str(os.getpid()) + '\\n')")
    for seed in range(3):
        a_run(tmp_path / f"seed-{seed}", command=command, close_seconds=30)
    assert not caplog.records
    pids = seen.read_text().split()
    assert len(pids) == 3
    assert len(set(pids)) == 1


def test_tracker_output_reaches_neither_terminal_nor_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = "print('noise', flush=True); print('noise', file=sys.stderr)"
    a_run(tmp_path, command=helper(log=noise, close=noise), close_seconds=30)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_does_not_reach_the_helper(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = helper(open=f"Path({str(pid_file)!r}).write_text(str(os.getpid()))")
    a_run(tmp_path, command=command, close_seconds=30)
    assert os.getpgid(int(pid_file.read_text())) != os.getpgid(0)


def test_after_a_problem_the_next_run_has_a_helper_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    once = tmp_path / "once"
    body = f"mark = Path({str(once)!r}); mark.exists() or (mark.touch(), 1 / 0)"
    a_run(tmp_path / "first", command=helper(log=body), close_seconds=30)
    a_run(tmp_path / "second", command=helper(log=body), close_seconds=30)
    assert [r.getMessage() for r in caplog.records] == [
        "tracking failed: ZeroDivisionError: division by zero; the record on disk is complete"
    ]


def test_helper_may_take_longer_to_start_than_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(side_process, "START_SECONDS", 30.0)
    a_run(tmp_path, command=helper(open="time.sleep(0.5)"), close_seconds=0.01)
    assert not caplog.records


def test_after_a_hang_the_next_runs_do_not_wait_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a_run(tmp_path / "first", command=helper(open=HANGS))
    start = time.monotonic()
    a_run(tmp_path / "second", command=helper(open=HANGS))
    assert time.monotonic() - start < SECONDS / 2
    assert len(caplog.records) == 1


def test_hung_helper_is_gone_afterwards(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = helper(open=f"Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(30)")
    a_run(tmp_path, command=command, close_seconds=2.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_logging_never_waits_for_a_helper_that_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_process, "QUEUE_BYTES", 2**20)
    tracker = open_tracker(
        OFFLINE,
        run_dir=tmp_path,
        group="e",
        job_type="train",
        name="n",
        command=(sys.executable, "-c", "import time; time.sleep(30)"),
        close_seconds=SECONDS,
    )
    start = time.monotonic()
    for update in range(1000):
        tracker.log(update, {"text": "x" * 10_000})  # 10 MB in all: ten times the queue
    assert time.monotonic() - start < 2.0  # 0.05 s measured
    tracker.close()


def test_slow_helper_says_how_much_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(side_process, "QUEUE_BYTES", 300)  # less than the values below
    command = helper()
    with open_tracker(
        OFFLINE, run_dir=tmp_path, group="e", job_type="t", name="n", command=command
    ) as tracker:
        tracker.log(0, {"text": "x" * 2**10})
    assert "too slow, 1 messages were dropped" in caplog.text


def test_full_queue_still_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(side_process, "QUEUE_BYTES", 1)
    a_run(tmp_path, command=helper(), close_seconds=30)
    assert "too slow, 12 messages were dropped" in caplog.text  # open, 10 logs, summary


def test_forked_process_leaves_the_helper_to_its_parent(tmp_path: Path) -> None:
    a_run(tmp_path, command=helper(), close_seconds=30)
    (parents,) = side_process.SideProcess.idle
    child = os.fork()
    if child == 0:
        os._exit(len(side_process.SideProcess.idle))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert side_process.SideProcess.idle == [parents]


def test_helper_that_cannot_start_costs_one_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert a_run(tmp_path, command=("/nowhere/python",))
    assert len(caplog.records) == 1


def test_values_that_no_json_can_hold_cost_one_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    circular: dict[str, Any] = {}
    circular["self"] = circular
    with open_tracker(
        OFFLINE, run_dir=tmp_path, group="e", job_type="t", name="n", command=helper()
    ) as tracker:
        tracker.log(0, circular)
    assert len(caplog.records) == 1
    assert "cannot write log as JSON" in caplog.text


def test_off_starts_nothing_and_writes_nothing(tmp_path: Path) -> None:
    a_run(tmp_path, OFF, command=("/nowhere/python",))
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]


def test_importing_and_closing_an_untracked_run_never_loads_wandb() -> None:
    code = (
        "import sys, anneal.runs.tracking as t; t.Tracker().close(); "
        "assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_process_with_a_hung_tracker_ends(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from anneal.config.schema import TrackingConfig
from anneal.runs import side_process
from anneal.runs.tracking import open_tracker
side_process.START_SECONDS = 0.5
config = TrackingConfig(name="offline", mode="offline", project="p", entity=None)
with open_tracker(config, run_dir=Path({str(tmp_path)!r}), group="g", job_type="j", name="n",
                  command={helper(log=HANGS)!r}, close_seconds=0.5) as tracker:
    tracker.log(0, {{}})
"""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    assert time.monotonic() - start < 10  # 0.8 s measured


def test_resumed_run_keeps_its_id_and_a_new_one_does_not(tmp_path: Path) -> None:
    ids = []
    for resume in (None, 50, None):
        a_run(tmp_path, command=helper(), resume_from_update=resume, close_seconds=30)
        ids.append(json.loads((tmp_path / tracking.ID_FILE).read_text())["id"])
    first, resumed, anew = ids
    assert first == resumed != anew


@pytest.mark.parametrize("damaged", ["", "{}", "[]", '{"id": 3}', '{"id": "../x"}'])
def test_damaged_id_file_is_replaced(tmp_path: Path, damaged: str) -> None:
    (tmp_path / tracking.ID_FILE).write_text(damaged)
    a_run(tmp_path, command=helper(), resume_from_update=50, close_seconds=30)
    assert len(json.loads((tmp_path / tracking.ID_FILE).read_text())["id"]) == 8


def test_auto_is_online_only_with_a_key_or_a_login(tmp_path: Path) -> None:
    nobody = {"HOME": str(tmp_path)}
    assert resolve_mode("auto", nobody) == "offline"
    assert resolve_mode("auto", nobody | {"WANDB_API_KEY": "k"}) == "online"
    assert (
        resolve_mode("auto", nobody | {"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}) == "offline"
    )
    assert resolve_mode("auto", nobody | {"WANDB_MODE": "disabled"}) == "off"
    (tmp_path / ".netrc").write_text("machine example.org login user password p\n")
    assert resolve_mode("auto", nobody) == "offline"
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password p\n")
    assert resolve_mode("auto", nobody) == "online"
    assert resolve_mode("offline", nobody | {"WANDB_API_KEY": "k"}) == "offline"


class Notes:
    """A backend that writes down what it is asked for."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def open(self, message: Mapping[str, Any]) -> None:
        self.said.append(("open", message["id"]))

    def log(self, update: int, values: Mapping[str, Any]) -> None:
        self.said.append(("log", update, dict(values)))

    def summary(self, values: Mapping[str, Any]) -> None:
        self.said.append(("summary", dict(values)))

    def close(self, status: str) -> None:
        self.said.append(("close", status))


def test_run_whose_process_is_killed_is_closed_as_failed() -> None:
    notes = Notes()
    lines = [
        '{"do": "open", "id": "a"}\n',
        '{"do": "log", "update": 3, "values": {}}\n',
        '{"do": "lo',
    ]
    serve(lines, notes, io.StringIO())
    assert notes.said == [("open", "a"), ("log", 3, {}), ("close", "failed")]


def test_run_is_closed_once() -> None:
    notes, answers = Notes(), io.StringIO()
    serve(
        ['{"do": "open", "id": "a"}\n', '{"do": "close", "status": "finished"}\n'], notes, answers
    )
    assert notes.said == [("open", "a"), ("close", "finished")]
    assert answers.getvalue() == '{"problem": null}\n'


@pytest.mark.slow
def test_wandb_offline_keeps_what_was_logged_under_one_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    run_dir = tmp_path / "run"
    a_run(
        run_dir,
        close_seconds=60,
        tags=["1506.01186", "t" * 80],
        configuration={"scheduler": {"name": "triangular"}},
    )
    a_run(run_dir, close_seconds=60, resume_from_update=50)
    assert not caplog.records, caplog.text
    dismiss_all(60)  # W&B may still be writing its file when it says that the run is finished
    run_id = json.loads((run_dir / tracking.ID_FILE).read_text())["id"]
    first, second = sorted(
        (tmp_path / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"),
        key=lambda path: path.stat().st_mtime_ns,
    )
    steps, run, summary = read(first)
    assert steps == list(range(0, 100, 10))
    assert run == ("anneal-tests", "e", "train", ["1506.01186", "t" * 64], {"name": "triangular"})
    assert summary["test/accuracy_pct@final"] == 90.0
    assert summary["status"] == "finished"
    assert read(second)[0] == [50, 60, 70, 80, 90]


def records(path: Path) -> Iterator[bytes]:
    """Read W&B's file: a 7-byte header, then LevelDB's log format (blocks of 32 KiB, whose records
    are checksum, length and type: 1 whole, 2 first, 3 middle, 4 last part)."""
    data, at, parts = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:  # the rest of a block is padding
            at += 2**15 - at % 2**15
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def read(path: Path) -> tuple[list[int], tuple[Any, ...], dict[str, Any]]:
    """Return the steps, the run's labels and its summary."""
    from wandb.proto import wandb_internal_pb2  # noqa: TID251 - the reader of what tracking wrote

    def key(item: Any) -> str:
        return item.key or "/".join(item.nested_key)

    steps: list[int] = []
    run: tuple[Any, ...] = ()
    summary: dict[str, Any] = {}
    for data in records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            steps.append(record.history.step.num)
        elif record.HasField("run"):
            config = {key(i): json.loads(i.value_json) for i in record.run.config.update}
            run = (
                record.run.project,
                record.run.run_group,
                record.run.job_type,
                list(record.run.tags),
                config.get("scheduler"),
            )
        elif record.HasField("summary"):
            summary |= {key(i): json.loads(i.value_json) for i in record.summary.update}
    return steps, run, summary


@pytest.mark.parametrize(("verb", "mode"), [("disabled", "off"), ("offline", "offline")])
def test_switch_of_wandb_is_obeyed_and_a_variable_comes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, mode: str
) -> None:
    """W&B's own command writes its settings into the folder where it runs."""
    monkeypatch.chdir(tmp_path)
    here = {"HOME": str(tmp_path), "WANDB_CONFIG_DIR": str(tmp_path / "config")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | here
    subprocess.run(
        [sys.executable, "-m", "wandb", verb], env=environment, check=True, capture_output=True
    )
    with_key = here | {"WANDB_API_KEY": "k"}
    assert resolve_mode("auto", with_key) == mode
    assert resolve_mode("auto", with_key | {"WANDB_MODE": "online"}) == "online"
    assert resolve_mode("online", with_key) == "online"


def test_settings_of_the_folder_come_before_those_of_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = {"HOME": str(tmp_path), "WANDB_API_KEY": "k"}
    for folder, mode in ((".config/wandb", "disabled"), ("wandb", "offline")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "settings").write_text(f"[default]\nmode = {mode}\n")
    assert resolve_mode("auto", here) == "offline"
    (tmp_path / "wandb/settings").write_text("no settings at all")
    assert resolve_mode("auto", here) == "off"
    assert resolve_mode("auto", here | {"WANDB_CONFIG_DIR": "/nowhere"}) == "online"
