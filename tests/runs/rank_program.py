"""Command of three processes, of which one does what is asked: for tests of how runs end."""

import os
import signal
import sys
import time

import torch

from anneal.config.schema import HardwareConfig
from anneal.io.terminal import command, say
from anneal.runs.preemption import Interrupted, interruptible
from anneal.runs.processes import on_processes

AT = 3


def hardware(**options):
    """Return settings of several processes on the processor."""
    return HardwareConfig(
        name="cpu", device="cpu", precision="float32", memory_format="auto", compile="off",
        threads=1, **options,
    )  # fmt: skip


def misbehave(what):
    """Do what is asked of one rank."""
    if what == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hangs":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "is wrong":
        raise ValueError("conf/x.yaml: y must be z")
    if what == "has a bug":
        raise TypeError("a bug")
    if what == "is told to stop":
        os.kill(os.getpid(), signal.SIGUSR2)


@command("what", "rank", "patience")
def main(arguments):
    """Let three processes count together."""
    what, rank, patience = arguments

    def work(parts):
        with interruptible() as asked:
            for update in range(100):
                if (update, parts.rank) == (AT, int(rank)):
                    misbehave(what)
                total = parts.sum(torch.ones(2)).sum().item()
                stop = parts.largest(asked())
                say(f"rank {parts.rank} update {update} total {total:g}")
                if stop:
                    raise Interrupted(stop)
                time.sleep(0.01)

    on_processes(
        hardware(processes=3, patience=patience), accumulation=3, module=__spec__.name,
        arguments=arguments, work=work,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
