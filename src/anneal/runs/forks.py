"""Processes of stages, forked from one process that has imported what they need.

A stage that is started by itself spends seconds of processor time on imports. A fork of a process
that has made them starts at once. The process forked from has only imported: it has no CUDA context
and no threads but those of OpenBLAS, which ends them before a fork.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from anneal.runs.side_process import dismiss_all
from anneal.runs.workers import Worker

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # signals that ask for a stop
_FORKS = multiprocessing.get_context("forkserver")


@dataclass(frozen=True, kw_only=True)
class Fork:
    """A stage in a process of its own."""

    process: ForkServerProcess

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs; negative: the signal that ended it."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal; one that has ended gets none."""
        if self.poll() is None and self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(self.process.pid, number)


@dataclass(frozen=True, kw_only=True)
class StageCall:
    """A stage with its arguments; ``log`` takes what it says."""

    module: str
    arguments: Sequence[str]
    log: Path


def import_once(module: str) -> None:
    """Start the process that stages are forked from; it imports ``module`` meanwhile."""
    _FORKS.set_forkserver_preload([module])
    _ensure_server()


def _ensure_server() -> None:
    """Start the process that stages are forked from, unless it runs, with STOPPING blocked.

    A signal to the process group (a terminal that closes, ``timeout``) must not end it: it would
    never say how its forks end. In a fork, a signal waits until the fork can act on it.
    """
    resource_tracker.ensure_running()  # it unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        with heeding_interrupts():  # else a fork would lose a signal of its first moments
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Let processes started here act on SIGINT, which a job in the background has ignored."""
    ignores = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignores:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ignores:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def start_fork(call: StageCall, worker: Worker) -> Fork:
    """Start a stage on a worker.

    It leads a session of its own: a Ctrl-C at the terminal does not reach it.
    """
    _ensure_server()
    process = _FORKS.Process(
        target=_run,
        args=(call, Path.cwd(), worker.cores, dict(worker.environment)),
        daemon=True,  # it gets SIGTERM where this process ends by an error
    )
    process.start()
    return Fork(process=process)


def _run(
    call: StageCall, folder: Path, cores: frozenset[int], environment: Mapping[str, str]
) -> None:
    """Run a stage in a fork, as if it had been started by itself."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(os, "sched_setaffinity"):  # Linux alone has it
        os.sched_setaffinity(0, cores)  # the number of threads follows from it, and is recorded
    os.environ.update(environment)
    os.chdir(folder)
    log = os.open(call.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    try:
        import_module(call.module).main(list(call.arguments))
    finally:
        dismiss_all()  # a fork calls nothing at exit
