"""Train many runs side by side on this machine, a process each."""

import dataclasses
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from anneal.io.files import write_json
from anneal.io.text import last_line
from anneal.runs.board import Board
from anneal.runs.campaign_runs import CampaignRun
from anneal.runs.directory_lock import is_held
from anneal.runs.environment import now
from anneal.runs.forks import STOPPING, Fork, StageCall, start_fork
from anneal.runs.status import (
    ENDED,
    FAILED,
    RunStatus,
    ended_words,
    run_status,
    summary_lines,
)
from anneal.runs.workers import Worker

POLL_SECONDS = 0.1
LOOK_SECONDS = 1.0  # between looks at the files of runs


class Process(Protocol):
    """A process that has been started."""

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs; negative: the signal that ended it."""

    def send_signal(self, number: int, /) -> None:
        """Send it a signal."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A process that trains a run; its words begin at ``log_from`` of the run's log."""

    run: CampaignRun
    process: Process
    log_from: int


class Pool:
    """The runs of a campaign on the workers of this machine.

    Args:
        runs: all of the campaign, for the board.
        todo: those to be trained, the first one first.
        workers: that train them.
        retries: how often a failed run is tried again.
        start: starts the process that trains a run on a worker.
        is_ended: tells whether a run has ended and is not to be trained.
        board: shows it.
    """

    def __init__(
        self,
        runs: Sequence[CampaignRun],
        todo: Sequence[CampaignRun],
        workers: Sequence[Worker],
        *,
        retries: int,
        start: Callable[[CampaignRun, Worker], Process],
        is_ended: Callable[[CampaignRun], bool],
        board: Board,
    ) -> None:
        self._waiting = list(todo)
        self._workers, self._retries = workers, retries
        self._start_on, self._is_ended, self._board = start, is_ended, board
        self._attempts: dict[str, Attempt] = {}  # by the name of the worker
        self._elsewhere: list[CampaignRun] = []
        self._failures: Counter[str] = Counter()
        self._left = {run.name for run in todo}
        self._status = {run.name: run_status(run) for run in runs}
        for name in self._left:  # what ended under other code is trained again
            if self._status[name].state in ENDED:
                again = dataclasses.replace(self._status[name], state="left", updates=0)
                self._status[name] = again
        self._looked = 0.0

    def train(self) -> list[RunStatus]:
        """Train every run; return how each run of the campaign ended.

        Raises:
            KeyboardInterrupt: a signal asked for it; every process got it and has stopped.
        """
        with collected_signals() as signals:
            while self._waiting or self._attempts or self._elsewhere:
                if signals:
                    self._stop(signals)
                    raise KeyboardInterrupt
                self._start()
                self._look()
                time.sleep(POLL_SECONDS)
                self._reap()
            if signals:  # while the last one ended
                raise KeyboardInterrupt
        return list(self._status.values())

    def _start(self) -> None:
        for worker in self._workers:
            while self._waiting and worker.name not in self._attempts:
                run = self._waiting.pop(0)
                if is_held(run.path):
                    self._elsewhere.append(run)
                    self._board.line(f"{run.name}: another process trains it")
                    continue
                run.attempt.unlink(missing_ok=True)
                self._attempts[worker.name] = start_attempt(run, worker, self._start_on)
                self._board.line(f"{run.name}: started on {worker.name}")

    def _reap(self) -> None:
        for name, attempt in list(self._attempts.items()):
            code = attempt.process.poll()
            if code is None:
                continue
            del self._attempts[name]
            run = attempt.run
            if code == 0 and self._is_ended(run):
                self._end(run)
            elif is_held(run.path):  # another process was quicker
                self._elsewhere.append(run)
            else:
                self._fail(run, failure_of(run.log, code, log_from=attempt.log_from))

    def _end(self, run: CampaignRun) -> None:
        status = self._status[run.name] = run_status(run)
        self._left.discard(run.name)
        total = len(self._status)
        self._board.line(
            f"{run.name}: {ended_words(status, run)}; "
            f"{total - len(self._left)} of {total} runs ended"
        )

    def _fail(self, run: CampaignRun, line: str) -> None:
        self._failures[run.name] += 1
        write_json(run.attempt, {FAILED: line, "ended": now()})
        again = self._failures[run.name] <= self._retries
        if again:
            self._waiting.append(run)
        self._board.line(
            f"{run.name}: failed{', will be tried again' if again else ''}: {line} ({run.log})"
        )
        self._status[run.name] = run_status(run)

    def _look(self) -> None:
        """Read the progress of what is running, and see what other processes have ended."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for run in list(self._elsewhere):
            if not is_held(run.path):
                self._elsewhere.remove(run)
                if self._is_ended(run):
                    self._end(run)
                else:
                    self._waiting.insert(0, run)
        if self._board.redrawn:
            for run in [*(a.run for a in self._attempts.values()), *self._elsewhere]:
                self._status[run.name] = dataclasses.replace(run_status(run), state="running")
            at_once = len(self._attempts) + len(self._elsewhere)
            self._board.show(summary_lines(list(self._status.values()), at_once=at_once))

    def _stop(self, signals: list[int]) -> None:
        """Hand every signal on, until every process has ended."""
        self._board.line(f"stopping {len(self._attempts)} runs at their next checkpoint")
        while self._attempts:
            while signals:
                number = signals.pop(0)
                for attempt in self._attempts.values():
                    # a run takes no SIGHUP: it would end without a checkpoint
                    attempt.process.send_signal(
                        signal.SIGTERM if number == signal.SIGHUP else number
                    )
            time.sleep(POLL_SECONDS)
            for name, attempt in list(self._attempts.items()):
                if attempt.process.poll() is not None:
                    del self._attempts[name]
                    self._board.line(f"{attempt.run.name}: {run_status(attempt.run).words}")


def start_attempt(
    run: CampaignRun, worker: Worker, start: Callable[[CampaignRun, Worker], Process]
) -> Attempt:
    """Start the process of a run on a worker; what it says goes to the run's log."""
    log_from = begin_log(run.log, f"on {worker.name}")
    return Attempt(run=run, process=start(run, worker), log_from=log_from)


def run_side_by_side(calls: Sequence[StageCall], workers: Sequence[Worker]) -> None:
    """Run stages, one at a time on each worker.

    Raises:
        ValueError: one failed; the others have ended.
        KeyboardInterrupt: a signal asked for it; every process got it and has ended.
    """
    waiting = list(calls)
    running: dict[str, tuple[StageCall, Fork, int]] = {}  # by the name of the worker
    failures, stopped = [], False
    with collected_signals() as signals:
        while running or (waiting and not stopped):
            for worker in workers:
                if waiting and not stopped and worker.name not in running:
                    call = waiting.pop(0)
                    log_from = begin_log(call.log, f"on {worker.name}")
                    running[worker.name] = call, start_fork(call, worker), log_from
            time.sleep(POLL_SECONDS)
            while signals:
                number, stopped = signals.pop(0), True
                for _, fork, _ in running.values():
                    fork.send_signal(number)
            for name, (call, fork, log_from) in list(running.items()):
                if (code := fork.poll()) is not None:
                    del running[name]
                    if code:
                        why = failure_of(call.log, code, log_from=log_from)
                        failures.append(f"{call.log}: {why}")
    if stopped or signals:
        raise KeyboardInterrupt
    if failures:
        raise ValueError(failures[0])


def begin_log(log: Path, words: str) -> int:
    """Write the line that begins an attempt to a log; return where the attempt's words begin."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"--- {now()} {words}\n".encode())
        return file.tell()


def failure_of(log: Path, code: int, *, log_from: int = 0) -> str:
    """Say in one line why a process failed: the last line that it left in its log."""
    with log.open("rb") as file:
        file.seek(log_from)
        said = last_line(file.read().decode(errors="replace"))
    if code > 0 and said is not None:
        return said
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    how += "" if code else " and without a result"
    return f"{how}; {'it said nothing' if said is None else f'last line: {said}'}"


@contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collect the signals that ask for a stop in a list, instead of acting on them."""
    found: list[int] = []
    before = {which: signal.getsignal(which) for which in STOPPING}
    for which, handler in before.items():
        if handler != signal.SIG_IGN:  # nohup has SIGHUP ignored
            signal.signal(which, lambda number, _frame: found.append(number))
    try:
        yield found
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
