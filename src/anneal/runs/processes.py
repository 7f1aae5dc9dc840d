"""Processes of one run: started here for ``hardware.processes``, or by torchrun or srun.

A process that is started here is a copy of the command with torchrun's environment variables. The
first that fails ends the others; one line says which it was, and its last line.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from anneal.config.schema import HardwareConfig
from anneal.io.terminal import INTERRUPTED, USER_ERROR, complain, describe_error
from anneal.io.text import last_line
from anneal.runs.preemption import RANK_FOLDER, Interrupted, hand_on, interruptible
from anneal.training.parts import ALONE, LostProcess, Parts

LOST = 75  # exit status of a process that ended because another did
GRACE_SECONDS = 5.0  # for the others to end by themselves after one failed
POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One of several processes, as its starter says: torchrun's names of variables."""

    rank: int
    size: int
    local_rank: int


def on_processes(
    hardware: HardwareConfig,
    *,
    accumulation: int,
    module: str,
    arguments: Sequence[str],
    work: Callable[[Parts], None],
) -> None:
    """Do the work of a command in this process, as one rank, or in copies of the command.

    Args:
        hardware: says how many processes, and how patient they are.
        accumulation: parts of an update.
        module: of the command, for ``python -m``.
        arguments: of the command.
        work: what the command does, on this process of those that share the parts.

    Raises:
        ValueError: the processes cannot share the parts, or are more than the devices, or one of
            them failed.
        Interrupted: they were told to stop.
    """
    rank, size = rank_of(os.environ), _size(hardware)
    if size == 1:
        work(ALONE)
        return
    where = f"conf/hardware/{hardware.name}.yaml"
    if accumulation % size:
        raise ValueError(
            f"{where}: processes must divide the {accumulation} parts of an update "
            f"(training.accumulation), got {size}"
        )
    if rank is not None:
        with _joined(rank, hardware) as parts:
            work(parts)
        return
    if (here := _num_devices(hardware)) is not None and size > here:
        raise ValueError(f"{where}: processes must be at most the {here} devices here, got {size}")
    _Copies([sys.executable, "-m", module, *arguments], size).watch()


def refuse_several(hardware: HardwareConfig, *, for_what: str) -> None:
    """Refuse several processes where one does the work.

    Raises:
        ValueError: ``hardware.processes`` is above 1, or torchrun or srun started several.
    """
    size = _size(hardware)
    if size > 1:
        raise ValueError(
            f"conf/hardware/{hardware.name}.yaml: processes must be 1 for {for_what}, got {size}"
        )


def _size(hardware: HardwareConfig) -> int:
    """Return how many processes compute a run: what torchrun or srun says, else the setting."""
    rank = rank_of(os.environ)
    return hardware.processes if rank is None else rank.size


def rank_of(variables: Mapping[str, str]) -> Rank | None:
    """Return which process of a run this is by torchrun's variables or srun's; None: by neither.

    What srun says is added to ``variables`` in torchrun's words. A step of one task is no rank.
    """
    if "SLURM_PROCID" in variables and "RANK" not in variables:
        if int(variables.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
            return None
        os.environ |= _in_words_of_torchrun(variables)
        variables = os.environ
    if not {"RANK", "WORLD_SIZE"} <= variables.keys():
        return None
    return Rank(
        rank=int(variables["RANK"]),
        size=int(variables["WORLD_SIZE"]),
        local_rank=int(variables.get("LOCAL_RANK", "0")),
    )


def _in_words_of_torchrun(slurm: Mapping[str, str]) -> dict[str, str]:
    """Translate srun's variables; those of the meeting point are kept where they are set.

    The port follows from the job and its step, so that two of them on a machine do not meet.
    """
    first = re.sub(r"\[(\w+).*", r"\1", slurm["SLURM_STEP_NODELIST"]).split(",")[0]
    number = int(slurm["SLURM_JOB_ID"]) * 7 + int(slurm["SLURM_STEP_ID"])
    words = {
        "RANK": slurm["SLURM_PROCID"],
        "WORLD_SIZE": slurm["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": slurm["SLURM_LOCALID"],
        "MASTER_ADDR": first,
        "MASTER_PORT": str(20_000 + number % 10_000),
    }
    if not _is_bound():
        words["LOCAL_WORLD_SIZE"] = slurm["SLURM_STEP_TASKS_PER_NODE"].split("(")[0].split(",")[0]
    return words | {name: slurm[name] for name in words if name in slurm}


def _is_bound() -> bool:
    """Tell whether this process may use some of the machine's cores alone."""
    affinity = getattr(os, "sched_getaffinity", None)
    return affinity is not None and len(affinity(0)) < (os.cpu_count() or 1)


def _num_devices(hardware: HardwareConfig) -> int | None:
    """Return how many devices are here; None for the processor, which is shared by any number."""
    if hardware.device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.device_count()
    return 1 if hardware.device in ("auto", "mps") and torch.backends.mps.is_available() else None


# --- one of them ----------------------------------------------------------------------------------


@contextmanager
def _joined(rank: Rank, hardware: HardwareConfig) -> Iterator[Parts]:
    """Meet the other processes; end this one with its last line where something fails.

    Ranks other than 0 are silent.
    """
    if RANK_FOLDER in os.environ:
        threading.Thread(target=_stop_without_parent, daemon=True).start()
    if rank.rank:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the process ends
    patience = hardware.patience_seconds
    try:
        with _group(rank, hardware, patience) as store:
            yield Parts(rank=rank.rank, size=rank.size, patience_seconds=patience, store=store)
    except Interrupted:
        if RANK_FOLDER in os.environ:  # who started this process says so
            _end(rank, INTERRUPTED, "interrupted")
        raise
    except LostProcess as error:
        _end(rank, LOST, str(error))
    except (ValueError, OSError) as error:
        _end(rank, USER_ERROR, describe_error(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the last line
        traceback.print_exc()
        _end(rank, USER_ERROR, f"{type(error).__name__}: {describe_error(error)}")


@contextmanager
def _group(rank: Rank, hardware: HardwareConfig, patience: float) -> Iterator[Any]:
    """Open torch's process group: NCCL for tensors on CUDA, gloo for the others."""
    backend = "gloo"
    if hardware.device in ("auto", "cuda") and torch.cuda.is_available():
        # srun may show each task its own device alone
        torch.cuda.set_device(rank.local_rank if torch.cuda.device_count() > 1 else 0)
        backend = "cpu:gloo,cuda:nccl"
    timeout = timedelta(seconds=patience)
    store, _, _ = next(rendezvous("env://", timeout=timeout))
    distributed.init_process_group(
        backend, store=store, rank=rank.rank, world_size=rank.size, timeout=timeout
    )
    try:
        yield store
    except Interrupted:  # all of them stop
        distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()  # after an error it might wait for who is gone


def _stop_without_parent() -> None:
    """Stop as SIGTERM does when the process that started this one is gone."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _end(rank: Rank, status: int, line: str) -> NoReturn:
    """End this process at once, with its last line for who started it or for the terminal."""
    if (folder := os.environ.get(RANK_FOLDER)) is not None:
        Path(folder, f"{rank.rank}.txt").write_text(line)
    elif status != LOST or rank.rank == 0:
        complain(f"rank {rank.rank} of {rank.size}: {line}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the threads of gloo and NCCL abort an exit without the others


# --- all of them ----------------------------------------------------------------------------------


class _Copies:
    """Copies of a command, the ranks of one run on this machine.

    Rank 0 talks to the terminal; of the others what they write is kept for their last line.

    Args:
        command: the command.
        size: number of copies.
    """

    def __init__(self, command: Sequence[str], size: int) -> None:
        self._command, self._size = command, size
        self._ended: dict[int, int] = {}  # statuses of ranks, in the order in which they ended
        self._killed: set[int] = set()

    def watch(self) -> None:
        """Start the copies and wait for their end.

        Raises:
            ValueError: one failed; the others are ended.
            Interrupted: they were told to stop.
        """
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", 0, is_master=True, wait_for_workers=False
        )
        with tempfile.TemporaryDirectory() as folder, interruptible() as asked:
            self._folder = Path(folder)
            try:
                self._ranks = [self._start(rank, store.port) for rank in range(self._size)]
                self._wait(asked)
            finally:
                self._kill()
            number = asked()
            failed = self._failure(stopped=number > 0)
        if failed is not None:
            raise ValueError(failed)
        if INTERRUPTED in self._ended.values() or (number and any(self._ended.values())):
            number = number or signal.SIGINT
            hand_on(number, leads=True)
            raise Interrupted(number)

    def _start(self, rank: int, port: int) -> subprocess.Popen[bytes]:
        """Start one rank in a session of its own: Ctrl-C comes to this process alone."""
        variables = {
            "RANK": str(rank),
            "WORLD_SIZE": str(self._size),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(self._size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is this process's
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            RANK_FOLDER: str(self._folder),
        }
        if Path("/sys/class/net/lo").exists():
            variables["GLOO_SOCKET_IFNAME"] = "lo"
        with (self._folder / f"{rank}.err").open("wb") as errors:
            return subprocess.Popen(
                self._command,
                env=os.environ | variables,
                stdin=subprocess.PIPE,  # closed by the end of this process, whatever ends it
                stdout=subprocess.DEVNULL if rank else None,
                stderr=errors if rank else None,
                start_new_session=True,
            )

    def _wait(self, asked: Callable[[], int]) -> None:
        """Wait for the end of all; a first failure leaves the others a few seconds."""
        told, deadline = False, float("inf")
        while len(self._ended) < self._size and time.monotonic() < deadline:
            if asked() and not told:
                told = True
                for process in self._ranks:
                    if process.poll() is None:
                        process.terminate()
            for rank, process in enumerate(self._ranks):
                status = process.poll()
                if status is None or rank in self._ended:
                    continue
                self._ended[rank] = status
                if self._is_failure(status, stopped=told):
                    deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
            time.sleep(POLL_SECONDS)

    def _kill(self) -> None:
        """End what is left, with whatever it started."""
        for process in getattr(self, "_ranks", []):
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdin is not None:
                process.stdin.close()

    @staticmethod
    def _is_failure(status: int, *, stopped: bool) -> bool:
        """Tell a failure from an end; one told to stop may have died of it, before its loop."""
        return status not in (0, INTERRUPTED) and not (stopped and status == -signal.SIGTERM)

    def _failure(self, *, stopped: bool) -> str | None:
        """Say in one line which rank failed first; None where all ended as they should."""
        failed = [
            r for r, status in self._ended.items() if self._is_failure(status, stopped=stopped)
        ]
        if not failed:
            return None
        own = [rank for rank in failed if self._ended[rank] != LOST]
        if not own:  # they waited for one that hangs, and each says for which
            return self._last_line(min(failed))
        rank, status = own[0], self._ended[own[0]]
        how = f" was killed by {signal.Signals(-status).name}" if status < 0 else ""
        last = self._last_line(rank) or ("" if how else f"ended with status {status}")
        return f"rank {rank} of {self._size}{how}{': ' * bool(last)}{last}"

    def _last_line(self, rank: int) -> str:
        """Return the line that a rank ended with, or the last of what it wrote."""
        files = (self._folder / f"{rank}.{suffix}" for suffix in ("txt", "err"))
        said = (last_line(file.read_text(errors="replace")) for file in files if file.is_file())
        return next(filter(None, said), "")
