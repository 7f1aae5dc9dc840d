"""Servers that a test starts on this machine: which can be, their start and their end."""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

# marker -> its programs, and the packages of Debian that have them
NEEDED = {
    "slurm": (("munged", "slurmctld", "slurmd", "sbatch", "srun"), "slurm-wlm munge"),
    "ssh": (("sshd", "ssh", "ssh-keygen"), "openssh-server openssh-client"),
}


def reason_to_skip(marker: str) -> str | None:
    """Return why a test with a marker cannot run here, or None."""
    programs, packages = NEEDED[marker]
    missing = [name for name in programs if find_program(name) is None]
    if missing:
        return f"there is no {', '.join(missing)}; Debian: apt-get install {packages}"
    return None


def find_program(name: str) -> str | None:
    """Return where a program is; servers are where a person's PATH may not look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start_server(
    program: str, *arguments: str, log: Path, variables: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a server that stays in the foreground.

    Args:
        program: its name.
        arguments: of it.
        log: the file for what it says.
        variables: of its environment, besides those of this process.
    """
    where = find_program(program)
    assert where is not None
    with log.open("wb") as said:
        return subprocess.Popen(
            [where, *arguments],
            env=os.environ | dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def stop_server(process: subprocess.Popen[bytes]) -> None:
    """End a server and wait for its end."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
