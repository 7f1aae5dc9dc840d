"""Programs that a command waits for, and how a signal reaches them."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from anneal.runs.reproduce import run_stoppable


def test_program_of_a_job_in_the_background_is_stopped(tmp_path: Path) -> None:
    """A shell has SIGINT ignored there, and a program would inherit that."""
    ready = tmp_path / "ready"

    def send() -> None:
        while not ready.is_file():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        threading.Thread(target=send).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run_stoppable(["sh", "-c", f"touch {ready}; exec sleep 60"], environment=os.environ)
        assert time.monotonic() - began < 30
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
