"""Compiling a model: with torch's compiler, or Caffe's networks with the machine's (edge).

``models/fused_pooling.cpp`` is compiled for this processor on first use and kept in the user's
cache folder (``XDG_CACHE_HOME``).
"""

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from anneal.models.caffe_cifar import CaffeNet
from anneal.models.fused_pooling import Kernels

SOURCE: Final = Path(__file__).parent / "models/fused_pooling.cpp"
FLAGS: Final = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared"),
    # NaN and infinity keep their meaning, and no product and sum become one: the same bits whatever
    # the compiler and the instruction set.
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
)
OURS: Final = ("caffe_cifar", "caffe_cifar_sigmoid_bn")  # architectures with kernels for a CPU
NAMES: Final = {torch.float32: "float32", torch.bfloat16: "bf16"}
POINTER, SIZE, FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
OPTIONS: Final[tuple[Any, ...]] = (SIZE, SIZE, SIZE, SIZE, FLAG, FLAG, ctypes.c_float)
FORWARD: Final = (POINTER, *OPTIONS, POINTER, POINTER, POINTER, FLAG)
BACKWARD: Final = (POINTER, POINTER, POINTER, POINTER, *OPTIONS, POINTER, FLAG)


def compile_model(model: nn.Module) -> None:
    """Compile ``model`` in place, for the device that it lies on.

    Of Caffe's networks on a CPU, pooling, ReLU and LRN are fused: torch's compiler makes them
    slower than they are (LABBOOK.md).

    Raises:
        ValueError: there is no C++ compiler for the CPU, or it refuses.
    """
    if isinstance(model, CaffeNet) and model.ip1.weight.device.type == "cpu":
        load_library()
        model.kernels = Kernels(_forward, _backward)
    else:
        model.compile()


def obstacle_on_cpu(architecture: str) -> str | None:
    """Say what is in the way of compiling an architecture for the CPU; None where nothing is."""
    try:
        load_library() if architecture in OURS else find_compiler()
    except ValueError as error:
        return str(error)
    return None


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


@functools.cache
def load_library() -> ctypes.CDLL:
    """Load ``fused_pooling.cpp``, compiled unless it lies there for this compiler and processor.

    Raises:
        ValueError: there is no compiler, it refuses, or its work cannot be kept or loaded.
    """
    command = [*find_compiler(), *FLAGS]
    try:
        library = ctypes.CDLL(str(_build(command)))
    except (OSError, RuntimeError) as error:  # a full or missing cache folder; no home
        raise ValueError(f"{SOURCE.name} cannot be compiled, kept or loaded: {error}") from error
    for name in NAMES.values():
        for function, arguments in (("forward", FORWARD), ("backward", BACKWARD)):
            declared = getattr(library, f"{name}_{function}")
            declared.argtypes, declared.restype = arguments, None
    return library


def _build(command: list[str]) -> Path:
    """Return the compiled library."""
    # What the compiler says of itself: its version, and what "native" is on this processor.
    about = _run(*command, "-E", "-v", "-x", "c++", os.devnull).stderr
    key = hashlib.sha256(SOURCE.read_bytes() + repr((command, about)).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anneal"
    built = cache / f"{SOURCE.stem}-{key[:16]}.so"
    if not built.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            made = Path(folder) / built.name
            done = _run(*command, str(SOURCE), "-o", str(made))
            if done.returncode:
                said = done.stderr.splitlines() or [f"exit status {done.returncode}"]
                error = next((line for line in said if "error" in line), said[-1])
                raise ValueError(f"{shlex.join(command)} cannot compile {SOURCE.name}: {error}")
            made.replace(built)
    return built


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _forward(dtype: torch.dtype, *arguments: object) -> None:
    getattr(load_library(), f"{NAMES[dtype]}_forward")(*arguments, torch.get_num_threads())


def _backward(dtype: torch.dtype, *arguments: object) -> None:
    getattr(load_library(), f"{NAMES[dtype]}_backward")(*arguments, torch.get_num_threads())
