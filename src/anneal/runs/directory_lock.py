"""Lock of a run directory, which one process holds at a time."""

from pathlib import Path

from filelock import FileLock, Timeout


def lock_of(path: Path) -> Path:
    """Return the lock file of a run directory; it is next to it and not part of the record."""
    return path.with_name(f".{path.name}.lock")


def is_held(path: Path) -> bool:
    """Return whether a process has locked a run directory."""
    lock = lock_of(path)
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
