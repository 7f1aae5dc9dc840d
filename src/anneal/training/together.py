"""Parts of an update in one forward pass, each normalised by the statistics of its own batch.

Images of P parts are interleaved: image b of part p is number b * P + p. Batch normalisation then
sees them as images of P times as many channels, in the same memory. So an update has as many
operations as one part. Its loss is the mean over all images, which is that of the parts' means.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from anneal.training.running_statistics import Layer, RunningStatistics
from anneal.training.seeding import drawn_since, random_state


def check_sizes(sizes: Iterable[int]) -> None:
    """Check that the parts of an update have the same number of images.

    Raises:
        ValueError: they have not.
    """
    different = sorted(set(sizes))
    if len(different) > 1:
        raise ValueError(
            "hardware.parts must be apart where parts have different numbers of images, got "
            f"{' and '.join(map(str, different))} (dataset.drop_last=true drops a partial batch)"
        )


def interleave(batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return images and labels of parts as one batch, an image of each part in turn.

    Raises:
        ValueError: the parts have different numbers of images.
    """
    if len(batches) == 1:
        return batches[0]
    check_sizes(len(labels) for _, labels in batches)
    images, labels = (torch.stack(each, dim=1).flatten(0, 1) for each in zip(*batches, strict=True))
    if not batches[0][0].is_contiguous():
        images = images.contiguous(memory_format=torch.channels_last)
    return images, labels


class _Blocks:
    """Vectors repeated for each part, as blocks of one flat tensor: (P, n) of each, flattened.

    Args:
        sizes: n of each vector.
        num_parts: P.
        device: of the flat tensor.
    """

    def __init__(self, sizes: Sequence[int], num_parts: int, device: torch.device) -> None:
        self.sizes = [num_parts * size for size in sizes]
        blocks = torch.split(torch.arange(sum(self.sizes)), self.sizes)
        places = torch.cat([block.view(num_parts, -1) for block in blocks], dim=1)
        source = torch.empty(sum(self.sizes), dtype=torch.int64)
        source[places] = torch.arange(sum(sizes)).expand(num_parts, -1)
        self.places = places.to(device)  # (P, all n): of each part's values
        self.source = source.to(device)  # where each value comes from


class _ForEachPart(torch.autograd.Function):
    """Vectors for each part; the gradient is the sum of the parts' gradients, None if unused."""

    @staticmethod
    def forward(ctx: Any, blocks: _Blocks, *vectors: Tensor) -> tuple[Tensor, ...]:
        ctx.blocks, ctx.sizes = blocks, [len(vector) for vector in vectors]
        ctx.set_materialize_grads(False)
        return torch.split(torch.cat(vectors).take(blocks.source), blocks.sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        some = next(gradient for gradient in gradients if gradient is not None)
        flat = torch.cat(
            [
                some.new_zeros(size) if gradient is None else gradient
                for gradient, size in zip(gradients, ctx.blocks.sizes, strict=True)
            ]
        )
        sums = torch.split(flat.take(ctx.blocks.places).sum(0), ctx.sizes)
        return None, *(None if g is None else s for g, s in zip(gradients, sums, strict=True))


class PartwiseNorms:
    """Batch normalisation of several parts in one forward pass, in all layers of a network.

    Args:
        model: in train mode.
        statistics: its running statistics, which get what each part adds.
        num_parts: in one forward pass.

    Raises:
        ValueError: a layer keeps statistics of a batch in a way that is not known here.
    """

    def __init__(self, model: nn.Module, statistics: RunningStatistics, num_parts: int) -> None:
        _refuse_unknown(model)
        self._statistics, self._num_parts = statistics, num_parts
        self._layers = statistics.layers
        self._ran = [False] * len(self._layers)
        self._ran_rows: dict[tuple[bool, ...], Tensor] = {}
        self._checked = num_parts == 1  # draws of one part are those of its own stream
        self._forwards: list[Callable[[Tensor], Tensor]] = []
        self._affine = [(layer.module.weight, layer.module.bias) for layer in self._layers]
        self._for_each_part = self._affine
        self._vectors = [vector for pair in self._affine for vector in pair if vector is not None]
        if not self._layers:
            return
        sums = [tensor for layer in self._layers for tensor in layer.sums]
        device = sums[0].device
        self._blocks = _Blocks([tensor.numel() for tensor in sums], num_parts, device)
        self._added = sums[0].new_ones(sum(self._blocks.sizes))  # that of a count stays at 1
        self._factors = torch.cat(
            [t.new_full((t.numel(),), _factor(layer)) for layer in self._layers for t in layer.sums]
        )
        blocks = iter(torch.split(self._added, self._blocks.sizes))
        for number, layer in enumerate(self._layers):
            mean, variance, *_ = [next(blocks) for _ in layer.sums]
            self._forwards.append(partial(self._normalise, number, mean, variance))
        if self._vectors:
            self._vector_blocks = _Blocks(
                [len(vector) for vector in self._vectors], num_parts, device
            )

    @contextmanager
    def forward_pass(self) -> Iterator[None]:
        """Normalise each part by itself inside; then give the statistics what each part adds.

        Raises:
            ValueError: the forward pass draws random numbers, which parts do not share.
        """
        before = None if self._checked else random_state()
        self._ran = [False] * len(self._layers)
        if self._layers:
            self._added.fill_(1.0)  # torch multiplies what is there by 0, and 0 * inf is NaN
        if self._num_parts > 1 and self._vectors:
            vectors = iter(_ForEachPart.apply(self._vector_blocks, *self._vectors))  # type: ignore[no-untyped-call]
            self._for_each_part = [
                (w if w is None else next(vectors), b if b is None else next(vectors))
                for w, b in self._affine
            ]
        for layer, forward in zip(self._layers, self._forwards, strict=True):
            layer.module.__dict__["forward"] = forward
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.module.__dict__["forward"]
            self._for_each_part = self._affine
        if before is not None and drawn_since(before):
            raise ValueError(
                "hardware.parts must be apart for a network that draws random numbers in a forward "
                "pass (dropout, stochastic depth): each part has a stream of its own"
            )
        self._checked = True
        if self._layers:
            self._statistics.add(self._rows())

    def _normalise(self, number: int, mean: Tensor, variance: Tensor, x: Tensor) -> Tensor:
        """Normalise (B * P, C, ...) in a layer; write each part's statistics, P * C of both."""
        layer = self._layers[number]
        if self._ran[number]:
            raise ValueError(
                "hardware.parts must be apart where a layer runs twice in a forward pass, "
                f"{layer.name} does"
            )
        self._ran[number] = True
        weight, bias = self._for_each_part[number]
        parts, eps = self._num_parts, layer.module.eps
        grouped = x
        if parts > 1:
            grouped = x.reshape(len(x) // parts, parts * x.shape[1], *x.shape[2:])
        # With momentum 1 torch writes the batch's own mean and unbiased variance.
        normalised = functional.batch_norm(
            grouped, mean, variance, weight, bias, training=True, momentum=1.0, eps=eps
        )
        return normalised.reshape(x.shape)

    def _rows(self) -> Tensor:
        """Return what each part adds to all sums, then 1 for each layer that ran."""
        key = tuple(self._ran)
        if key not in self._ran_rows:
            ran = torch.tensor(key, dtype=self._added.dtype, device=self._added.device)
            self._ran_rows[key] = ran.expand(self._num_parts, -1)
        sums = self._added.take(self._blocks.places) * self._factors
        return torch.cat([sums, self._ran_rows[key]], dim=1)


def _factor(layer: Layer) -> float:
    """Return how much of a batch's statistics a layer adds: torch's averages, Caffe's sums."""
    return 1 - layer.keep if layer.counted else 1.0


def _refuse_unknown(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if not isinstance(module, _NormBase) or not module.training:
            continue
        known = module.running_mean is None  # an instance's own statistics
        if isinstance(module, _BatchNorm):
            plain = type(module).forward is _BatchNorm.forward and "forward" not in vars(module)
            known = plain and not known
        if not known:
            raise ValueError(
                "hardware.parts must be apart where batch normalisation is not torch's or Caffe's "
                f"with running statistics, {name} is {type(module).__name__}"
            )
