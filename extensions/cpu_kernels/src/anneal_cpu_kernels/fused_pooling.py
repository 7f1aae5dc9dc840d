"""Pooling, ReLU and LRN of Caffe's CIFAR-10 networks in one pass over memory: a torch operator.

``torch.ops.anneal_cpu_kernels.pool`` has a fake and an autograd implementation, so that
``torch.compile`` and ``torch.library.opcheck`` take it. Its kernels are ``fused_pooling.cpp``.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from anneal.models.caffe_layers import pooled_size
from anneal_cpu_kernels.compiler import NAMES, POOLS, call

LANES: Final = 16  # channels that the kernels take at once
STRIDE: Final = 2


def fused_pool(z: Tensor, *, maximum: bool, relu: bool, alpha: float) -> Tensor:
    """Take the maximum or the mean of 3x3 windows of stride 2, with a ReLU and an LRN.

    Sums are kept in float32. A second derivative is refused by torch: the backward pass has none.

    Args:
        z: (N, C, H, W) in float32 or bfloat16 on the CPU, C a multiple of 16, H and W at least 2.
        maximum: the maximum of each window, instead of the mean.
        relu: a ReLU before the mean, or after the maximum.
        alpha: of the LRN that comes last; 0: none.

    Returns:
        (N, C, P, Q) of the same dtype, channels last.

    Raises:
        ValueError: z or alpha is something else.
    """
    pooled: Tensor = _pool(z, maximum, relu, alpha)[0]
    return pooled


@torch.library.custom_op("anneal_cpu_kernels::pool", mutates_args=(), device_types="cpu")
def _pool(z: Tensor, maximum: bool, relu: bool, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return what comes out, and for the backward pass: the pooled values, the places that won.

    Without an LRN the pooled values are what comes out, and of means no place wins: such a tensor
    is empty.
    """
    y, pooled, places = _results(z, maximum, relu, alpha)
    z = z.contiguous(memory_format=torch.channels_last)
    call(
        POOLS,
        f"{NAMES[z.dtype]}_forward",
        *(z.data_ptr(), *_sizes(z), maximum, relu, alpha),
        *((pooled if alpha else y).data_ptr(), _address(places), y.data_ptr()),
    )
    return y, pooled, places


@_pool.register_fake
def _results(z: Tensor, maximum: bool, relu: bool, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, height, width = z.shape
    if (
        z.device.type != "cpu"
        or z.dtype not in NAMES
        or channels % LANES
        or min(height, width) < STRIDE
        or not alpha >= 0
    ):
        raise ValueError(
            f"fused pooling takes float32 or bfloat16 on the CPU, a multiple of {LANES} channels, "
            f"sides of at least {STRIDE} px and alpha >= 0, got {z.dtype} on {z.device}, "
            f"{tuple(z.shape)} and {alpha}"
        )
    shape = (batch, channels, pooled_size(height), pooled_size(width))
    return (
        _empty(shape, z.dtype),
        _empty(shape, z.dtype) if alpha else torch.empty(0, dtype=z.dtype),
        _empty(shape, torch.int16) if maximum else torch.empty(0, dtype=torch.int16),
    )


@torch.library.custom_op("anneal_cpu_kernels::pool_backward", mutates_args=(), device_types="cpu")
def _pool_backward(
    gradient: Tensor,
    z: Tensor | None,
    pooled: Tensor,
    places: Tensor,
    sizes: Sequence[int],
    maximum: bool,
    relu: bool,
    alpha: float,
) -> Tensor:
    """Return the gradient of z; z itself says where the ReLU before a mean was open."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    z = None if z is None else z.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = sizes
    of_z = _empty(sizes, gradient.dtype)
    call(
        POOLS,
        f"{NAMES[gradient.dtype]}_backward",
        *(gradient.data_ptr(), _address(z), _address(pooled), _address(places)),
        *(batch, height, width, channels, maximum, relu, alpha, of_z.data_ptr()),
    )
    return of_z


@_pool_backward.register_fake
def _(
    gradient: Tensor,
    z: Tensor | None,
    pooled: Tensor,
    places: Tensor,
    sizes: Sequence[int],
    maximum: bool,
    relu: bool,
    alpha: float,
) -> Tensor:
    return _empty(sizes, gradient.dtype)


def _keep(
    ctx: Any, inputs: tuple[Tensor, bool, bool, float], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    z, maximum, relu, alpha = inputs
    _, pooled, places = output
    ctx.save_for_backward(z if relu and not maximum else None, pooled, places)
    ctx.mark_non_differentiable(pooled, places)
    ctx.set_materialize_grads(False)
    ctx.sizes, ctx.options = list(z.shape), (maximum, relu, alpha)


def _differentiate(ctx: Any, gradient: Tensor, *_unused: None) -> tuple[Tensor, None, None, None]:
    return _pool_backward(gradient, *ctx.saved_tensors, ctx.sizes, *ctx.options), None, None, None


_pool.register_autograd(_differentiate, setup_context=_keep)


def _sizes(z: Tensor) -> tuple[int, int, int, int]:
    batch, channels, height, width = z.shape
    return batch, height, width, channels


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, memory_format=torch.channels_last)


def _address(tensor: Tensor | None) -> int | None:
    return tensor.data_ptr() if tensor is not None and tensor.numel() else None
