"""Compile the C++ kernels for this processor, and load them.

A source is compiled on first use, with the machine's compiler. The result is kept in the user's
cache folder (``XDG_CACHE_HOME``).
"""

import ctypes
import functools
import hashlib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import torch

from anneal.runs.hardware import find_compiler

PACKAGE: Final = Path(__file__).parent
POOLS: Final = "fused_pooling.cpp"
BLOCKS: Final = "fused_residual.cpp"
FLAGS: Final = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared"),
    # NaN and infinity keep their meaning, and no product and sum are fused: the bits depend neither
    # on the compiler nor on the instruction set.
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


@functools.cache
def load_library(source: str) -> ctypes.CDLL:
    """Load a source, compiled unless the cache has it for this compiler and processor.

    Raises:
        ValueError: there is no compiler, it refuses, or its output cannot be stored or loaded.
    """
    command = [*find_compiler(), *FLAGS]
    try:
        library = ctypes.CDLL(str(_build(PACKAGE / source, command)))
    except (OSError, RuntimeError) as error:  # a full or missing cache folder; no home
        raise ValueError(f"{source} cannot be compiled, stored or loaded: {error}") from error
    for name, arguments in FUNCTIONS[source].items():
        declared = getattr(library, name)
        declared.argtypes, declared.restype = arguments, None
    return library


def _build(source: Path, command: list[str]) -> Path:
    """Return the compiled library."""
    # The compiler prints its version, and the options that "native" stands for on this processor.
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


def call(source: str, function: str, *arguments: object) -> None:
    """Call a compiled function with these arguments and torch's number of threads."""
    getattr(load_library(source), function)(*arguments, torch.get_num_threads())
