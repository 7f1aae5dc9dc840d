"""Compiling a model: with torch's compiler, or for Caffe's networks with the machine's (edge).

``models/fused_pooling.cpp`` is compiled for this processor on first use and kept in the user's
cache folder (``XDG_CACHE_HOME``).
"""

import ctypes
import functools
import hashlib
import os
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
    *("-fno-math-errno", "-fno-trapping-math"),  # NaN and infinity keep their meaning
)
NAMES: Final = {torch.float32: "float32", torch.bfloat16: "bf16"}
POINTER, SIZE, FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
SHAPE_AND_KIND: Final[tuple[Any, ...]] = (*(SIZE,) * 4, *(FLAG,) * 2, ctypes.c_float)
WITHOUT: Final = "hardware.compile=off trains without it"


def compile_model(model: nn.Module) -> None:
    """Compile ``model`` in place, for the device that it lies on.

    Of Caffe's networks on a CPU, pooling, ReLU and LRN are fused: torch's compiler makes them
    slower than they are (LABBOOK.md).

    Raises:
        ValueError: there is no C++ compiler for the CPU, or it refuses.
    """
    if isinstance(model, CaffeNet) and model.ip1.weight.device.type == "cpu":
        model.kernels = load_kernels()
    else:
        model.compile()


def compiler() -> str | None:
    """Return the C++ compiler: what ``CXX`` names, or the first that is found, or None."""
    wanted = os.environ.get("CXX")
    names = [wanted] if wanted else ["g++", "clang++", "c++"]
    return next(filter(None, map(shutil.which, names)), None)


@functools.cache
def load_kernels() -> Kernels:
    """Compile the kernels, or take what was compiled before, and load them.

    Raises:
        ValueError: there is no compiler, or it refuses; says how to do without.
    """
    built = _built()
    library = ctypes.CDLL(str(built))

    def functions(direction: str, *, inputs: int, outputs: int) -> dict[torch.dtype, Any]:
        found = {dtype: library[f"{name}_{direction}"] for dtype, name in NAMES.items()}
        for function in found.values():
            pointers = [POINTER] * inputs, [POINTER] * outputs
            function.argtypes = [*pointers[0], *SHAPE_AND_KIND, *pointers[1], FLAG]
            function.restype = None
        return found

    forward = functions("forward", inputs=1, outputs=3)
    backward = functions("backward", inputs=4, outputs=1)
    return Kernels(
        lambda dtype, *given: forward[dtype](*given, torch.get_num_threads()),
        lambda dtype, *given: backward[dtype](*given, torch.get_num_threads()),
    )


def _built() -> Path:
    """Return the compiled library, made unless it lies there for this compiler and processor."""
    program = compiler()
    if program is None:
        raise ValueError(f"{SOURCE.name} needs a C++ compiler (g++ or clang++); {WITHOUT}")
    command = [program, *FLAGS]
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
                raise ValueError(f"{program} cannot compile {SOURCE.name}: {error}; {WITHOUT}")
            made.replace(built)
    return built


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
