"""Running statistics of batch normalisation, of all parts in part order on any number of processes.

In training no layer reads them. So each part starts from zeros and leaves what its batch adds, and
the parts of all processes are then added up one after the other, as one process would do. Parts in
one forward pass (``anneal.training.together``) say themselves what each of them adds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from anneal.training.parts import Parts


@runtime_checkable
class KeepsSums(Protocol):
    """Batch normalisation whose buffers become ``keep * before + batch`` at each batch."""

    def running_sums(self) -> tuple[Sequence[Tensor], Tensor, float]:
        """Return mean, variance and count (batch = 1), the one that counts, and ``keep``."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer's statistics.

    Args:
        name: of the layer in the network.
        module: the layer, with ``weight``, ``bias`` and ``eps``.
        sums: become ``keep * before + batch``.
        count: after a batch that started from zeros it is 1, and 0 without one.
        counted: whether ``count`` is a plain counter, and no sum.
    """

    name: str
    module: Any
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
        self.layers = list(_layers_of(model))
        buffers = [tensor for layer in self.layers for tensor in layer.sums]
        self._sums = [tensor.view(-1) for tensor in buffers]  # the same memory
        self._counters = [layer.count for layer in self.layers if layer.counted]
        counted = [number for number, layer in enumerate(self.layers) if layer.counted]
        self._counted = torch.tensor(counted, dtype=torch.int64)
        self._parts: list[Tensor] = []
        self._other = _other_buffers(model, {id(t) for t in (*buffers, *self._counters)})
        if self.layers:
            sizes = torch.tensor([sum(t.numel() for t in layer.sums) for layer in self.layers])
            device = self._sums[0].device
            keep = torch.tensor([layer.keep for layer in self.layers], dtype=torch.float64)
            self._layer_of = torch.arange(len(self.layers)).repeat_interleave(sizes).to(device)
            self._keep = keep.to(self._sums[0].dtype).to(device)[self._layer_of]
            self._counted = self._counted.to(device)

    @contextmanager
    def of_update(self, parts: Parts) -> Iterator[None]:
        """Collect the parts of an update; add up those of all processes at the end."""
        sums, counts = _flat(self._sums), torch.stack(self._counters or [torch.zeros(())])
        self._parts = []
        yield
        self._refuse_other_changes()
        if not self.layers:
            return
        num_sums = len(self._layer_of)
        ran = self._layer_of.new_zeros(len(self.layers))
        for row in parts.gather(torch.cat(self._parts)):
            took_part = row[num_sums:] > 0
            sums = torch.where(took_part[self._layer_of], self._keep * sums + row[:num_sums], sums)
            ran = ran + took_part
        values = torch.split(sums, [t.numel() for t in self._sums])
        torch._foreach_copy_(self._sums, values)
        if self._counters:
            torch._foreach_copy_(self._counters, (counts + ran[self._counted]).unbind())

    @contextmanager
    def of_part(self) -> Iterator[None]:
        """Collect what the forward pass inside adds."""
        for tensor in (*self._sums, *self._counters):
            tensor.zero_()
        yield
        if self.layers:
            counts = torch.stack([layer.count for layer in self.layers])
            self.add(torch.cat([_flat(self._sums), counts.to(self._sums[0].dtype)])[None])

    def add(self, rows: Tensor) -> None:
        """Collect what parts of this process add: the sums, then 1 for each layer that ran."""
        self._parts.append(rows)

    def _refuse_other_changes(self) -> None:
        """Refuse, once, buffers that a forward pass changes and that no known layer owns."""
        buffers = dict(self._model.named_buffers())
        for name, before in self._other.items():
            if not torch.equal(before, buffers[name]):
                raise ValueError(
                    "several processes, and parts together, need to know how the buffer "
                    f"{name} of the network changes in a forward pass, and only that of batch "
                    "normalisation is known; hardware.processes must be 1 and hardware.parts apart"
                )
        self._other = {}


def _layers_of(model: nn.Module) -> Iterator[Layer]:
    for name, module in model.named_modules():
        if not module.training:
            continue
        if isinstance(module, KeepsSums):
            sums, count, keep = module.running_sums()
            yield Layer(name, module, sums, count, keep, counted=False)
        elif isinstance(module, _NormBase) and module.running_mean is not None:
            if module.momentum is None:
                raise ValueError(
                    "several processes, and parts together, need a momentum of batch "
                    f"normalisation, {name} has None"
                )
            assert module.running_var is not None
            assert module.num_batches_tracked is not None
            sums = (module.running_mean, module.running_var)
            count, keep = module.num_batches_tracked, 1 - module.momentum
            yield Layer(name, module, sums, count, keep, counted=True)


def _other_buffers(model: nn.Module, known: set[int]) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in model.named_buffers() if id(t) not in known}


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(tensors)) if tensors else torch.empty(0)
