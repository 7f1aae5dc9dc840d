"""The blocks of a residual network for small images in few passes over memory, on a CPU.

The kernels are ``fused_residual.cpp``, which ``anneal.compiling`` compiles and loads where the
processor has tiles for bfloat16 (AMX).
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHANNELS: Final = (16, 32, 64)
SIDES: Final = 8  # px, that a side of what comes out is a multiple of
BLOCK: Final = ctypes.c_void_p * 30  # ``Block`` in fused_residual.cpp


class Kernels(NamedTuple):
    """The compiled functions: the pointers of ``Block`` in ``fused_residual.cpp``, then sizes."""

    forward: Callable[..., None]
    backward: Callable[..., None]


class FusedBlock(torch.autograd.Function):
    """Two 3x3 convolutions with batch normalisation of the batch, shortcut (option A) and ReLU.

    ``apply(x, kernels, eps, momentum, weights1, *norm1, weights2, *norm2)``, where a norm is its
    weight, bias, running mean and running variance, which follow: x (N, C, H, W) in bfloat16 on the
    CPU; weights1 (C, C, 3, 3), or (2 C, C, 3, 3) for a stride of 2. Without weights and norm2 (all
    None) what comes out is the ReLU of the normalised x alone. Sums are kept in float32; what comes
    out, and both gradients inside, are rounded to bfloat16.

    Raises:
        ValueError: x is something else, or its sizes are none that the kernels take.
    """

    @staticmethod
    def forward(  # noqa: D102 - the class says it
        ctx: Any,
        x: Tensor,
        kernels: Kernels,
        eps: float,
        momentum: float,
        weights1: Tensor | None,
        *parameters: Tensor | None,
    ) -> Tensor:
        stride = 1 if weights1 is None else weights1.shape[0] // weights1.shape[1]
        batch, channels, height, width = x.shape
        shape = (batch, channels * stride, height // stride, width // stride)
        if (
            x.device.type != "cpu"
            or x.dtype != torch.bfloat16
            or any(p is not None and p.dtype != torch.float32 for p in (weights1, *parameters))
            or stride not in (1, 2)
            or not {channels, shape[1]} <= {*CHANNELS}
            or height % (SIDES * stride)
            or width % (SIDES * stride)
        ):
            raise ValueError(
                f"fused blocks take bfloat16 and float32 parameters on the CPU, {CHANNELS} "
                f"channels in and out and a stride of 1 or 2, and give sides in multiples of "
                f"{SIDES} px; got {x.dtype} on {x.device}, {tuple(x.shape)}, a stride of {stride}"
            )
        x = x.contiguous(memory_format=torch.channels_last)
        weights1, weights2 = _laid(weights1), _laid(parameters[4])
        norm1, norm2 = parameters[:4], parameters[5:]
        z1, z2 = (x, None) if weights1 is None else (_empty(shape), _empty(shape))
        y = _empty(shape)
        found = torch.empty(8, shape[1])  # of each norm: mean, scale, factor, offset
        rows = _rows(found)
        kernels.forward(
            _block(
                *(x, weights1, weights2, z1, z2, y),
                *(*norm1, *rows[:4], None, None, *norm2, *rows[4:]),
            ),
            *(batch, *shape[2:], shape[1], stride, eps, momentum),
        )
        ctx.save_for_backward(x, weights1, weights2, z1, z2, y, found, norm1[0], norm2[0])
        ctx.kernels, ctx.stride = kernels, stride
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        x, weights1, weights2, z1, z2, y, found, factor1, factor2 = ctx.saved_tensors
        batch, channels, height, width = y.shape
        gradient = gradient.contiguous(memory_format=torch.channels_last)  # kept until it is read
        gradients = [None if t is None else torch.empty_like(t) for t in (x, weights1, weights2)]
        norms = torch.empty(4, channels)  # of each: the gradient of its weight, of its bias
        rows, out = _rows(found), _rows(norms)
        unused = (None, None, None)
        ctx.kernels.backward(
            _block(
                *(x, weights1, weights2, z1, z2, y),
                *(factor1, *unused, *rows[:4], *out[:2], factor2, *unused, *rows[4:], *out[2:]),
                *(gradient, *gradients),
            ),
            *(batch, height, width, channels, ctx.stride),
        )
        of_norm2 = (None, None) if factor2 is None else norms[2:]
        return (
            *(gradients[0], None, None, None, gradients[1], *norms[:2], None, None),
            *(gradients[2], *of_norm2, None, None),
        )


def fits(x: Tensor, weights: Tensor) -> bool:
    """Say whether a whole network of such blocks takes what its stem gave, of these weights."""
    height, width = x.shape[2:]
    whole = SIDES * 4  # two blocks have a stride of 2
    return (
        x.device.type == "cpu"
        and (x.dtype, weights.dtype) == (torch.bfloat16, torch.float32)
        and height % whole == 0
        and width % whole == 0
    )


def normalise(x: Tensor, norm: nn.BatchNorm2d, kernels: Kernels) -> Tensor:
    """Return the ReLU of x, normalised by its own statistics, which the running ones follow."""
    return _apply(x, kernels, None, norm, None, None)


def run_block(
    x: Tensor,
    layers: tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d, nn.BatchNorm2d],
    kernels: Kernels,
) -> Tensor:
    """Return what a block without biases makes of x in training; the running statistics follow."""
    conv1, norm1, conv2, norm2 = layers
    return _apply(x, kernels, conv1.weight, norm1, conv2.weight, norm2)


def _apply(
    x: Tensor,
    kernels: Kernels,
    weights1: Tensor | None,
    norm1: nn.BatchNorm2d,
    weights2: Tensor | None,
    norm2: nn.BatchNorm2d | None,
) -> Tensor:
    parameters: list[Tensor | None] = []
    for norm in (norm1, norm2):
        if norm is None:
            parameters += [None] * 4
            continue
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        parameters += [norm.weight, norm.bias, norm.running_mean, norm.running_var]
    y: Tensor = FusedBlock.apply(  # type: ignore[no-untyped-call]
        *(x, kernels, norm1.eps, norm1.momentum, weights1, *parameters[:4], weights2),
        *parameters[4:],
    )
    return y


def _laid(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.contiguous(memory_format=torch.channels_last)


def _empty(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, memory_format=torch.channels_last)


def _rows(table: Tensor) -> Sequence[int]:
    """Return the addresses of the rows of a float32 table."""
    first, row = table.data_ptr(), 4 * table.shape[1]
    return range(first, first + len(table) * row, row)


def _block(*pointers: Tensor | int | None) -> "ctypes.Array[ctypes.c_void_p]":
    """Return ``Block`` of ``fused_residual.cpp``; what is left out at the end is null."""
    return BLOCK(*(p.data_ptr() if isinstance(p, Tensor) else p for p in pointers))
