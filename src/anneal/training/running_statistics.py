"""Running statistics of batch normalisation, of all parts in part order on any number of processes.

In training no layer reads them. So each part starts from zeros and leaves what its batch adds, and
the parts of all processes are then added up one after the other, as one process would do.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from anneal.training.parts import Parts


@runtime_checkable
class KeepsSums(Protocol):
    """A layer whose buffers become ``keep * before + batch`` at each batch."""

    def running_sums(self) -> tuple[Sequence[Tensor], Tensor, float]:
        """Return the buffers, the one of them that counts (batch = 1), and ``keep``."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """One layer's statistics.

    Args:
        sums: become ``keep * before + batch``.
        count: after a batch that started from zeros it is 1, and 0 without one.
        counted: whether ``count`` is a plain counter, and no sum.
    """

    sums: Sequence[Tensor]
    count: Tensor
    keep: float
    counted: bool


class RunningStatistics:
    """The running statistics of a model.

    Args:
        model: in train mode.

    Raises:
        ValueError: a layer averages over all batches (``momentum: None``).
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._layers = list(_layers_of(model))
        self._sums = [tensor for layer in self._layers for tensor in layer.sums]
        self._counters = [layer.count for layer in self._layers if layer.counted]
        self._parts: list[Tensor] = []
        self._other = _other_buffers(model, {id(t) for t in (*self._sums, *self._counters)})
        if self._layers:
            sizes = torch.tensor([sum(t.numel() for t in layer.sums) for layer in self._layers])
            device = self._sums[0].device
            keep = torch.tensor([layer.keep for layer in self._layers], dtype=torch.float64)
            self._layer_of = torch.arange(len(self._layers)).repeat_interleave(sizes).to(device)
            self._keep = keep.to(self._sums[0].dtype).to(device)[self._layer_of]

    @contextmanager
    def of_update(self, parts: Parts) -> Iterator[None]:
        """Collect the parts of an update; add up those of all processes at the end."""
        sums, counts = _flat(self._sums), [counter.clone() for counter in self._counters]
        self._parts = []
        yield
        self._refuse_other_changes()
        if not self._layers:
            return
        num_sums = len(self._layer_of)
        ran = self._layer_of.new_zeros(len(self._layers))
        for row in parts.gather(torch.stack(self._parts)):
            took_part = row[num_sums:] > 0
            sums = torch.where(took_part[self._layer_of], self._keep * sums + row[:num_sums], sums)
            ran = ran + took_part
        for tensor, value in zip(
            self._sums, torch.split(sums, [t.numel() for t in self._sums]), strict=True
        ):
            tensor.copy_(value.view(tensor.shape))
        counted = [number for number, layer in enumerate(self._layers) if layer.counted]
        for number, counter, before in zip(counted, self._counters, counts, strict=True):
            counter.copy_(before + ran[number])

    @contextmanager
    def of_part(self) -> Iterator[None]:
        """Collect what the forward pass inside adds."""
        for tensor in (*self._sums, *self._counters):
            tensor.zero_()
        yield
        if self._layers:
            counts = torch.stack([layer.count for layer in self._layers])
            self._parts.append(torch.cat([_flat(self._sums), counts.to(self._sums[0].dtype)]))

    def _refuse_other_changes(self) -> None:
        """Refuse, once, buffers that a forward pass changes and that no known layer owns."""
        buffers = dict(self._model.named_buffers())
        for name, before in self._other.items():
            if not torch.equal(before, buffers[name]):
                raise ValueError(
                    f"several processes need to know how the buffer {name} of the network changes "
                    "in a forward pass, and only that of batch normalisation is known; "
                    "hardware.processes must be 1"
                )
        self._other = {}


def _layers_of(model: nn.Module) -> Iterator[_Layer]:
    for name, module in model.named_modules():
        if isinstance(module, KeepsSums):
            sums, count, keep = module.running_sums()
            yield _Layer(sums, count, keep, counted=False)
        elif isinstance(module, _NormBase) and module.training and module.running_mean is not None:
            if module.momentum is None:
                raise ValueError(
                    f"several processes need a momentum of batch normalisation, {name} has None"
                )
            assert module.running_var is not None
            assert module.num_batches_tracked is not None
            sums = (module.running_mean, module.running_var)
            yield _Layer(sums, module.num_batches_tracked, 1 - module.momentum, counted=True)


def _other_buffers(model: nn.Module, known: set[int]) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in model.named_buffers() if id(t) not in known}


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors]) if tensors else torch.empty(0)
