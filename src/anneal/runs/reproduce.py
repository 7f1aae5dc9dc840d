"""``dvc repro`` as a process of its own, which a signal stops at a checkpoint."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from anneal.io.terminal import say
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
    with collected_signals() as signals:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            env=os.environ | {"PATH": path},
            start_new_session=True,
        )
        stopped = False
        while process.poll() is None:
            if signals:
                signals.clear()
                stopped = True
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(POLL_SECONDS)
    if stopped:
        raise KeyboardInterrupt
    if process.returncode:
        raise ValueError(f"`{' '.join(words)}` failed with status {process.returncode}")


main = reproduce  # what a job of SLURM calls
