"""Compiling a model: with torch's compiler, or kernels of our own with the machine's (edge).

``models/fused_*.cpp`` are compiled for this processor on first use and kept in the user's cache
folder (``XDG_CACHE_HOME``).
"""

import ctypes
import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from anneal.models import fused_pooling, fused_residual
from anneal.models.caffe_cifar import CaffeNet
from anneal.models.resnet import ResNetCIFAR

PACKAGE: Final = Path(__file__).parents[1]
POOLS: Final = "models/fused_pooling.cpp"
BLOCKS: Final = "models/fused_residual.cpp"
FLAGS: Final = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared"),
    # NaN and infinity keep their meaning, and no product and sum become one: the same bits whatever
    # the compiler and the instruction set.
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
)
NAMES: Final = {torch.float32: "float32", torch.bfloat16: "bf16"}
POINTER, SIZE, FLAG, REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
SIZES: Final[tuple[Any, ...]] = (SIZE, SIZE, SIZE, SIZE)
POOLING: Final = (*SIZES, FLAG, FLAG, REAL)
FORWARD: Final = (POINTER, *POOLING, POINTER, POINTER, POINTER, FLAG)
BACKWARD: Final = (POINTER, POINTER, POINTER, POINTER, *POOLING, POINTER, FLAG)
FUNCTIONS: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    POOLS: {
        f"{name}_{function}": arguments
        for name in NAMES.values()
        for function, arguments in (("forward", FORWARD), ("backward", BACKWARD))
    },
    BLOCKS: {
        "forward_blocks": (POINTER, SIZE, SIZE, REAL, REAL, FLAG),
        "backward_blocks": (POINTER, SIZE, SIZE, POINTER, POINTER, FLAG),
    },
}


def compile_model(model: nn.Module, precision: torch.dtype) -> None:
    """Compile ``model`` in place, for the device that it lies on and to train in ``precision``.

    On a CPU, pooling, ReLU and LRN of Caffe's networks are fused: torch's compiler makes them
    slower than they are (LABBOOK.md). In bfloat16 on one that multiplies it in tiles, so are the
    blocks of He et al.'s networks.

    Raises:
        ValueError: there is no C++ compiler for the CPU, or it refuses.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if on_cpu and isinstance(model, CaffeNet):
        load_library(POOLS)
        model.kernels = fused_pooling.Kernels(_forward, _backward)
    elif on_cpu and isinstance(model, ResNetCIFAR) and _in_tiles(precision):
        load_library(BLOCKS)
        model.kernels = fused_residual.Kernels(_forward_blocks, _backward_blocks)
    else:
        model.compile()


def obstacle_on_cpu(architecture: str, precision: torch.dtype) -> str | None:
    """Say what is in the way of compiling an architecture for the CPU; None where nothing is."""
    try:
        if architecture in ("caffe_cifar", "caffe_cifar_sigmoid_bn"):
            load_library(POOLS)
        elif re.fullmatch(r"cifar_resnet\d+", architecture) and _in_tiles(precision):
            load_library(BLOCKS)
        else:
            find_compiler()
    except ValueError as error:
        return str(error)
    return None


def has_tiles() -> bool:
    """Say whether the processor multiplies bfloat16 matrices in tiles (AMX), and Linux lets us."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(supported() and torch.cpu._init_amx())


def _in_tiles(precision: torch.dtype) -> bool:
    return precision == torch.bfloat16 and has_tiles()


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
def load_library(source: str) -> ctypes.CDLL:
    """Load a source of the package, compiled unless it lies there for this compiler and processor.

    Raises:
        ValueError: there is no compiler, it refuses, or its work cannot be kept or loaded.
    """
    command = [*find_compiler(), *FLAGS]
    try:
        library = ctypes.CDLL(str(_build(PACKAGE / source, command)))
    except (OSError, RuntimeError) as error:  # a full or missing cache folder; no home
        raise ValueError(f"{source} cannot be compiled, kept or loaded: {error}") from error
    for name, arguments in FUNCTIONS[source].items():
        declared = getattr(library, name)
        declared.argtypes, declared.restype = arguments, None
    return library


def _build(source: Path, command: list[str]) -> Path:
    """Return the compiled library."""
    # What the compiler says of itself: its version, and what "native" is on this processor.
    about = _run(*command, "-E", "-v", "-x", "c++", os.devnull).stderr
    key = hashlib.sha256(source.read_bytes() + repr((command, about)).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anneal"
    built = cache / f"{source.stem}-{key[:16]}.so"
    if not built.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            made = Path(folder) / built.name
            done = _run(*command, str(source), "-o", str(made))
            if done.returncode:
                said = done.stderr.splitlines() or [f"exit status {done.returncode}"]
                error = next((line for line in said if "error" in line), said[-1])
                raise ValueError(f"{shlex.join(command)} cannot compile {source.name}: {error}")
            made.replace(built)
    return built


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _forward(dtype: torch.dtype, *arguments: object) -> None:
    _call(POOLS, f"{NAMES[dtype]}_forward", *arguments)


def _backward(dtype: torch.dtype, *arguments: object) -> None:
    _call(POOLS, f"{NAMES[dtype]}_backward", *arguments)


def _forward_blocks(*arguments: object) -> None:
    _call(BLOCKS, "forward_blocks", *arguments)


def _backward_blocks(*arguments: object) -> None:
    _call(BLOCKS, "backward_blocks", *arguments)


def _call(source: str, function: str, *arguments: object) -> None:
    getattr(load_library(source), function)(*arguments, torch.get_num_threads())
