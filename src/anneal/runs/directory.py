"""The run directory: files of a run, checkpoints, resume.

``experiment.yaml`` (the plan), ``environment.json`` (one entry per start), ``history.jsonl`` (a
line per logged update, no wall time), ``timing.jsonl``, ``checkpoint.pt`` and, until the run has
ended, the previous one, ``snapshots/<update>.pt`` if requested, and ``result.json`` after the end.
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from anneal.config.strict import flat_numbers
from anneal.io.files import read_json, read_yaml_mapping, synced, write_json, write_yaml
from anneal.io.terminal import say
from anneal.runs.code_digest import sources_of
from anneal.runs.directory_lock import lock_of
from anneal.runs.result_file import MERGED, RESULT, checked, read_result
from anneal.runs.torch_files import UnreadableError, keep_as, load_checked

HISTORY = "history.jsonl"
TIMING = "timing.jsonl"
CHECKPOINT = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"
UNREADABLE = "checkpoint.unreadable.pt"
PLAN = "experiment.yaml"
ENVIRONMENT_FILE = "environment.json"
SNAPSHOTS = "snapshots"
RESUME = "ANNEAL_RESUME"  # environment variable; other-code: resume a run that other code began
OTHER_CODE = "other-code"
KEYS_SHOWN = 3
LOCK_SECONDS = 1.0  # `status` holds a lock for a moment to see whether it is free


class RunDirectory:
    """One run on disk, locked by one process at a time.

    Args:
        path: ``runs/<campaign>/<experiment>/seed-<n>`` or ``multirun/<hash>/seed-<n>``.
        configuration_hash: of the plan to run in it.
        code: digest of the sources and settings that change numbers; None for reading only. A run
            that ended under another digest is stale.
    """

    def __init__(self, path: Path, *, configuration_hash: str, code: str | None = None) -> None:
        self.path = path
        self.configuration_hash = configuration_hash
        self.code = code

    @contextmanager
    def held(self) -> Iterator["RunDirectory"]:
        """Lock the directory for this process.

        Raises:
            ValueError: another process has locked it.
            OSError: the file system has no locks, or is read-only.
        """
        lock = lock_of(self.path)
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            holding = FileLock(lock, timeout=LOCK_SECONDS).acquire()
        except Timeout:
            raise ValueError(
                f"{self.path} is in use by another process; wait for it or stop it"
            ) from None
        except OSError as error:  # it names no file
            why = f"{error.strerror}; a run needs a file system with locks"
            raise OSError(error.errno, why, str(lock)) from error
        with holding:
            yield self

    def result(self) -> dict[str, Any] | None:
        """Return result.json of a run of this configuration, or None if none has ended."""
        return None if self._stale() else self._result_on_disk()

    def open(self, plan: dict[str, Any], *, replaced: Path) -> None:
        """Prepare the directory for ``plan``; move a stale run away.

        Temporary files of a process that was killed while it wrote are deleted.

        Args:
            plan: from ``Plan.describe``.
            replaced: folder for the stale run; nothing is deleted.
        """
        if self._stale():
            aside = replaced / f"{self.path.name}-{self._hash_on_disk()}"
            number = 1
            while aside.exists():
                number += 1
                aside = replaced / f"{self.path.name}-{self._hash_on_disk()}-{number}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            words = self._difference(plan)
            shutil.move(self.path, aside)
            say(f"{self.path}: the run here was another ({words}); it is now {aside}")
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.path / SNAPSHOTS):
            for temporary in folder.glob(".*.tmp"):
                temporary.unlink()
        write_yaml(self.path / PLAN, plan)

    def _difference(self, plan: dict[str, Any]) -> str:
        """Return the keys in which the plan on disk differs from ``plan``; else the code."""
        old, new = read_yaml_mapping(self.path / PLAN), plan
        for part in ("configuration", "schedule"):
            before, after = (flat_numbers(side.get(part) or {}) for side in (old, new))
            keys = [k for k in {**before, **after} if before.get(k) != after.get(k)]
            if keys:
                more = f" and {len(keys) - KEYS_SHOWN} more keys" if keys[KEYS_SHOWN:] else ""
                return (
                    ", ".join(f"{k} {before.get(k)} -> {after.get(k)}" for k in keys[:KEYS_SHOWN])
                    + more
                )
        if self._hash_on_disk() != self.configuration_hash:
            return "other data"
        return f"code {(self._result_on_disk() or {}).get('code')} -> {self.code}"

    def _hash_on_disk(self) -> str | None:
        if not (self.path / PLAN).is_file():
            return None
        return str(read_yaml_mapping(self.path / PLAN).get("configuration_hash"))

    def _result_on_disk(self) -> dict[str, Any] | None:
        return read_result(self.path / RESULT, planned=self._hash_on_disk())

    def _stale(self) -> bool:
        """Return whether the run here is of another configuration, or ended under other code.

        One that came in a pack may have the numerics of its machine.
        """
        if self._hash_on_disk() not in (None, self.configuration_hash):
            return True
        ended = self._result_on_disk()
        if ended is None or self.code is None:
            return False
        part = sources_of if ended.get(MERGED) else str
        return part(str(ended["code"])) != part(self.code)

    def history_bytes(self) -> int:
        """Return the size of the history."""
        history = self.path / HISTORY
        return history.stat().st_size if history.is_file() else 0

    def save_checkpoint(
        self, state: dict[str, Any], *, update: int, history_bytes: int | None = None
    ) -> None:
        """Write a checkpoint atomically and keep the previous one.

        ``history_bytes`` is the size of the history after ``update`` updates; None: that of now.
        """
        import torch

        history, lines = self.path / HISTORY, b""
        if history.is_file():
            with history.open("rb") as file:
                os.fsync(file.fileno())  # the history reaches the disk before its checkpoint
                lines = file.read()[:history_bytes]
        content = {
            "configuration_hash": self.configuration_hash,
            "update": update,
            "history_bytes": len(lines),
            "history_crc32": zlib.crc32(lines),
            "state": state,
        }
        checkpoint = self.path / CHECKPOINT
        with synced(checkpoint) as file:
            torch.save(content, file)
            if checkpoint.is_file():
                keep_as(checkpoint, self.path / PREVIOUS)

    def save_snapshot(self, weights: dict[str, Any], *, update: int) -> None:
        """Write the weights after ``update`` updates to ``snapshots/<update>.pt``, atomically."""
        import torch

        content = {
            "configuration_hash": self.configuration_hash,
            "update": update,
            "model": weights,
        }
        with synced(self.path / SNAPSHOTS / f"{update}.pt") as file:
            torch.save(content, file)

    def snapshots(self) -> dict[int, Path]:
        """Return update -> file of its snapshot, in rising order."""
        found = {int(f.stem): f for f in (self.path / SNAPSHOTS).glob("*.pt") if f.stem.isdigit()}
        return dict(sorted(found.items()))

    def read_snapshot(self, update: int) -> dict[str, Any]:
        """Return the weights after ``update`` updates.

        Raises:
            ValueError: the file is unreadable or of another configuration; names it.
        """
        file = self.path / SNAPSHOTS / f"{update}.pt"
        return dict(self._load(file, "move the run away to train it again")["model"])

    def resume(self) -> dict[str, Any] | None:
        """Return the checkpoint to resume from, and truncate history and snapshots to it.

        Without a checkpoint, return None and delete history and snapshots. An unreadable newest
        checkpoint becomes ``checkpoint.unreadable.pt``, said, and the previous one takes its place.

        Raises:
            ValueError: the checkpoint is of another configuration or of other code, none is
                readable, or its history is too short; names the file.
        """
        try:
            content = self.read_checkpoint()
        except UnreadableError as error:
            if not (self.path / PREVIOUS).is_file():
                raise
            content = self._load_checkpoint(PREVIOUS)
            keep_as(self.path / CHECKPOINT, self.path / UNREADABLE)
            keep_as(self.path / PREVIOUS, self.path / CHECKPOINT)  # a next start finds it too
            say(
                f"{error.file} cannot be read ({error.reason}) and is now {UNREADABLE}; resuming "
                f"from {PREVIOUS}, update {content['update']}"
            )
        if content is not None:
            self._check_code()
        for update, snapshot in self.snapshots().items():
            if content is None or update > content["update"]:
                snapshot.unlink()
        if content is None:
            for name in (HISTORY, TIMING):
                (self.path / name).unlink(missing_ok=True)
            return None
        if (self.path / HISTORY).is_file():
            os.truncate(self.path / HISTORY, content["history_bytes"])
        return content

    def read_checkpoint(self) -> dict[str, Any] | None:
        """Return the last checkpoint without changing any file; None if there is none.

        A crash while a checkpoint was kept without links leaves the previous one alone.

        Raises:
            ValueError: it is of another configuration or unreadable, or the history is another
                than the one that it continues; names the file.
        """
        kept = (name for name in (CHECKPOINT, PREVIOUS) if (self.path / name).is_file())
        name = next(kept, None)
        return None if name is None else self._load_checkpoint(name)

    def _load_checkpoint(self, name: str) -> dict[str, Any]:
        """Read a checkpoint and compare the history up to it with its checksum."""
        advice = f"move {self.path} away to start again"  # all of it: an older one is resumed else
        content = self._load(self.path / name, advice)
        history, num_bytes = self.path / HISTORY, content["history_bytes"]
        lines = history.read_bytes() if history.is_file() else b""
        if len(lines) < num_bytes:
            found = f"{len(lines)} bytes, fewer than the {num_bytes}"
            raise ValueError(f"{history} has {found} at {name}: {advice}")
        if content.get("history_crc32") not in (None, zlib.crc32(lines[:num_bytes])):
            raise ValueError(f"{history} was changed, or is of another run than {name}: {advice}")
        return content

    def _check_code(self) -> None:
        """Refuse a checkpoint that other code or numerics wrote, unless that is wanted.

        Raises:
            ValueError: the last start had another code; says how to start again or resume.
        """
        asked = os.environ.get(RESUME)
        if asked not in (None, OTHER_CODE):
            raise ValueError(f"{RESUME} must be {OTHER_CODE} or unset, got {asked!r}")
        starts = self.environment()
        before = starts[-1].get("code") if starts else None
        if None in (before, self.code) or before == self.code or asked == OTHER_CODE:
            return
        raise ValueError(
            f"{self.path} was begun by code and numerics {before!r}, not {self.code!r}: move it "
            f"away to start again, or set {RESUME}={OTHER_CODE} to resume it (recorded; the run "
            "then counts for neither)"
        )

    def _load(self, file: Path, advice: str) -> dict[str, Any]:
        """Read a file that ``torch.save`` wrote for this configuration.

        Raises:
            UnreadableError: it is damaged, or no file of a run.
            ValueError: it is of another configuration; names the file.
        """
        content = load_checked(file, advice=advice)
        if not isinstance(content, dict) or "configuration_hash" not in content:
            raise UnreadableError(file, "no file of a run", advice)
        found = content["configuration_hash"]
        if found != self.configuration_hash:
            raise ValueError(
                f"{file} is of configuration {found}, not {self.configuration_hash}: "
                "move it away to start again"
            )
        return dict(content)

    def append(self, name: str, line: dict[str, Any]) -> None:
        """Append one line to ``history.jsonl`` or ``timing.jsonl``."""
        text = json.dumps(line, allow_nan=False) + "\n"
        try:
            with (self.path / name).open("a") as file:
                file.write(text)
        except OSError as error:  # a full disk names no file
            raise OSError(error.errno, error.strerror, str(self.path / name)) from error

    def add_environment(self, entry: dict[str, Any]) -> None:
        """Add the entry of this start to ``environment.json``."""
        write_json(
            self.path / ENVIRONMENT_FILE, [*self.environment(), {"code": self.code, **entry}]
        )

    def add_to_environment(self, **values: Any) -> None:
        """Add values, such as the time of its end, to the entry of this start."""
        *before, last = self.environment()
        write_json(self.path / ENVIRONMENT_FILE, [*before, last | values])

    def environment(self) -> list[dict[str, Any]]:
        """Return one entry for each start."""
        file = self.path / ENVIRONMENT_FILE
        return list(read_json(file)) if file.is_file() else []

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json, after which the run is not run again and needs one checkpoint.

        A run resumed under other code or settings has no code digest: the next start of its stage
        runs it again.
        """
        codes = {entry.get("code") for entry in self.environment()} | {self.code}
        code = self.code if len(codes) == 1 else None
        content = {"configuration_hash": self.configuration_hash, "code": code, **result}
        write_json(self.path / RESULT, checked(content))
        (self.path / PREVIOUS).unlink(missing_ok=True)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; skip a last line truncated by a crash."""
    if not path.is_file():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]
