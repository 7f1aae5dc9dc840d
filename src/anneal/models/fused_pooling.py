"""Pooling, ReLU and LRN of Caffe's CIFAR-10 networks in one pass over memory, on a CPU.

The kernels are ``fused_pooling.cpp``, which ``anneal.runs.compiling`` compiles and loads.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

DTYPES: Final = (torch.float32, torch.bfloat16)
LANES: Final = 16  # channels that the kernels take at once
STRIDE: Final = 2


class Kernels(NamedTuple):
    """The compiled functions: a dtype, then the arguments of ``fused_pooling.cpp`` but threads."""

    forward: Callable[..., None]
    backward: Callable[..., None]


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

    ``apply(z, kernels, maximum, relu, alpha)``: z (N, C, H, W) on the CPU, of a dtype in
    ``DTYPES``, C a multiple of 16, H and W at least 2; alpha >= 0 is that of the LRN, 0 for none.
    Sums are kept in float32. What comes out, (N, C, P, Q) of the same dtype, lies channels last.

    Raises:
        ValueError: z or alpha is something else.
    """

    @staticmethod
    def forward(  # noqa: D102 - the class says it
        ctx: Any, z: Tensor, kernels: Kernels, maximum: bool, relu: bool, alpha: float
    ) -> Tensor:
        batch, channels, height, width = z.shape
        if (
            z.device.type != "cpu"
            or z.dtype not in DTYPES
            or channels % LANES
            or min(height, width) < STRIDE
            or not alpha >= 0
        ):
            raise ValueError(
                f"fused pooling takes float32 or bfloat16 on the CPU, channels in sixteens, sides "
                f"of at least {STRIDE} px and alpha >= 0, got {z.dtype} on {z.device}, "
                f"{tuple(z.shape)} and {alpha}"
            )
        z = z.contiguous(memory_format=torch.channels_last)
        outputs = (batch, channels, pooled_size(height), pooled_size(width))
        pooled = _empty(outputs, z.dtype)
        where = _empty(outputs, torch.int16) if maximum else None
        normalised = _empty(outputs, z.dtype) if alpha else pooled
        kernels.forward(
            z.dtype,
            *(z.data_ptr(), batch, height, width, channels, maximum, relu, alpha),
            *(pooled.data_ptr(), _address(where), normalised.data_ptr()),
        )
        ctx.save_for_backward(
            None if maximum or not relu else z,  # where the ReLU was open
            pooled if alpha else None,
            where,
        )
        ctx.kernels, ctx.of_input = kernels, (z.shape, z.dtype)
        ctx.options = (batch, height, width, channels, maximum, relu, alpha)
        return normalised

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102 - the class says it
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        input_gradient = _empty(*ctx.of_input)
        ctx.kernels.backward(
            gradient.dtype,
            *(gradient.data_ptr(), *map(_address, ctx.saved_tensors)),
            *(*ctx.options, input_gradient.data_ptr()),
        )
        return input_gradient, None, None, None, None


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
