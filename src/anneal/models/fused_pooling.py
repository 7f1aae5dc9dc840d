"""Pooling, ReLU and LRN of Caffe's CIFAR-10 networks in one pass on a CPU: ``fused_pooling.cpp``.

Compiled on first use with the machine's C++ compiler, for its processor, and kept in the user's
cache folder (``XDG_CACHE_HOME``). An image is worked on by one thread, so that bits do not depend
on how many there are.
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
from torch import Tensor
from torch.autograd.function import once_differentiable

SOURCE: Final = Path(__file__).with_suffix(".cpp")
FLAGS: Final = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared"),
    *("-fno-math-errno", "-fno-trapping-math"),  # NaN and infinity keep their meaning
)
NAMES: Final = {torch.float32: "float32", torch.bfloat16: "bf16"}
POINTER, SIZE, FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
SHAPE_AND_KIND: Final[tuple[Any, ...]] = (*(SIZE,) * 4, *(FLAG,) * 2, ctypes.c_float)


def compiler() -> str | None:
    """Return the C++ compiler: what ``CXX`` names, or the first that is found, or None."""
    wanted = os.environ.get("CXX")
    return next(
        filter(None, map(shutil.which, [wanted] if wanted else ["g++", "clang++", "c++"])), None
    )


@functools.cache
def kernels() -> dict[tuple[torch.dtype, str], Any]:
    """Compile the kernels, or take what was compiled before, and load them.

    Returns:
        the functions of ``fused_pooling.cpp`` by dtype and "forward" or "backward".

    Raises:
        ValueError: there is no compiler, or it refuses; says how to do without.
    """
    without = "hardware.compile=off trains without it"
    program = compiler()
    if program is None:
        raise ValueError(f"{SOURCE.name} needs a C++ compiler (g++ or clang++); {without}")
    command = [program, *FLAGS]
    # The version, and what "native" stands for on this processor.
    asked = subprocess.run(
        [*command, "-E", "-v", "-x", "c++", os.devnull], capture_output=True, text=True, check=False
    )
    key = hashlib.sha256(SOURCE.read_bytes() + repr((command, asked.stderr)).encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anneal"
    built = cache / f"fused_pooling-{key.hexdigest()[:16]}.so"
    if not built.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            made = Path(folder) / built.name
            done = subprocess.run(
                [*command, str(SOURCE), "-o", str(made)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                complaint = next((s for s in done.stderr.splitlines() if "error" in s), done.stderr)
                raise ValueError(
                    f"{program} cannot compile {SOURCE.name}: {complaint.strip()}; {without}"
                )
            made.replace(built)
    loaded, found = ctypes.CDLL(str(built)), {}
    for dtype, name in NAMES.items():
        for direction, inputs, outputs in ("forward", 1, 3), ("backward", 4, 1):
            function = loaded[f"{name}_{direction}"]
            pointers = [POINTER] * inputs, [POINTER] * outputs
            function.argtypes = [*pointers[0], *SHAPE_AND_KIND, *pointers[1], FLAG]
            function.restype = None
            found[dtype, direction] = function
    return found


def pooled_size(size: int) -> int:
    """Side in pixels after 3x3 pooling of stride 2 (Caffe @9b89154, pooling_layer.cpp).

    Caffe's rule is ``ceil((size - 3) / 2) + 1``. A window may stick out at the end, but always
    starts in the image, so that Caffe's clipping of the last window (which it does for padded
    pooling alone) would change nothing.

    >>> [pooled_size(side) for side in (32, 31, 24, 9, 8)]
    [16, 15, 12, 4, 4]
    """
    return -((3 - size) // 2) + 1


class FusedPooling(torch.autograd.Function):
    """Maximum or mean of 3x3 windows of stride 2, with the ReLU and the LRN that go with it.

    ``apply(z, maximum, relu, alpha)``: z (N, C, H, W) float32 or bfloat16 on the CPU, C a multiple
    of 16; alpha is that of the LRN, 0 for none. Sums are kept in float32. What comes out, (N, C, P,
    Q) of the same dtype, lies channels last.
    """

    @staticmethod
    def forward(  # noqa: D102 - the class says it
        ctx: Any, z: Tensor, maximum: bool, relu: bool, alpha: float
    ) -> Tensor:
        z = z.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = z.shape
        outputs = (batch, channels, pooled_size(height), pooled_size(width))

        def empty(dtype: torch.dtype) -> Tensor:
            return torch.empty(outputs, dtype=dtype, memory_format=torch.channels_last)

        pooled = empty(z.dtype)
        where = empty(torch.int16) if maximum else None
        normalised = empty(z.dtype) if alpha else pooled
        kernels()[z.dtype, "forward"](
            *(z.data_ptr(), batch, height, width, channels, maximum, relu, alpha),
            *(pooled.data_ptr(), _address(where), normalised.data_ptr()),
            torch.get_num_threads(),
        )
        ctx.save_for_backward(z, pooled, where)
        ctx.kind = (maximum, relu, alpha)
        return normalised

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102 - the class says it
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None, None]:
        z, pooled, where = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = z.shape
        through = torch.empty_like(z)
        kernels()[z.dtype, "backward"](
            *(gradient.data_ptr(), z.data_ptr(), pooled.data_ptr(), _address(where)),
            *(batch, height, width, channels, *ctx.kind),
            *(through.data_ptr(), torch.get_num_threads()),
        )
        return through, None, None, None


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
