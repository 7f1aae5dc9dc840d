"""Moments at which ``benchmarks/kill_campaign.py`` kills a training process."""

import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOMENTS_OF_A_CHECKPOINT = ("write", "sync", "keep", "rename", "renamed")
MOMENTS_OF_A_RESULT = ("before", "write", "after")


def die() -> None:
    """End this process as a crash of the machine would."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Moment:
    """A moment at which the process that arms it is killed.

    Args:
        kind: what it does then.
        seed: of how far it has come.
        turn: kills of this kind before; the steps of a write are taken in turn.
    """

    kind: str
    seed: int
    turn: int

    def arm(self) -> None:
        """Put the kill in its place."""
        draw = random.Random(self.seed)
        {
            "update": self._in_update,
            "evaluation": self._in_evaluation,
            "history": self._in_history,
            "checkpoint": self._in_checkpoint,
            "result": self._in_result,
        }[self.kind](draw)

    def _in_update(self, draw: random.Random) -> None:
        from anneal.runs.observers import Checkpoints

        start, seconds = Checkpoints.start, draw.random() * 2

        def later(self: Checkpoints, training: Any) -> None:
            timer = threading.Timer(seconds, die)
            timer.daemon = True
            timer.start()
            start(self, training)

        Checkpoints.start = later  # type: ignore[method-assign]

    def _in_evaluation(self, draw: random.Random) -> None:
        from anneal.runs import setup

        measure, at = setup.measure, on_call(draw.randint(1, 4))

        def measured(model: Any, batches: Any, **options: Any) -> Any:
            def cut() -> Any:
                for batch in batches:
                    yield batch
                    die()

            return measure(model, cut() if at() else batches, **options)

        setup.measure = measured

    def _in_history(self, draw: random.Random) -> None:
        from anneal.runs.directory import RunDirectory

        append, at, part = RunDirectory.append, on_call(draw.randint(1, 40)), draw.random()

        def appended(self: RunDirectory, name: str, line: dict[str, Any]) -> None:
            if at():
                text = json.dumps(line)
                with (self.path / name).open("a") as file:
                    file.write(text[: int(part * len(text))])
                die()
            append(self, name, line)

        RunDirectory.append = appended  # type: ignore[method-assign]

    def _in_checkpoint(self, draw: random.Random) -> None:
        from anneal.io import files
        from anneal.runs import directory

        step, at = self.step(MOMENTS_OF_A_CHECKPOINT), on_call(draw.randint(1, 4))
        num_write, part = draw.randint(1, 30), draw.random()
        save = directory.RunDirectory.save_checkpoint

        def saved(self: directory.RunDirectory, state: dict[str, Any], **how: Any) -> None:
            if at():
                arm()
            save(self, state, **how)

        def arm() -> None:
            if step == "write":
                write, now = files.Watched.write, on_call(num_write)

                def written(self: files.Watched, content: bytes) -> int:
                    if now():
                        write(self, bytes(content)[: int(part * len(content))])
                        die()
                    return write(self, content)

                files.Watched.write = written  # type: ignore[method-assign]
            elif step == "sync":
                os.fsync = lambda _: die()
            elif step == "keep":
                directory.keep_as = lambda *_: die()
            else:
                replace = Path.replace

                def renamed(self: Path, target: Path) -> Path:
                    is_checkpoint = Path(target).name == directory.CHECKPOINT
                    if is_checkpoint and step == "rename":
                        die()
                    found = replace(self, target)
                    if is_checkpoint:
                        die()
                    return found

                Path.replace = renamed  # type: ignore[method-assign]

        directory.RunDirectory.save_checkpoint = saved  # type: ignore[method-assign]

    def _in_result(self, draw: random.Random) -> None:
        from anneal.io import files
        from anneal.runs.directory import RunDirectory

        finish, step, part = RunDirectory.finish, self.step(MOMENTS_OF_A_RESULT), draw.random()

        def written(self: files.Watched, content: bytes) -> int:
            os.write(self.fileno(), content[: int(part * len(content))])
            die()
            return 0

        def finished(self: RunDirectory, result: dict[str, Any]) -> None:
            if step == "before":
                die()
            if step == "write":
                files.Watched.write = written  # type: ignore[method-assign]
            finish(self, result)
            die()

        RunDirectory.finish = finished  # type: ignore[method-assign]

    def step(self, steps: Sequence[str]) -> str:
        """Return the step of a write at which this kill comes."""
        return steps[self.turn % len(steps)]


def on_call(number: int) -> Callable[[], bool]:
    """Return a function that is true when it is called for the ``number``-th time."""
    calls = iter(range(1, sys.maxsize))
    return lambda: next(calls) == number
