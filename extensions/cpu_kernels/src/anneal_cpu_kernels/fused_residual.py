"""The residual blocks of He et al.'s small networks in few passes over memory: a torch operator.

``torch.ops.anneal_cpu_kernels.blocks`` has a fake and an autograd implementation, so that
``torch.compile`` and ``torch.library.opcheck`` take it. Its kernels are ``fused_residual.cpp``,
for a processor that multiplies bfloat16 matrices in tiles (AMX).
"""

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from anneal_cpu_kernels.compiler import BLOCKS, call

CHANNELS: Final = (16, 32, 64)
SIDES: Final = 8  # px; a side of the output is a multiple of it
FIELDS: Final = 32  # of ``Block`` in fused_residual.cpp
NORM: Final = 2  # parameters of a normalisation: weight and bias
PARAMETERS: Final = 6  # of a block: a weight and a normalisation, twice
STATISTICS: Final = 4  # of a normalisation, for the backward pass: mean, scale, factor, offset
UNUSED: Final = (None, None, None)

Layers = tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d, nn.BatchNorm2d]


def run_blocks(x: Tensor, stem: nn.BatchNorm2d | None, blocks: Iterable[Layers]) -> Tensor:
    """Run residual blocks one after the other in training; running statistics follow.

    A block is two 3x3 convolutions without bias, each with batch normalisation, then the shortcut
    (option A) and a ReLU. Sums are kept in float32; the outputs of convolutions and blocks, and
    their gradients, are rounded to bfloat16. eps and momentum are those of the first normalisation.

    The backward pass overwrites what the forward pass kept, so that it runs once.

    Args:
        x: (N, C, H, W) in bfloat16 on the CPU, H and W multiples of 8 after all strides.
        stem: a normalisation, followed by a ReLU, that x goes through first.
        blocks: their layers, in order; 16, 32 or 64 channels and a stride of 1 or 2.

    Returns:
        (N, C', H', W') in bfloat16, channels last.

    Raises:
        ValueError: x, a stride or a number of channels is something else.
    """
    parameters: list[Tensor] = []
    norms: list[nn.BatchNorm2d] = []
    if stem is not None:
        parameters += (stem.weight, stem.bias)
        norms.append(stem)
    for conv1, norm1, conv2, norm2 in blocks:
        parameters += (conv1.weight, norm1.weight, norm1.bias)
        parameters += (conv2.weight, norm2.weight, norm2.bias)
        norms += (norm1, norm2)
    running = [s for n in norms for s in (n.running_mean, n.running_var) if s is not None]
    eps, momentum = norms[0].eps, norms[0].momentum
    assert momentum is not None
    y: Tensor
    y, followed, *_ = _blocks(x, parameters, torch.cat(running), stem is not None, eps, momentum)
    with torch.no_grad():
        parts = followed.split([len(state) for state in running])
        torch._foreach_copy_(running, list(parts))
        torch._foreach_add_(
            [n.num_batches_tracked for n in norms if n.num_batches_tracked is not None], 1
        )
    return y


class _Block(NamedTuple):
    """The parameters of one block; of the stem, the first normalisation alone."""

    weights1: Tensor | None
    norm1: Sequence[Tensor]
    weights2: Tensor | None
    norm2: Sequence[Tensor]

    @property
    def stride(self) -> int:
        """Of the first convolution: the kernels are made for as many times the channels."""
        w = self.weights1
        return 1 if w is None else w.shape[0] // w.shape[1]


def _blocks_of(parameters: Sequence[Tensor], stem: bool) -> Iterator[_Block]:
    if stem:
        yield _Block(None, parameters[:NORM], None, ())
        parameters = parameters[NORM:]
    for i in range(0, len(parameters), PARAMETERS):
        w1, a1, b1, w2, a2, b2 = parameters[i : i + PARAMETERS]
        yield _Block(w1, (a1, b1), w2, (a2, b2))


Results = tuple[Tensor, Tensor, list[Tensor], list[Tensor], list[Tensor], list[Tensor]]


@torch.library.custom_op("anneal_cpu_kernels::blocks", mutates_args=(), device_types="cpu")
def _blocks(
    x: Tensor,
    parameters: Sequence[Tensor],
    running: Tensor,
    stem: bool,
    eps: float,
    momentum: float,
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """Return the last block's output, the new running statistics, and what backward needs.

    That is the output of each block's first convolution, of its second one, of each block but the
    last, and the statistics of each block's normalisations.
    """
    y, followed, firsts, seconds, outputs, statistics = _results(
        x, parameters, running, stem, eps, momentum
    )
    followed.copy_(running)
    state = followed.data_ptr()
    fields: list[Tensor | int | None] = []
    before = x = x.contiguous(memory_format=torch.channels_last)
    blocks = list(_blocks_of(parameters, stem))
    laid = [(_laid(block.weights1), _laid(block.weights2)) for block in blocks]
    z1s, z2s = _with_stem(firsts, x, stem), _with_stem(seconds, None, stem)
    for i, after in enumerate([*outputs, y]):
        channels = after.shape[1]
        norms: list[tuple[Tensor | int | None, ...]] = []
        for norm in (blocks[i].norm1, blocks[i].norm2):
            rows = _rows(statistics[i])[STATISTICS * len(norms) :][:STATISTICS]
            norms.append((*norm, state, state + 4 * channels, *rows) if norm else (None,) * 8)
            state += 8 * channels if norm else 0
        fields += (*after.shape[2:], channels, blocks[i].stride, before, *laid[i])
        fields += (z1s[i], z2s[i], after, *norms[0], None, None, *norms[1], *(None,) * 4)
        before = after
    call(BLOCKS, "forward_blocks", *_table(fields), len(x), eps, momentum)
    return y, followed, firsts, seconds, outputs, statistics


@_blocks.register_fake
def _results(
    x: Tensor,
    parameters: Sequence[Tensor],
    running: Tensor,
    stem: bool,
    eps: float,
    momentum: float,
) -> Results:
    firsts, seconds, outputs, statistics = [], [], [], []
    y = x
    for block in _blocks_of(parameters, stem):
        _check(y, parameters, block.stride)
        batch, channels, height, width = y.shape
        shape = (batch, channels * block.stride, height // block.stride, width // block.stride)
        if block.weights1 is not None:
            firsts.append(_empty(shape))
            seconds.append(_empty(shape))
        y = _empty(shape)
        outputs.append(y)
        statistics.append(torch.empty(2 * STATISTICS, shape[1]))
    return y, torch.empty_like(running), firsts, seconds, outputs[:-1], statistics


@torch.library.custom_op(
    "anneal_cpu_kernels::blocks_backward",
    mutates_args=("seconds", "outputs", "gradients"),
    device_types="cpu",
)
def _blocks_backward(
    gradient: Tensor,
    x: Tensor,
    parameters: Sequence[Tensor],
    stem: bool,
    y: Tensor,
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    outputs: Sequence[Tensor],
    statistics: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> None:
    """Fill in the gradients of x and of each parameter; what was kept is overwritten."""
    before = x = x.contiguous(memory_format=torch.channels_last)
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    of_x, *of_parameters = gradients
    fields: list[Tensor | int | None] = []
    blocks = list(_blocks_of(parameters, stem))
    laid = [(_laid(block.weights1), _laid(block.weights2)) for block in blocks]
    z1s, z2s = _with_stem(firsts, x, stem), _with_stem(seconds, None, stem)
    for i, of in enumerate(_blocks_of(of_parameters, stem)):
        after = y if i == len(outputs) else outputs[i]
        rows = _rows(statistics[i])
        fields += (*after.shape[2:], after.shape[1], blocks[i].stride, before, *laid[i])
        fields += (z1s[i], z2s[i], after, blocks[i].norm1[0], *UNUSED, *rows[:STATISTICS])
        fields += of.norm1
        if of.norm2:
            fields += (blocks[i].norm2[0], *UNUSED, *rows[STATISTICS:], *of.norm2)
        else:
            fields += (None,) * 10
        fields += (of.weights1, of.weights2)
        before = after
    addresses = (gradient.data_ptr(), of_x.data_ptr())
    call(BLOCKS, "backward_blocks", *_table(fields), len(x), *addresses)


@_blocks_backward.register_fake
def _(*_arguments: object) -> None:
    return None


def _keep(
    ctx: Any, inputs: tuple[Tensor, list[Tensor], Tensor, bool, float, float], output: Results
) -> None:
    x, parameters, _, stem, _, _ = inputs
    y, followed, *kept = output
    ctx.save_for_backward(x, y, *parameters, *(tensor for part in kept for tensor in part))
    ctx.mark_non_differentiable(followed, *(tensor for part in kept for tensor in part))
    ctx.set_materialize_grads(False)
    ctx.stem, ctx.sizes, ctx.differentiated = stem, [len(parameters), *map(len, kept)], False


def _differentiate(ctx: Any, gradient: Tensor, *_unused: object) -> tuple[object, ...]:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "fused residual blocks have no second derivative: create_graph must be False"
        )
    if ctx.differentiated:
        raise RuntimeError(
            "the backward pass of fused residual blocks runs once, because it overwrites what the "
            "forward pass kept: call the network again"
        )
    ctx.differentiated = True
    x, y, *saved = ctx.saved_tensors
    parts = iter(saved)
    parameters, *kept = ([next(parts) for _ in range(size)] for size in ctx.sizes)
    of_x, *of_parameters = gradients = [_filled_later(tensor) for tensor in (x, *parameters)]
    _blocks_backward(gradient, x, parameters, ctx.stem, y, *kept, gradients)
    return of_x, of_parameters, None, None, None, None


_blocks.register_autograd(_differentiate, setup_context=_keep)


def _check(x: Tensor, parameters: Sequence[Tensor], stride: int) -> None:
    channels, height, width = x.shape[1:]
    if (
        x.device.type != "cpu"
        or x.dtype != torch.bfloat16
        or any(p.dtype != torch.float32 for p in parameters)
        or stride not in (1, 2)
        or channels not in CHANNELS
        or channels * stride not in CHANNELS
        or height % (SIDES * stride)
        or width % (SIDES * stride)
    ):
        raise ValueError(
            f"fused residual blocks take bfloat16 and float32 parameters on the CPU, {CHANNELS} "
            f"channels in and out and a stride of 1 or 2, with output sides in multiples of "
            f"{SIDES} px; got {x.dtype} on {x.device}, {tuple(x.shape)}, a stride of {stride}"
        )


def _with_stem(
    kept: Sequence[Tensor], of_stem: Tensor | None, stem: bool
) -> Sequence[Tensor | None]:
    return [of_stem, *kept] if stem else kept


def _laid(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.contiguous(memory_format=torch.channels_last)


def _empty(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, memory_format=torch.channels_last)


def _filled_later(tensor: Tensor) -> Tensor:
    """Return room for the gradient of a tensor, laid out as the kernels write it."""
    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return torch.empty(tensor.shape, dtype=tensor.dtype, memory_format=layout)


def _rows(table: Tensor) -> Sequence[int]:
    """Return the addresses of the rows of a float32 table."""
    first, row = table.data_ptr(), 4 * table.shape[1]
    return range(first, first + len(table) * row, row)


def _table(fields: Sequence[Tensor | int | None]) -> tuple["ctypes.Array[ctypes.c_void_p]", int]:
    """Return the ``Block``s of ``fused_residual.cpp`` that have these fields, and how many."""
    words = [p.data_ptr() if isinstance(p, Tensor) else p for p in fields]
    return (ctypes.c_void_p * len(words))(*words), len(words) // FIELDS
