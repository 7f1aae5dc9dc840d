"""Many runs side by side: workers, order, failures, signals; with small programs for trainings."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import pytest
from filelock import FileLock

from anneal.commands import grid
from anneal.commands.grid import read_options, result_table, rows_of
from anneal.config.compose import PARAMS, compose_plain, load_campaign
from anneal.config.schema import CampaignConfig
from anneal.io.files import read_json, write_json, write_yaml
from anneal.runs import evaluations
from anneal.runs.board import Board, TerminalBoard, open_board
from anneal.runs.campaign_runs import CampaignRun, campaign_runs
from anneal.runs.code_digest import code_of_run, source_times
from anneal.runs.directory import PLAN, TIMING
from anneal.runs.directory_lock import lock_of
from anneal.runs.evaluations import evaluate_side_by_side, trained_whole
from anneal.runs.forks import StageCall, start_fork
from anneal.runs.hardware import decide
from anneal.runs.layout import SUGGESTION
from anneal.runs.pool import Pool, run_side_by_side
from anneal.runs.queue import call_of, cost_left, costliest_first, ended_here
from anneal.runs.result_file import RESULT
from anneal.runs.status import RunStatus, run_status, summary_lines
from anneal.runs.workers import Worker, core_workers, device_workers, parse_devices, shares

ROWS = ("digits/sgdr", "digits/fixed")  # 250 and 700 updates
TWO = (
    Worker(name="worker 0", cores=frozenset({min(os.sched_getaffinity(0))})),
    Worker(name="worker 1", cores=frozenset({max(os.sched_getaffinity(0))})),
)
FINISH = """
mkdir -p {path}
echo 'configuration_hash: abc\ntotal_steps: {steps}' >{path}/experiment.yaml
echo '{{"update": {steps}, "seconds": 2.0}}' >{path}/timing.jsonl
echo '{{"status": "finished", "code": "c", "test_accuracy_pct@final": 97.5}}' >{path}/result.json
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """Return a folder with conf/ and a campaign of two experiments and two seeds."""
    for name in ("conf", "pyproject.toml"):
        (tmp_path / name).symlink_to(repository / name)
    monkeypatch.chdir(tmp_path)
    campaign()
    return tmp_path


def campaign(**hardware: object) -> CampaignConfig:
    """Write params.yaml for a campaign of two rows and two seeds."""
    plain = compose_plain("config", ["campaign=quick", "hardware=cpu"])
    plain["seeds"] = [0, 1]
    plain["hardware"] |= hardware
    plain["campaign"]["range_tests"] = {}
    plain["campaign"]["experiments"] = {
        row: {"dataset": "digits", "range_test": "given"} for row in ROWS
    }
    write_yaml(PARAMS, plain)
    return load_campaign()


class Lines(Board):
    """A board that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def has_result(run: CampaignRun) -> bool:
    return (run.path / RESULT).is_file()


def finishing(run: CampaignRun) -> str:
    return FINISH.format(path=run.path, steps=run.total_steps)


def shell(run: CampaignRun, script: str) -> subprocess.Popen[bytes]:
    """Start a shell script for a run, as a stage is started."""
    with run.log.open("ab") as log:
        return subprocess.Popen(
            ["sh", "-ec", script], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def train(
    script: Callable[[CampaignRun], str], *, retries: int = 0, board: Board | None = None
) -> tuple[list[RunStatus], list[str]]:
    """Run a shell script for each run of the campaign that has no result."""
    runs = campaign_runs(load_campaign())
    board = board or Lines()
    pool = Pool(
        runs,
        [run for run in runs if not has_result(run)],
        TWO,
        retries=retries,
        start=lambda run, _worker: shell(run, script(run)),
        is_ended=has_result,
        board=board,
    )
    return pool.train(), getattr(board, "lines", [])


def test_every_run_is_trained_once_and_two_at_a_time(project: Path) -> None:
    def script(run: CampaignRun) -> str:
        # the first ends once the second has started; never, if one waits for the other
        wait = "for _ in $(seq 100); do [ $(wc -l <started) -ge 2 ] && break; sleep 0.1; done"
        return (
            f"echo + >>events; echo {run.seed} >>started\n{wait}\n{finishing(run)} echo - >>events"
        )

    found, lines = train(script)
    open_runs = [0]
    for event in (project / "events").read_text().splitlines():
        open_runs.append(open_runs[-1] + (1 if event.startswith("+") else -1))
    assert max(open_runs) == 2
    assert [status.state for status in found] == ["done"] * 4
    assert sorted((project / "started").read_text().split()) == ["0", "0", "1", "1"]
    assert lines[0] == "digits/sgdr seed 0: started on worker 0"
    assert lines[-1].endswith("done, 97.50 %; 4 of 4 runs ended")


def test_run_with_a_result_is_not_trained_again(project: Path) -> None:
    train(finishing)
    found, lines = train(lambda _run: "exit 1")
    assert [status.state for status in found] == ["done"] * 4
    assert lines == []


def test_failed_run_is_tried_again_and_leaves_the_others_going(project: Path) -> None:
    def script(run: CampaignRun) -> str:
        if run.name != "digits/sgdr seed 0":
            return finishing(run)
        return "echo try >>tries; echo 'CUDA out of memory'; exit 1"

    found, lines = train(script, retries=2)
    assert (project / "tries").read_text().split() == ["try"] * 3
    assert [status.state for status in found] == ["failed", "done", "done", "done"]
    assert found[0].failure == "CUDA out of memory"
    assert sum("failed, will be tried again: CUDA out" in line for line in lines) == 2
    assert summary_lines(found) == [
        "3 of 4 runs ended, 0 running, 0 waiting, 1 failed, no pace measured yet",
        "  digits/sgdr seed 0  failed: CUDA out of memory",
    ]
    found, _ = train(finishing)  # the same command again
    assert [status.state for status in found] == ["done"] * 4
    assert found[0].failure is None


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("echo update 7; kill -9 $$", "killed by SIGKILL; last line: update 7"),
        ("true", "ended with status 0 and without a result; it said nothing"),
        ("exit 3", "ended with status 3; it said nothing"),
        ("echo one; echo two >&2; echo; exit 3", "two"),
    ],
)
def test_dead_process_is_shown_with_its_last_line(project: Path, end: str, said: str) -> None:
    found, _ = train(lambda _run: end)
    assert {status.failure for status in found} == {said}


def test_row_of_a_failed_subject_is_not_recorded_as_whole(project: Path) -> None:
    asked: list[list[str]] = []
    done = RunStatus(
        experiment="digits/fixed", seed=0, state="done", updates=1, total_steps=1,
        seconds_per_update=None, failure=None,
    )  # fmt: skip
    subject = dataclasses.replace(done, experiment="digits/sgdr/subject-02", state="failed")
    grid._record(load_campaign(), [*ROWS], [done, subject], lambda words: asked.append([*words]))
    assert asked[0] == ["evaluate@digits/fixed"]


def test_run_of_another_process_is_left_to_it(project: Path) -> None:
    runs = campaign_runs(load_campaign())
    runs[0].path.parent.mkdir(parents=True)
    lock = FileLock(lock_of(runs[0].path), thread_local=False)
    lock.acquire()

    class Elsewhere(Lines):
        def line(self, text: str) -> None:
            super().line(text)
            if "another process" in text:  # which ends once it has been seen
                subprocess.run(["sh", "-c", finishing(runs[0])], check=True)
                lock.release()

    found, lines = train(
        lambda run: f"echo {run.seed} >>started; {finishing(run)}", board=Elsewhere()
    )
    assert lines[0] == "digits/sgdr seed 0: another process trains it"
    assert len((project / "started").read_text().split()) == 3
    assert [status.state for status in found] == ["done"] * 4


def test_signal_reaches_every_process_and_nothing_is_started_after_it(project: Path) -> None:
    """What a training does with the signal is its own: here it leaves a word and ends."""

    def script(run: CampaignRun) -> str:
        word = f"stopped-{run.seed}"
        return f"trap 'touch {word}; exit 130' TERM; touch ready-{run.seed}; sleep 20 & wait"

    def send() -> None:
        while not all((project / f"ready-{seed}").is_file() for seed in (0, 1)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send).start()
    board = Lines()
    with pytest.raises(KeyboardInterrupt):
        train(script, board=board)
    assert (project / "stopped-0").is_file()
    assert (project / "stopped-1").is_file()
    assert board.lines[2] == "stopping 2 runs at their next checkpoint"
    assert sum("started on" in line for line in board.lines) == 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_fork_has_the_workers_cores_and_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "stage_of_test.py").write_text(
        "import os, sys\n"
        "def main(arguments):\n"
        "    cores = sorted(os.sched_getaffinity(0))\n"
        "    leads = os.getsid(0) == os.getpid()\n"
        "    print(*arguments, cores, os.environ['CUDA_VISIBLE_DEVICES'], leads)\n"
        "    sys.exit(3)\n"
    )
    monkeypatch.syspath_prepend(project)
    (core,) = TWO[1].cores
    worker = Worker(name="device 3", cores=TWO[1].cores, environment={"CUDA_VISIBLE_DEVICES": "3"})
    before = os.sched_getaffinity(0)
    log = project / "logs" / "one.log"
    with pytest.raises(ValueError, match=rf"one\.log: word \[{core}\] 3 True$"):
        run_side_by_side([StageCall(module="stage_of_test", arguments=["word"], log=log)], [worker])
    assert log.read_text().startswith("--- ")
    assert os.sched_getaffinity(0) == before


def test_signal_reaches_a_fork_and_ends_what_runs_side_by_side(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "stage_that_waits.py").write_text(
        "import os, pathlib, time\n"
        "def main(arguments):\n"
        "    pathlib.Path(arguments[0]).write_text(str(os.getpid()))\n"
        "    pathlib.Path('ready').touch()\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(project)

    def send() -> None:
        while not (project / "ready").is_file():
            time.sleep(0.02)
        server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        for process in (server, os.getpid()):  # as one to their group does
            os.kill(process, signal.SIGTERM)

    threading.Thread(target=send).start()
    calls = [
        StageCall(module="stage_that_waits", arguments=[name], log=project / f"{name}.log")
        for name in ("first", "second")
    ]
    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(calls, TWO[:1])
    assert not (project / "second").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((project / "first").read_text()), 0)


def test_signal_to_a_fork_that_is_only_starting_is_not_lost(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "stage_of_an_hour.py").write_text(
        "import time\ndef main(arguments):\n    time.sleep(3600)\n"
    )
    monkeypatch.syspath_prepend(project)
    call = StageCall(module="stage_of_an_hour", arguments=[], log=project / "log")
    fork = start_fork(call, TWO[0])
    fork.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 20
    while fork.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert fork.poll() == 1
    assert "KeyboardInterrupt" in call.log.read_text()


def test_fork_waits_for_its_idle_tracker_to_end(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "stage_with_tracker.py").write_text(
        "from anneal.runs.side_process import SideProcess\n"
        "def main(arguments):\n"
        "    command = ('sh', '-c', 'cat; sleep 0.5; touch tracker-ended')\n"
        "    SideProcess.idle.append(SideProcess.take(command))\n"
    )
    monkeypatch.syspath_prepend(project)
    call = StageCall(module="stage_with_tracker", arguments=[], log=project / "log")
    run_side_by_side([call], TWO[:1])
    assert (project / "tracker-ended").is_file()


def test_cores_are_shared_evenly_and_threads_are_respected() -> None:
    assert [len(worker.cores) for worker in core_workers(range(8), 3, threads=None)] == [2, 3, 3]
    assert [len(worker.cores) for worker in core_workers(range(8), None, threads=4)] == [4, 4]
    assert len(core_workers([5], None, threads=4)) == 1  # a person's own choice of threads
    with pytest.raises(ValueError, match="--workers must be at most 2: there are 8 cores for 3"):
        core_workers(range(8), 3, threads=4)


def test_devices_have_their_number_and_a_share_of_the_cores() -> None:
    workers = device_workers([0, 2], range(8), visible=None, abreast=2)
    assert [worker.environment["CUDA_VISIBLE_DEVICES"] for worker in workers] == list("0202")
    assert frozenset().union(*(worker.cores for worker in workers)) == frozenset(range(8))
    (one,) = device_workers([1], [0], visible="4,7", abreast=1)
    assert one.environment == {"CUDA_VISIBLE_DEVICES": "7"}
    assert len(shares([0, 1], 5)) == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [("0-8", "here \\(0 to 7\\)"), ("1,1", "different"), ("a", "like 0-7"), ("3-1", "one or more")],
)
def test_devices_that_are_not_here_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_devices(text, num_devices=8)


def test_costliest_run_comes_first_and_progress_counts(project: Path) -> None:
    runs = campaign_runs(load_campaign())
    assert [run.name for run in costliest_first(runs)] == [
        "digits/fixed seed 0", "digits/fixed seed 1", "digits/sgdr seed 0", "digits/sgdr seed 1",
    ]  # fmt: skip
    path = runs[2].path
    path.mkdir(parents=True)
    write_yaml(path / PLAN, {"configuration_hash": "abc", "total_steps": 700})
    (path / TIMING).write_text('{"update": 630, "seconds": 9.0}\n')
    assert cost_left(runs[2]) == pytest.approx(0.1 * cost_left(runs[3]))
    assert costliest_first(runs)[-1] is runs[2]


def test_run_that_ended_under_other_code_is_to_be_trained(project: Path) -> None:
    config = load_campaign()
    write_json(Path("range_tests/quick/given") / SUGGESTION, {"rule": None})
    sizes = {"train": {"num_images": 1437}, "test": {"num_images": 360}}
    write_json(Path("data/digits.identity.json"), {"splits": sizes})
    run = campaign_runs(config)[0]
    assert run.configuration_hash is not None
    is_ended = ended_here([run])
    assert not is_ended(run)
    settings = decide(config.hardware, architecture=run.config.model.architecture)
    write_yaml(run.path / PLAN, {"configuration_hash": run.configuration_hash})
    for code, ended in ((code_of_run(settings.numerics), True), ("other code", False)):
        write_json(run.path / RESULT, {"status": "finished", "code": code})
        assert is_ended(run) is ended


def test_call_of_a_run_is_the_training_stage_with_its_seed(project: Path) -> None:
    run = campaign_runs(load_campaign())[1]
    call = call_of(run)
    assert call.module == "anneal.commands.stages.train"
    assert call.arguments == ["quick", "digits/sgdr", "given", "1"]
    assert call.log == run.log


def test_only_experiments_trained_without_a_failure_are_evaluated_at_once(project: Path) -> None:
    runs = campaign_runs(load_campaign())
    failed = dataclasses.replace(run_status(runs[0]), state="failed")
    assert trained_whole(runs, [failed]) == ["digits/fixed"]
    assert trained_whole(runs[:1], []) == ["digits/sgdr"]
    assert trained_whole([], []) == []


def test_outputs_are_committed_unless_sources_have_changed_meanwhile(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[list[str]] = []
    committed: list[list[str]] = []
    monkeypatch.setattr(
        evaluations, "run_side_by_side", lambda calls, _: evaluated.append([*calls[0].arguments])
    )
    monkeypatch.setattr(evaluations, "run_dvc", committed.append)
    for sources, times in ((source_times(), 1), ({Path("src/anneal/other.py"): 1}, 1)):
        evaluate_side_by_side(load_campaign(), ["digits/sgdr"], TWO, sources=sources)
        assert len(committed) == times
    assert evaluated == [["quick", "digits/sgdr", "given"]] * 2
    assert committed[0][-2:] == ["train@digits/sgdr", "evaluate@digits/sgdr"]


def test_status_of_another_shell_shows_rate_and_time_left(project: Path) -> None:
    run = campaign_runs(load_campaign())[0]
    run.path.mkdir(parents=True)
    write_yaml(run.path / PLAN, {"configuration_hash": "abc", "total_steps": 250})
    write_json(run.path / "environment.json", [{"from_update": 0}])
    (run.path / TIMING).write_text('{"update": 100, "seconds": 4.0}\n')
    with FileLock(lock_of(run.path)):
        status = run_status(run)
    assert summary_lines([status]) == [
        "0 of 1 runs ended, 1 running, 0 waiting, 0 failed, about 6 s left",
        "  digits/sgdr seed 0  running at 100 of 250, 25 updates/s, 6 s left",
    ]


def test_board_of_a_terminal_is_redrawn_and_of_a_pipe_is_lines(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_board() as board:
        board.line("started")
        board.show(["nobody sees this"])
    assert capsys.readouterr().out == "started\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with open_board() as board:
        assert isinstance(board, TerminalBoard)
        train(lambda run: f"sleep 1.2; {finishing(run)}", board=board)
    said = capsys.readouterr().out
    assert "digits/sgdr seed 0: started on worker 0" in said
    assert "0 of 4 runs ended, 2 running, 2 waiting, 0 failed" in said
    assert "4 of 4 runs ended" in said


def test_dry_run_prints_order_costs_and_workers_and_makes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(project.rglob("*"))
    grid.main(["--dry-run", "--workers", "1"])
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "$ dvc repro compose download"
    assert said[2] == "0 of 4 runs ended before"
    assert said[3].startswith("1 run at a time: worker 0")
    assert said[4].split() == ["experiment", "seed", "state", "updates", "TFLOP", "left"]
    assert said[6].split()[:5] == ["1", "digits/fixed", "0", "left", "700"]
    assert said[-1] == "$ dvc repro"
    assert sorted(project.rglob("*")) == before


def test_only_the_rows_of_a_pattern_are_planned(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid.main(["--dry-run", "--workers", "1", "--only", "*/sgdr"])
    said = capsys.readouterr().out.splitlines()
    assert said[2] == "0 of 2 runs ended before"
    assert [line.split()[1:3] for line in said[6:8]] == [["digits/sgdr", "0"], ["digits/sgdr", "1"]]
    assert said[8:] == [
        "$ dvc repro evaluate@digits/sgdr",
        "$ dvc repro --single-item collect report",
    ]


def test_rows_come_in_the_campaigns_order_and_once(project: Path) -> None:
    config = load_campaign()
    assert rows_of(config, "digits/fixed,*") == rows_of(config, None) == [*ROWS]
    assert rows_of(config, "digits/fix*") == ["digits/fixed"]


def test_rows_that_were_left_out_are_not_reproduced(project: Path) -> None:
    ended = [
        dataclasses.replace(run_status(run), state="done")
        for run in campaign_runs(load_campaign())
        if run.experiment == "digits/sgdr"
    ]
    asked: list[list[str]] = []
    grid._record(load_campaign(), ["digits/sgdr"], ended, lambda stages: asked.append([*stages]))
    assert asked == [["evaluate@digits/sgdr"], ["--single-item", "collect", "report"]]


def test_table_has_a_line_for_each_run(project: Path) -> None:
    found, _ = train(lambda run: finishing(run) if run.seed else "exit 1")
    lines = result_table(campaign_runs(load_campaign()), found)
    assert [line.split() for line in lines[2:]] == [
        ["digits/sgdr", "0", "failed", "0"],
        ["digits/sgdr", "1", "done", "250", "97.50", "%"],
        ["digits/fixed", "0", "failed", "0"],
        ["digits/fixed", "1", "done", "700", "97.50", "%"],
    ]
    attempt = campaign_runs(load_campaign())[0].attempt
    assert read_json(attempt)["failed"] == "ended with status 1; it said nothing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--worker", "2"], "unknown option '--worker'; did you mean '--workers'"),
        (["--workers", "0"], "--workers must be a whole number from 1 on, got 0"),
        (["--retries", "x"], "--retries must be a whole number from 0 on, got x"),
        (["--workers"], "--workers needs a value"),
        (["--only", "digits/fixt"], "'digits/fixt' fits no row of campaign quick; did you mean"),
        (["--workers", "2", "--devices", "0"], "exclude each other"),
        (["--workers", "2", "--abreast", "2"], "ask for more workers"),
        (["--dry-run", "--devices", "0"], "CUDA devices that are here (none), got '0'"),
        (["--dry-run", "--workers", "4096"], "--workers must be at most"),
    ],
)
def test_mistake_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        grid.main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_options_take_either_spelling() -> None:
    assert read_options(["--workers=3", "--retries", "0"]) == read_options(
        ["--retries=0", "--workers", "3"]
    )
    assert read_options([]).retries == 1
