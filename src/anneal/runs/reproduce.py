"""DVC, and other programs, as a process of its own, which a signal stops at a checkpoint."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from anneal.io.terminal import say
from anneal.runs.forks import heeding_interrupts
from anneal.runs.pool import POLL_SECONDS, collected_signals


def reproduce(arguments: Sequence[str]) -> None:
    """Run ``dvc repro``; a signal reaches its stage, which writes a checkpoint.

    Raises:
        ValueError: it failed; its own words are above.
        KeyboardInterrupt: a signal stopped it.
    """
    run_dvc(["repro", *arguments])


def run_dvc(arguments: Sequence[str]) -> None:
    """Run a command of DVC.

    Raises:
        ValueError: it failed; its own words are above.
        KeyboardInterrupt: a signal stopped it.
    """
    words = ["dvc", *arguments]
    say(f"$ {' '.join(words)}")
    programs = Path(sys.executable).parent  # the stages say `python`
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    status = run_stoppable([sys.executable, "-m", *words], environment=os.environ | {"PATH": path})
    if status:
        raise ValueError(f"`{' '.join(words)}` failed with status {status}")


def run_stoppable(
    program: Sequence[str], *, environment: Mapping[str, str], folder: Path | None = None
) -> int:
    """Run a program in a session of its own; return its exit status.

    Raises:
        KeyboardInterrupt: a signal came; the program got it as Ctrl-C, and has ended.
    """
    with collected_signals() as signals:
        with heeding_interrupts():
            process = subprocess.Popen(program, cwd=folder, env=environment, start_new_session=True)
        stopped = False
        while process.poll() is None:
            if signals:
                signals.clear()
                stopped = True
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(POLL_SECONDS)
    if stopped or signals:  # also while it ended
        raise KeyboardInterrupt
    return process.returncode


main = reproduce  # what a job of SLURM calls
