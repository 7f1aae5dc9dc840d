"""Hardware settings: ``auto`` resolved by a table of measurements.

``python benchmarks/settings.py --write`` puts a row for this machine into
``measured_settings.json``, with the ratio by which the choice won; a row without a ratio is an
assumption.
"""

import contextlib
import ctypes
import json
import os
import shlex
import shutil
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

import torch

from anneal.config.schema import HardwareConfig
from anneal.runs.kernels import check_kernels, kernels_digest

TF32 = "tf32"  # float32 whose products on CUDA have the ten bits of TF32
PRECISIONS = {"float32": torch.float32, TF32: torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How this process computes: every ``auto`` decided.

    ``compile``: with torch's compiler. ``kernels``: ``none``, or ``cpu`` for those of the extension
    ``anneal_cpu_kernels``. ``timed``: chosen by timing the network itself, threads included.
    ``parts``: of an update, ``apart`` or ``together`` in one forward pass. ``inputs``: batches made
    ``stepwise``, or ``gathered``, which changes no bit. ``capture``: ``graph`` where updates are
    captured as a CUDA graph, if they can be.
    """

    device: str
    precision: str
    memory_format: str
    compile: bool
    threads: int
    kernels: str = "none"
    timed: bool = False
    parts: str = "apart"
    inputs: str = "stepwise"
    capture: str = "none"

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the forward pass."""
        return PRECISIONS[self.precision]

    @property
    def channels_last(self) -> bool:
        """Whether images and weights lie channels last."""
        return self.memory_format == "channels_last"

    @property
    def numerics(self) -> str:
        """The settings that may change the last digits of a number, in words."""
        precision = self.precision
        if self.device == "cuda" and precision == "float32":
            precision = "float32 without TF32"  # torch's default for convolutions is with it
        words = f"{precision} {self.memory_format} {'compiled' if self.compile else 'eager'}"
        if self.timed and self.device == "cpu":
            words = f"{words} {self.threads} threads"
        if self.parts != "apart":
            words = f"{words} parts {self.parts}"
        if self.capture != "none" and self.device == "cuda":
            words = f"{words} capture graph"
        return words if self.kernels == "none" else f"{words} {self.kernels} {kernels_digest()}"

    def describe(self) -> dict[str, Any]:
        """Return the choice as plain data, for environment.json."""
        return asdict(self)


def decide(config: HardwareConfig, *, architecture: str) -> Settings:
    """Decide every ``auto`` for one architecture on this machine, and set the threads.

    Raises:
        ValueError: what was asked for is not here; names the key.
    """
    where = f"conf/hardware/{config.name}.yaml"
    device = _device(config.device, where)
    row = _measured(device, architecture)
    if config.capture == "graph" and device == "cuda":
        row |= {"compile": "off"}
        if config.compile == "on":
            raise ValueError(f"{where}: compile must be off where capture is graph, got on")
    if config.parts == "together":
        row |= {"memory_format": "contiguous", "compile": "off"}
        for key, value, needed in (
            ("compile", config.compile, "off"),
            ("kernels", config.kernels, "none"),
        ):
            if value not in ("auto", needed):
                raise ValueError(
                    f"{where}: {key} must be {needed} where parts is together, got {value}"
                )
    compiled = row["compile"] if config.compile == "auto" else config.compile
    precision = row["precision"] if config.precision == "auto" else config.precision
    if precision == TF32 and device != "cuda":
        raise ValueError(f"{where}: precision: {TF32} needs the device cuda, got {device}")
    if compiled == "on" and device == "cpu":
        obstacle = compiler_obstacle()
        if obstacle is not None and config.compile == "on":
            raise ValueError(f'{where}: compile: "on": {obstacle}')
        compiled = "off" if obstacle is not None else compiled
    if config.kernels == "cpu":
        try:
            dtype = PRECISIONS[precision]
            check_kernels(device=device, architecture=architecture, precision=dtype)
        except ValueError as error:
            raise ValueError(f"{where}: kernels: {error}") from None
    memory_format = row["memory_format"] if config.memory_format == "auto" else config.memory_format
    threads = config.threads or num_cores()
    torch.set_num_threads(threads)
    if device == "cpu":
        keep_freed_memory()
    elif device == "cuda":
        allow_tf32(precision == TF32)
    torch.backends.cudnn.deterministic = True  # the same bits after any number of stops
    return Settings(
        device=device,
        precision=precision,
        memory_format=memory_format,
        compile=compiled == "on",
        threads=threads,
        kernels=config.kernels,
        parts=config.parts,
        inputs=config.inputs,
        capture=config.capture,
    )


def allow_tf32(allowed: bool) -> None:
    """Let products and convolutions of float32 on CUDA be computed in TF32, or forbid it."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def num_cores() -> int:
    """Return how many cores this process may use: a share, where several compute one run."""
    return max(1, len(usable_cores()) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _device(asked: str, where: str) -> str:
    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if asked == "auto":
        return next(name for name, there in here.items() if there)
    if not here[asked]:
        there = ", ".join(name for name, is_there in here.items() if is_there)
        raise ValueError(f"{where}: device must be one that is here ({there}), got '{asked}'")
    return asked


def _measured(device: str, architecture: str) -> dict[str, str]:
    """Return the settings measured for the nearest case: device, capability, architecture."""
    capability = cpu_capability() if device == "cpu" else "any"
    path = resources.files("anneal.runs").joinpath("measured_settings.json")
    table = json.loads(path.read_text())
    rows = [r for r in table["rows"] if r["device"] == device]
    for wanted in (
        {"capability": capability, "architecture": architecture},
        {"capability": capability, "architecture": "any"},
        {"capability": "any", "architecture": "any"},
    ):
        for row in rows:
            if all(row[key] == value for key, value in wanted.items()):
                return dict(row["settings"])
    raise AssertionError(f"measured_settings.json has no row for {device}")


def find_compiler() -> list[str]:
    """Return the C++ compiler as a command: what ``CXX`` says, or the first that is found.

    Raises:
        ValueError: there is none.
    """
    wanted = shlex.split(os.environ.get("CXX", ""))
    for command in [wanted] if wanted else (["g++"], ["clang++"], ["c++"]):
        if shutil.which(command[0]) is not None:
            return command
    sought = f"CXX={' '.join(wanted)}" if wanted else "g++ or clang++"
    raise ValueError(f"compiling for the CPU needs a C++ compiler ({sought}), and there is none")


def compiler_obstacle() -> str | None:
    """Return why torch's compiler cannot compile for the CPU here; None where it can."""
    try:
        find_compiler()
    except ValueError as error:
        return str(error)
    return None


def has_tiles() -> bool:
    """Tell whether the processor multiplies bf16 matrices in tiles (AMX), and Linux permits it."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(supported() and torch.cpu._init_amx())


def cpu_capability() -> str:
    """Name what decides the speed of bf16 on a processor: AMX, AVX512_BF16, AVX512, AVX2, ..."""
    if has_tiles():
        return "AMX"
    if getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return "AVX512_BF16"
    return str(torch.backends.cpu.get_cpu_capability())


def keep_freed_memory() -> None:
    """Have glibc keep what an update frees for the next one, instead of giving it back.

    By default an activation or an image of some megabytes is mapped, zeroed by the kernel and
    unmapped again each time. Another C library has no ``mallopt`` and is left alone; so is a glibc
    (before 2.35) that refuses so high a threshold for mapping, where the other two would do harm.
    """
    m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3  # malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(m_mmap_threshold, 2**30):
            mallopt(m_trim_threshold, 2**31 - 1)
            mallopt(m_top_pad, 2**27)
