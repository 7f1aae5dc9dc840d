"""The blocks of a residual network for small images in few passes over memory, on a CPU.

The kernels are ``fused_residual.cpp``, which ``anneal.runs.compiling`` compiles and loads where the
processor has tiles for bfloat16 (AMX).
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import increment_version

CHANNELS: Final = (16, 32, 64)
SIDES: Final = 8  # px, that a side of what comes out is a multiple of
FIELDS: Final = 32  # of ``Block`` in fused_residual.cpp
PARAMETERS: Final = 10  # of a block: two weights, two norms
KEPT: Final = 9  # of a block, for the way back
UNUSED: Final = (None, None, None)

Layers = tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d, nn.BatchNorm2d]


class Kernels(NamedTuple):
    """The compiled functions: ``Block``s of ``fused_residual.cpp``, how many, and the rest."""

    forward: Callable[..., None]
    backward: Callable[..., None]


class FusedBlocks(torch.autograd.Function):
    """Blocks behind each other: two 3x3 convolutions with batch normalisation, shortcut and ReLU.

    ``apply(x, kernels, eps, momentum, *parameters)``: x (N, C, H, W) in bfloat16 on the CPU; of
    each block weights1, norm1, weights2 and norm2, where a norm is its weight, bias, running mean
    and running variance, which follow the batch's. weights1 are (C, C, 3, 3), or (2 C, C, 3, 3) for
    a stride of 2; the shortcut is option A. Without weights and norm2 (all None), what comes out of
    a block, which must be the first, is the ReLU of the normalised x. Sums are kept in float32;
    what comes out of a convolution or a block, and their gradients, are rounded to bfloat16. The
    way back takes the place of what was kept for it: once is all that it can be gone.

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
        *parameters: Tensor | None,
    ) -> Tensor:
        fields: list[Tensor | int | None] = []
        kept: list[Tensor | None] = []
        y = x.contiguous(memory_format=torch.channels_last)
        for block in _parts(parameters, PARAMETERS):
            weights1, weights2 = _laid(block[0]), _laid(block[5])
            norm1, norm2 = block[1:5], block[6:]
            stride = 1 if weights1 is None else weights1.shape[0] // weights1.shape[1]
            _check(y, block, stride)
            batch, channels, height, width = y.shape
            shape = (batch, channels * stride, height // stride, width // stride)
            x, y = y, _empty(shape)
            z1, z2 = (x, None) if weights1 is None else (_empty(shape), _empty(shape))
            found = torch.empty(8, shape[1])  # of each norm: mean, scale, factor, offset
            rows = _rows(found)
            fields += (*shape[2:], shape[1], stride, x, weights1, weights2, z1, z2, y)
            fields += (*norm1, *rows[:4], None, None, *norm2, *rows[4:], None, None, None, None)
            kept += (x, weights1, weights2, z1, z2, y, found, norm1[0], norm2[0])
        kernels.forward(*_table(fields), len(y), eps, momentum)
        ctx.save_for_backward(*kept)
        ctx.kernels = kernels
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        kept = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        fields: list[Tensor | int | None] = []
        gradients: list[Tensor | None] = []
        for x, weights1, weights2, z1, z2, y, found, factor1, factor2 in _parts(kept, KEPT):
            of1, of2 = (None if w is None else torch.empty_like(w) for w in (weights1, weights2))
            norms = torch.empty(4, y.shape[1])  # of each: the gradient of its weight, of its bias
            rows, out = _rows(found), _rows(norms)
            fields += (*y.shape[2:], y.shape[1], x.shape[2] // y.shape[2])
            fields += (x, weights1, weights2, z1, z2, y, factor1, *UNUSED, *rows[:4], *out[:2])
            fields += (factor2, *UNUSED, *rows[4:], *out[2:], of1, of2)
            of_norm2 = (None, None) if factor2 is None else norms[2:]
            gradients += (of1, *norms[:2], None, None, of2, *of_norm2, None, None)
        of_x = torch.empty_like(kept[0])
        ctx.kernels.backward(*_table(fields), len(of_x), gradient.data_ptr(), of_x.data_ptr())
        lost = [z2 for _, _, _, _, z2, _, *_ in _parts(kept, KEPT) if z2 is not None]
        increment_version([*lost, *(x for x, *_ in _parts(kept[KEPT:], KEPT))])
        return of_x, *(None, None, None), *gradients


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


def run_blocks(
    x: Tensor, stem: nn.BatchNorm2d, blocks: Iterable[Layers], kernels: Kernels
) -> Tensor:
    """Return what blocks without biases make in training of x, normalised by ``stem`` and a ReLU.

    The running statistics follow; eps and momentum are those of ``stem``.
    """
    parameters = [None, *_follow(stem), *[None] * (PARAMETERS - 5)]
    for conv1, norm1, conv2, norm2 in blocks:
        parameters += (conv1.weight, *_follow(norm1), conv2.weight, *_follow(norm2))
    y: Tensor = FusedBlocks.apply(  # type: ignore[no-untyped-call]
        x, kernels, stem.eps, stem.momentum, *parameters
    )
    return y


def _follow(norm: nn.BatchNorm2d) -> tuple[Tensor | None, ...]:
    """Return the parameters and running statistics of a norm; one more batch is counted."""
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return norm.weight, norm.bias, norm.running_mean, norm.running_var


def _check(x: Tensor, block: Sequence[Tensor | None], stride: int) -> None:
    channels, height, width = x.shape[1:]
    if (
        x.device.type != "cpu"
        or x.dtype != torch.bfloat16
        or any(p is not None and p.dtype != torch.float32 for p in block)
        or stride not in (1, 2)
        or not {channels, channels * stride} <= {*CHANNELS}
        or height % (SIDES * stride)
        or width % (SIDES * stride)
    ):
        raise ValueError(
            f"fused blocks take bfloat16 and float32 parameters on the CPU, {CHANNELS} channels in "
            f"and out and a stride of 1 or 2, and give sides in multiples of {SIDES} px; got "
            f"{x.dtype} on {x.device}, {tuple(x.shape)}, a stride of {stride}"
        )


def _parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[i : i + size] for i in range(0, len(values), size))


def _laid(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.contiguous(memory_format=torch.channels_last)


def _empty(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, memory_format=torch.channels_last)


def _rows(table: Tensor) -> Sequence[int]:
    """Return the addresses of the rows of a float32 table."""
    first, row = table.data_ptr(), 4 * table.shape[1]
    return range(first, first + len(table) * row, row)


def _table(fields: Sequence[Tensor | int | None]) -> tuple["ctypes.Array[ctypes.c_void_p]", int]:
    """Return the ``Block``s of ``fused_residual.cpp`` that have these fields, and how many."""
    words = [p.data_ptr() if isinstance(p, Tensor) else p for p in fields]
    return (ctypes.c_void_p * len(words))(*words), len(words) // FIELDS
