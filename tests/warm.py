"""Python and DVC as programs whose processes are forked from one that has imported what is large.

Each saves the seconds that torch, Hydra and DVC take to import. It is a process of its own all the
same, with the sources of its ``PYTHONPATH``: nothing of ``anneal`` is imported before it. Limits,
the umask and the hash seed are not those of who starts it. A signal reaches the fork, and a killed
client's fork is killed. What has to be cold (a start, an import, a limit, an order of a set) starts
``sys.executable``.
"""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# It starts in 0.02 s. Arguments in front make `dvc` of it.
CLIENT = """#!{python} -IS
import os, signal, socket, sys

words = [*{before!r}, *sys.argv[1:]]
if words[:1] not in (["-m"], ["-c"]):
    os.execv({python!r}, [{python!r}, *words])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = repr((words, os.getcwd(), dict(os.environ))).encode()
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, _: server.send(bytes([number])))
status = int.from_bytes(server.recv(8), "big", signed=True)
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@functools.cache
def warm_programs() -> Path:
    """Return the folder of the programs ``python`` and ``dvc``, for the front of a PATH."""
    folder = Path(tempfile.mkdtemp(prefix="anneal-warm-"))  # a socket's path has 107 bytes
    address = str(folder / "socket")
    for name, before in (("python", []), ("dvc", ["-m", "dvc"])):
        program = folder / name
        program.write_text(CLIENT.format(python=sys.executable, before=before, address=address))
        program.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm_server", address],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(_end, server, folder)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return folder


def warm_python() -> str:
    """Return a ``python`` whose ``-m`` and ``-c`` are forked; with a file it is the usual one."""
    return str(warm_programs() / "python")


def _end(server: subprocess.Popen[bytes], folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait(timeout=60)
    shutil.rmtree(folder)
