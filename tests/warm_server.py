"""A process that has imported the large packages, and forks a Python process for each request.

A client (``tests/warm.py``) sends arguments, folder, environment and its three streams, and gets
the exit status. It passes signals on, and a client that is gone takes its fork with it. The server
ends with the pipe of its standard input.
"""

import ast
import atexit
import contextlib
import gc
import importlib
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import colorama
import numpy

# What `anneal` and DVC import of others: nothing of this project.
IMPORTED = (
    "torch._dynamo", "torch.utils.data", "torch.distributed", "scipy.stats", "scipy.optimize",
    "hydra._internal.hydra", "hydra._internal.utils", "omegaconf", "yaml", "PIL.Image", "jinja2",
    "matplotlib.figure", "matplotlib.backends.backend_svg", "altair", "vl_convert", "rich.table",
    "rich.progress", "sklearn.datasets", "dvc.cli.parser", "dvc.commands.status", "dvc.rwlock",
    "dvc.repo.open_repo", "dvc.repo.reproduce", "dvc.stage.cache", "dvc_data.hashfile.db.local",
)  # fmt: skip
Request = tuple[list[str], str, dict[str, str]]


class Server:
    """Waits for requests; ``serve`` returns in a fork alone.

    Args:
        address: Of the socket.
    """

    def __init__(self, address: str) -> None:
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(address)
        self.listening.listen(16)
        self.clients: dict[int, socket.socket] = {}  # of each fork
        self.ended, told = socket.socketpair()
        told.setblocking(False)
        self.told = told
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(told.fileno())
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listening, selectors.EVENT_READ, None)
        self.selector.register(self.ended, selectors.EVENT_READ, None)
        self.selector.register(0, selectors.EVENT_READ, None)

    def serve(self) -> Request:
        """Fork for each request; return it in the fork, with its streams in place."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == 0:  # who started this process is gone
                    self._end()
                elif key.fileobj is self.ended:
                    self.ended.recv(4096)
                    self._reap()
                elif key.fileobj is self.listening:
                    client, _ = self.listening.accept()
                    if (request := self._fork(client)) is not None:
                        return request
                elif key.data in self.clients:
                    self._pass_on(key.data)

    def _fork(self, client: socket.socket) -> Request | None:
        head, streams, _, _ = socket.recv_fds(client, 8, 3)
        left, parts = int.from_bytes(head, "big"), []
        while left and (part := client.recv(min(left, 65536))):
            parts.append(part)
            left -= len(part)
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.selector.close()
            for one in (self.listening, self.ended, self.told, client, *self.clients.values()):
                one.close()
            for place, stream in enumerate(streams):
                os.dup2(stream, place)
                os.close(stream)
            request: Request = ast.literal_eval(b"".join(parts).decode())
            return request
        for stream in streams:
            os.close(stream)
        self.clients[child] = client
        self.selector.register(client, selectors.EVENT_READ, child)
        return None

    def _pass_on(self, child: int) -> None:
        """Send a fork the signals of its client; without a client it is killed."""
        numbers = self.clients[child].recv(64)
        for number in numbers or [signal.SIGKILL]:
            os.kill(child, number)
        if not numbers:
            self.selector.unregister(self.clients[child])

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                child, status = ended
                client = self.clients.pop(child)
                with contextlib.suppress(KeyError):  # its client has gone
                    self.selector.unregister(client)
                with contextlib.suppress(OSError):
                    client.send(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
                client.close()

    def _end(self) -> None:
        for child in self.clients:
            os.kill(child, signal.SIGKILL)
        os._exit(0)


def become(request: Request, *, executable: str) -> NoReturn:
    """Run ``python -m ...`` or ``python -c ...`` and end, as a process started for it would.

    What was imported is not taken apart at the end: it would be copied for that, page by page.
    """
    (kind, program, *arguments), folder, environment = request
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = environment.get("PYTHONPATH", "")
    sys.path[:1] = [folder, *filter(None, paths.split(os.pathsep))]  # the first was of this script
    if program != "dvc":  # which takes colours out of what is printed, as soon as it is imported
        colorama.deinit()
    numpy.random.seed()  # noqa: NPY002 - else every fork draws the same
    sys.argv = [program if kind == "-m" else kind, *arguments]
    sys.executable = executable
    status: Any = 0
    try:
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(program, "<string>", "exec"), vars(main))
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:  # noqa: BLE001 - as of a program: shown, and the exit status is 1
        sys.excepthook(*sys.exc_info())
        status = 1
    if not isinstance(status, int):
        sys.stderr.write(f"{status}\n")
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # forks share what is there
    server = Server(sys.argv[1])
    os.write(1, b"ready\n")
    become(server.serve(), executable=str(Path(sys.argv[1]).with_name("python")))
