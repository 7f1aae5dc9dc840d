"""Facts of files that were read before, by path, size and modification time.

They are kept in the cache folder, so that a second start need not read every byte of a data set.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from anneal.io.files import write_whole

Facts = TypeVar("Facts")
_SETTLED_SECONDS = 2.0  # a file that is younger may change within one tick of its file system


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder: ``$XDG_CACHE_HOME/anneal/files``, by default in ``~/.cache``."""
    named = Path(environment.get("XDG_CACHE_HOME", ""))
    root = named if named.is_absolute() else Path.home() / ".cache"  # as the standard has it
    return root / "anneal" / "files"


class KnownFiles(Generic[Facts]):
    """Facts of the files below one folder.

    Args:
        folder: of the files; each has a file of its own in the cache.
        kind: a dataclass of plain values.
    """

    def __init__(self, folder: Path, kind: Callable[..., Facts]) -> None:
        self._folder = folder.resolve()
        name = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:32]
        self._path = cache_folder() / f"{name}.json"
        self._kind = kind
        self._before: dict[str, Any] = {}
        self._now: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):  # no cache, or not ours: all are read
            self._before = json.loads(self._path.read_text())

    def get(self, path: Path, read: Callable[[Path], Facts]) -> Facts:
        """Return the facts of a file; ``read`` it unless size and time are those known."""
        try:
            found = path.stat()
        except OSError:
            return read(path)
        key, stamp = str(path), [found.st_size, found.st_mtime_ns, found.st_ino]
        entry = self._before.get(key)
        if isinstance(entry, dict) and entry.get("stamp") == stamp:
            try:
                facts = self._kind(**entry["facts"])
            except (KeyError, TypeError):
                facts = read(path)
        else:
            facts = read(path)
        self._now[key] = {"stamp": stamp, "facts": dataclasses.asdict(facts)}  # type: ignore[call-overload]
        return facts

    def save(self) -> None:
        """Keep the facts of the files that were asked for; without a cache nothing is kept."""
        newest = max((entry["stamp"][1] for entry in self._now.values()), default=0)
        settled = time.time_ns() - newest > _SETTLED_SECONDS * 1e9
        if not settled or self._now == self._before:
            return
        with contextlib.suppress(OSError):
            write_whole(self._path, json.dumps(self._now))
