"""Background process that logs to W&B without blocking training.

Messages go out as JSON lines through a pipe that never blocks; what the pipe does not take at once
waits in a queue of limited size. So the other process may be slow, hang or vanish.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any

CLOSE_SECONDS = 5.0  # how long an answer is waited for
START_SECONDS = 10.0  # or until this long after the start: importing W&B can take that, once
QUEUE_BYTES = 8 * 2**20  # what the other process may fall behind; more is dropped and counted


class SideProcess:
    """The other process, seen from the run's: a pipe there, a pipe back, a time limit.

    It serves the runs of this process one after the other; :meth:`take` and :meth:`end_run` stand
    at the two ends of each.

    Args:
        command: reads JSON lines and answers each ``close`` with ``{"problem": <words or null>}``.
    """

    idle: "list[SideProcess]" = []  # noqa: RUF012 - of this process, between two runs
    gave_up = False  # one hung: later runs of this process do without

    def __init__(self, command: tuple[str, ...]):
        self.command = command
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the run's; and the whole group can be killed
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        self._waiting, self._heard = bytearray(), bytearray()
        self._num_dropped = 0
        self._problem: str | None = None

    @classmethod
    def take(cls, command: tuple[str, ...]) -> "SideProcess | None":
        """Return an idle process or a new one; None once one has hung."""
        if cls.gave_up:
            return None
        for process in cls.idle:
            if process.command == command and process._process.poll() is None:
                cls.idle.remove(process)
                return process
        return cls(command)

    def send(self, message: Mapping[str, Any], *, even_if_full: bool = False) -> None:
        """Queue a message and write what the pipe takes at once; never wait."""
        try:
            line = json.dumps(message, default=_plain).encode() + b"\n"
        except (TypeError, ValueError, RuntimeError) as error:
            self._problem = self._problem or f"cannot write {message['do']} as JSON ({error})"
            return
        if len(self._waiting) + len(line) > QUEUE_BYTES and not even_if_full:
            self._num_dropped += 1
            return
        self._waiting += line
        self._write()

    def _write(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: os.write(self._to, self._waiting[: 2**16])]
        except BlockingIOError:
            pass
        except OSError:
            self._waiting.clear()
            self._problem = self._problem or "the tracker vanished"

    def end_run(self, status: str, *, seconds: float) -> str | None:
        """Close the run and wait for the answer; return what went wrong, if anything did.

        A process with a problem is ended; the next run starts a new one, unless this one hung.
        """
        self.send({"do": "close", "status": status}, even_if_full=True)
        ended = time.monotonic()
        deadline = max(ended + seconds, self._started + START_SECONDS)
        answer = self._hear(deadline)
        problem = self._problem
        if answer is not None:
            problem = problem or answer.get("problem")
        elif time.monotonic() >= deadline:
            SideProcess.gave_up = True
            problem = f"no answer within {deadline - ended:.0f} s of the end of the run"
        else:
            problem = problem or "the tracker vanished"
        if problem is None and self._num_dropped:
            problem = f"too slow, {self._num_dropped} messages were left out"
        if problem is None:
            self.idle.append(self)
        else:
            self.kill()
        return problem

    def _hear(self, deadline: float) -> dict[str, Any] | None:
        """Return the answer, or None when the process is gone or the time is over."""
        while (left := deadline - time.monotonic()) > 0:
            pipes = select.poll()
            pipes.register(self._from, select.POLLIN)
            if self._waiting:
                pipes.register(self._to, select.POLLOUT)
            ready = {pipe for pipe, _ in pipes.poll(left * 1000)}
            if self._to in ready:
                self._write()
            if self._from in ready:
                heard = os.read(self._from, 2**16)
                self._heard += heard
                line, end, rest = self._heard.partition(b"\n")
                if end:
                    self._heard = rest
                    answer = json.loads(line)
                    assert isinstance(answer, dict)
                    return answer
                if not heard:
                    return None
        return None

    def kill(self) -> None:
        """End the process and whatever it started."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._release()

    def dismiss(self, seconds: float) -> None:
        """Let the process end by itself; kill it when it does not."""
        self._release()  # the end of its input is the end of its work
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def _release(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def dismiss_all(seconds: float = CLOSE_SECONDS) -> None:
    """End the idle side processes, as the end of this one does by itself."""
    while SideProcess.idle:
        SideProcess.idle.pop().dismiss(seconds)
    SideProcess.gave_up = False


atexit.register(dismiss_all)
os.register_at_fork(after_in_child=SideProcess.idle.clear)  # they are the parent's


def _plain(value: object) -> object:
    """Turn a scalar of numpy or torch into Python's, anything else into text."""
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)
