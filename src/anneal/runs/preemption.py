"""Signals that stop a run after an update, and what a preempted job of SLURM does then."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from anneal.io.terminal import say

RANK_FOLDER = "ANNEAL_RANK_FOLDER"  # set for a process that anneal started as one of several
GRACE = "GraceTime"  # of `scontrol show partition`, in seconds
SCONTROL_SECONDS = 30.0


class Interrupted(KeyboardInterrupt):
    """A run was told to stop; its checkpoint was written.

    Args:
        number: of the signal that told it.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


def preemption_signal() -> signal.Signals:
    """Return the signal before a preemption: SIGUSR2, or what submitit was told.

    Raises:
        ValueError: ``SUBMITIT_PREEMPT_SIGNAL`` names no signal.
    """
    name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
    try:
        return signal.Signals[f"SIG{name}"]
    except KeyError:
        raise ValueError(
            f"SUBMITIT_PREEMPT_SIGNAL must name a signal such as USR2, got {name}"
        ) from None


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Turn the first Ctrl-C, SIGTERM or preemption into a question asked between updates.

    The question is answered with the signal's number, 0 where there was none. The second signal of
    a kind acts as it did before.
    """
    asked = 0

    def ask(number: int, _frame: object) -> None:
        nonlocal asked
        asked = number
        signal.signal(number, before[number])

    which = {signal.SIGINT, signal.SIGTERM, preemption_signal()}
    before = {int(number): signal.getsignal(number) for number in which}
    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hand_on(number: int, *, leads: bool) -> None:
    """Hand a preemption to the handler that was there before, or have SLURM start the job again.

    Returns where neither applies: the signal was another, there is no job, or the process that
    started this one sees to it. Otherwise the handler may end the process, as submitit's does at
    rank 0; else the process waits for SLURM to end it.

    Args:
        number: of the signal that stopped the run.
        leads: whether this process is rank 0.

    Raises:
        ValueError: SLURM does not take the job back.
    """
    if number != preemption_signal() or RANK_FOLDER in os.environ:
        return
    handler, job = signal.getsignal(number), os.environ.get("SLURM_JOB_ID")
    if callable(handler):
        handler(number, None)
    elif job is None:
        return
    elif leads:
        say(f"preempted: scontrol requeue {job}")
        requeued = _scontrol("requeue", job)
        if requeued.returncode:
            raise ValueError(f"scontrol requeue {job}: {requeued.stderr.strip()}")
    while job is not None:
        signal.pause()


def grace_seconds() -> float | None:
    """Return the time that SLURM gives a preempted job of this partition; None: unknown."""
    partition = os.environ.get("SLURM_JOB_PARTITION")
    if partition is None:
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        for word in _scontrol("show", "partition", partition).stdout.split():
            key, _, value = word.partition("=")
            if key == GRACE and value.isdigit():
                return float(value)
    return None


def warn_of_short_grace(checkpoint_seconds: float) -> None:
    """Say so where a preempted job is ended before a checkpoint is written.

    Args:
        checkpoint_seconds: what one took.
    """
    grace = grace_seconds()
    if grace and grace < checkpoint_seconds:  # 0: the partition is not preempted, or gives none
        say(
            f"a checkpoint took {checkpoint_seconds:.1f} s and a preempted job of this partition "
            f"has {grace:g} s (GraceTime): it will resume from the checkpoint before"
        )


def _scontrol(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scontrol", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=SCONTROL_SECONDS,
    )
