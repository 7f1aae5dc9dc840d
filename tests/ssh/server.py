"""OpenSSH's server on 127.0.0.1, with a host key and one person's key of its own."""

import getpass
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import free_port, start_server, stop_server

START_SECONDS = 30.0
CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Server:
    """A running server.

    Args:
        folder: with its keys, its configuration and its log.
        port: that it listens at.
    """

    folder: Path
    port: int

    @property
    def key(self) -> Path:
        """The private key that it lets in."""
        return self.folder / "key"

    def address(self, path: Path) -> str:
        """Return the address of a folder, as DVC takes it."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Start a server; stop it at the end.

    Args:
        folder: a new one, for all that it writes.
    """
    folder.mkdir(parents=True)
    for name in ("host_key", "key"):
        make = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        subprocess.run(make, check=True)
    server = Server(folder, free_port())
    text = CONFIGURATION.format(port=server.port, folder=folder)
    (folder / "sshd_config").write_text(text)
    if os.geteuid() == 0:  # as root it wants this folder, which is made when the system starts
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = folder / "sshd.log"
    arguments = ("-D", "-e", "-f", str(folder / "sshd_config"))
    process = start_server("sshd", *arguments, log=log, variables={})
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(server.port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield server
    finally:
        stop_server(process)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
