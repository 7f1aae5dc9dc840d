"""Background process that logs to W&B without blocking training.

Messages are JSON lines in a non-blocking pipe. A message that the pipe cannot take waits in a queue
of limited size. The background process may be slow, hang or die without an effect on training.
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

CLOSE_SECONDS = 5.0  # time limit of an answer
START_SECONDS = 10.0  # time limit after the start of the process, if later: W&B's import is slow
QUEUE_BYTES = 8 * 2**20  # size of the queue; further messages are dropped and counted


class SideProcess:
    """A background process with a pipe in each direction and a time limit.

    It serves the runs of this process one after another, each from :meth:`take` to
    :meth:`end_run`.

    Args:
        command: reads JSON lines and answers each ``close`` with ``{"problem": <words or null>}``.
    """

    idle: "list[SideProcess]" = []  # noqa: RUF012 - shared by the runs of this process
    gave_up = False  # set after a hang: later runs of this process are not tracked

    def __init__(self, command: tuple[str, ...]):
        self.command = command
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the run only; the group can be killed
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
        """Return an idle process or a new one; None after one has hung."""
        if cls.gave_up:
            return None
        for process in cls.idle:
            if process.command == command and process._process.poll() is None:
                cls.idle.remove(process)
                return process
        return cls(command)

    def send(self, message: Mapping[str, Any], *, even_if_full: bool = False) -> None:
        """Queue a message and write to the pipe without blocking."""
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
            self._problem = self._problem or "the tracker died"

    def end_run(self, status: str, *, seconds: float) -> str | None:
        """Close the run and wait for the answer; return the problem, if any.

        A process with a problem is killed. The next run starts a new one, unless this one hung.
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
            problem = problem or "the tracker died"
        if problem is None and self._num_dropped:
            problem = f"too slow, {self._num_dropped} messages were dropped"
        if problem is None:
            self.idle.append(self)
        else:
            self.kill()
        return problem

    def _hear(self, deadline: float) -> dict[str, Any] | None:
        """Return the answer, or None if the process has ended or the time is over."""
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
        """Kill the process and its children."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._release()

    def dismiss(self, seconds: float) -> None:
        """Wait for the process to end; kill it if it does not."""
        self._release()  # it ends at the end of its input
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
    """End the idle background processes; also called at exit."""
    while SideProcess.idle:
        SideProcess.idle.pop().dismiss(seconds)
    SideProcess.gave_up = False


atexit.register(dismiss_all)
os.register_at_fork(after_in_child=SideProcess.idle.clear)  # they belong to the parent


def _plain(value: object) -> object:
    """Convert a scalar of numpy or torch to Python, anything else to text."""
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)
