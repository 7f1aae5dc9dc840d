"""Damaged files, full and read-only disks, and commands in children, for ``faults.py``."""

import contextlib
import errno
import functools
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from anneal.io.terminal import describe_error

DAMAGES = ("truncated", "bit-flipped", "empty", "foreign")
SECONDS = 600  # after which a command hangs


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One fault that was tried.

    Args:
        how: it was made.
        lost: what is lost, or wrong and unnoticed; None: nothing.
        said: the line of the command; empty: it needed none.
    """

    how: str
    lost: str | None
    said: str


@dataclass(frozen=True)
class Ended:
    """A command that ended: exit status, negative if a signal ended it, and what it printed."""

    status: int
    output: str
    errors: str

    @property
    def said(self) -> str:
        """The error without what comes before it; else the last notice."""
        lines = self.errors.strip().splitlines() or [""]
        return lines[-1].removeprefix("error: ")

    def fault(self, *, refused: bool, words: str = "") -> str | None:
        """Return what is wrong with this end: a traceback, a hang, silence; None: nothing.

        A refusal must have these ``words``.
        """
        if self.status == -signal.SIGALRM:
            return f"hung for {SECONDS} s"
        if self.status not in (0, 1) or "Traceback" in self.errors:
            return f"ended with status {self.status}: {self.errors[-400:]}"
        if refused != (self.status == 1):
            return "not refused" if refused else f"refused: {self.said}"
        lines = self.errors.strip().splitlines()
        if refused and len(lines) != 1:
            return f"said {len(lines)} lines: {lines}"
        return (
            f"said {self.said!r} without {words!r}" if refused and words not in self.said else None
        )


def forked(folder: Path, work: Callable[[], object]) -> Ended:
    """Do work in a child of this process, which has imported what takes long, in a folder."""
    files = [os.memfd_create(name) for name in ("output", "errors")]
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.chdir(folder)
            for number, file in enumerate(files, start=1):
                os.dup2(file, number)
            signal.alarm(SECONDS)
            work()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001 - a child must not return
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    texts = []
    for file in files:
        with os.fdopen(file, "rb") as read:
            read.seek(0)
            texts.append(read.read().decode(errors="replace"))
    return Ended(status, *texts)


def tried(work: Callable[[], object]) -> tuple[bool, str, str | None]:
    """Do work; return whether it was refused, in which words, and what is wrong with that."""
    try:
        work()
    except (ValueError, OSError) as error:
        said = describe_error(error)
        return True, said, f"{len(said.splitlines())} lines" if "\n" in said else None
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return True, "", f"{type(error).__name__}: {error}"
    return False, "", None


def damage(good: bytes, kind: str, draw: random.Random, *, foreign: bytes) -> bytes:
    """Return a damaged copy of a file; of a foreign one the other file."""
    if kind == "truncated":
        return good[: draw.randrange(1, len(good))]
    if kind == "bit-flipped":
        bad = bytearray(good)
        bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
        return bytes(bad)
    return b"" if kind == "empty" else foreign


def rewrite(path: Path, content: bytes) -> None:
    """Give a file another content, but not the other names that it may have."""
    path.unlink()
    path.write_bytes(content)


def shortened(line: str, folder: Path) -> str:
    """Return a line without the folders of its paths, and of bounded length."""
    line = line.replace(f"{folder}/", "")
    line = re.sub(r"(?:[\w.@+-]*/){2,}(?=[\w.])", "", line)
    return line if len(line) <= 200 else f"{line[:197]}..."


@functools.cache
def can_mount() -> bool:
    """Tell whether this user may mount a small file system."""
    if os.getuid() != 0:
        return False
    place = Path(tempfile.gettempdir()) / f".anneal-mount-{os.getpid()}"
    try:
        with disk(place, megabytes=1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextlib.contextmanager
def disk(place: Path, *, megabytes: int) -> Iterator[Path]:
    """Mount an empty file system of so many megabytes, in memory."""
    place.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"]
    try:
        subprocess.run(["mount", *options, str(place)], check=True, capture_output=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)
        place.rmdir()


def fill(place: Path, *, but: int) -> Path:
    """Fill the disk of a folder but for so many bytes; return the file to remove later."""
    filler = place / ".filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        file.truncate(max(0, file.tell() - but))
    return filler


def limit_files(num_bytes: int) -> None:
    """Let no file of this process grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[str]:
    """Make a folder read-only; yields how."""
    if can_mount():
        for options in (["--bind", str(place)], ["-o", "remount,bind,ro"]):
            subprocess.run(["mount", *options, str(place)], check=True, capture_output=True)
        try:
            yield "mounted read-only"
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
        return
    folders = [path for path in (place, *place.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        yield "mode 555"
    finally:
        for folder in folders:
            folder.chmod(0o755)
