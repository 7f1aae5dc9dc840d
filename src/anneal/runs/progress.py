"""Progress display: a bar on a terminal, quiet lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from anneal.io.terminal import say

REFRESH_SECONDS = 0.5  # drawing the bar takes about 1.5 ms of a core
Meter = Callable[[int, str | None], None]  # updates made, and a note shown with them


@contextmanager
def metered(label: str, *, total: int, done: int = 0) -> Iterator[Meter]:
    """Show the progress of one run: a bar with speed and time left, or one line without a terminal.

    Args:
        label: name of the run.
        total: updates of the whole run.
        done: updates made before this start.
    """
    if not sys.stderr.isatty():
        say(f"{label}: {total - done} updates" + (f" left of {total}" if done else ""))
        yield lambda _update, _note: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console, per_second = Console(stderr=True), 1 / REFRESH_SECONDS
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=per_second
    ) as progress:
        task = progress.add_task(label, total=total, completed=done, rate="", note="")
        began = time.monotonic()
        shown, said = 0.0, ""

        def show(update: int, note: str | None) -> None:
            nonlocal shown, said
            now = time.monotonic()
            said = note or said
            if now - shown < REFRESH_SECONDS:
                return
            shown = now
            rate = (update - done) / max(now - began, 1e-9)
            progress.update(task, completed=update, rate=f"{rate:.0f} updates/s", note=said)

        yield show
