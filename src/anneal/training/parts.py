"""Parts of an update on one or several processes, and their collective operations.

An update has A parts, one batch each. Of W processes the one of rank r computes parts r*A/W to
(r + 1)*A/W - 1, so that neither order nor schedule knows W. Weights, optimizer state and running
statistics are equal on all of them after each update.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")

ANSWER_SECONDS = 2.0  # how long processes whose wait timed out look for others


class LostProcess(RuntimeError):  # noqa: N818 - not a mistake of this process
    """Another process of the run ended or does not answer."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """This process among those that compute a run: alone, or one rank of several.

    With several, torch's process group must be there; its tensors on the CPU go through gloo.
    Every method but :meth:`share` has to be called by all ranks, in the same order.

    Args:
        rank: of this process, from 0.
        size: number of processes.
        patience_seconds: how long one waits for another, as the process group does.
        store: key-value store that the processes share; None with one process.
    """

    rank: int = 0
    size: int = 1
    patience_seconds: float = 600.0
    store: Any = None

    @property
    def leads(self) -> bool:
        """Return whether this is rank 0, which writes the run's directory and prints."""
        return self.rank == 0

    def share(self, accumulation: int) -> range:
        """Return the parts of an update that this process computes.

        >>> [list(Parts(rank=rank, size=2).share(4)) for rank in (0, 1)]
        [[0, 1], [2, 3]]

        Raises:
            ValueError: the parts cannot be divided among the processes.
        """
        if accumulation % self.size:
            raise ValueError(
                f"the number of processes must divide the {accumulation} parts of an update, "
                f"got {self.size}"
            )
        each = accumulation // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def following(self, number: int, accumulation: int) -> int:
        """Return the number of the batch that this process takes after batch ``number``.

        >>> [Parts(rank=1, size=2).following(number, 4) for number in (2, 3)]
        [3, 6]
        """
        update, part = divmod(number, accumulation)
        share = self.share(accumulation)
        return number + 1 if part + 1 in share else (update + 1) * accumulation + share.start

    def sum_gradients(self, weights: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Add up the gradients of all processes in place; return the sum of their losses.

        One flat all-reduce. A weight that took part on no process keeps no gradient. A loss that
        is no finite number on any process is none in the sum, so that all see it.

        Args:
            weights: those that are trained.
            loss: scalar, the sum over this process's parts.
        """
        if self.size == 1:
            return loss
        missing = [number for number, weight in enumerate(weights) if weight.grad is None]
        there = torch.ones(len(weights) + 1)
        for number in missing:
            weights[number].grad = torch.zeros_like(weights[number])
            there[number] = 0
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        there = there.to(loss.device, loss.dtype)
        there[-1] = loss
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), there])
        self._wait_for(lambda: distributed.all_reduce(flat))
        sizes = [gradient.numel() for gradient in gradients]
        *summed, there = torch.split(flat, [*sizes, len(there)])
        for gradient, values in zip(gradients, summed, strict=True):
            gradient.copy_(values.view(gradient.shape))
        if missing:  # the others need not read it: on a GPU that would wait for the update
            took_part = there.tolist()
            for number in missing:
                if took_part[number] == 0:
                    weights[number].grad = None
        total: Tensor = there[-1].to(loss.dtype)
        return total

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of all processes' tensors of one shape."""
        if self.size > 1:
            self._wait_for(lambda: distributed.all_reduce(values))
        return values

    def gather(self, rows: Tensor) -> Tensor:
        """Return all processes' rows (n, ...), those of rank 0 first: (size * n, ...)."""
        if self.size == 1:
            return rows
        all_rows = [torch.empty_like(rows) for _ in range(self.size)]
        self._wait_for(lambda: distributed.all_gather(all_rows, rows))
        return torch.cat(all_rows)

    def largest(self, number: int) -> int:
        """Return the largest number that any process has; of signals, one that any received."""
        if self.size == 1:
            return number
        agreed = torch.tensor(number)
        operation = distributed.ReduceOp.MAX
        self._wait_for(lambda: distributed.all_reduce(agreed, op=operation))
        return int(agreed)

    def shared(self, answer: Callable[[], T]) -> T:
        """Return the result of ``answer``, which is called on rank 0 only."""
        if self.size == 1:
            return answer()
        box = [answer() if self.leads else None]
        self._wait_for(lambda: distributed.broadcast_object_list(box, src=0))
        value: Any = box[0]
        return value  # type: ignore[no-any-return]

    def _wait_for(self, exchange: Callable[[], object]) -> None:
        """Run a collective operation; raise when a process does not take part.

        Raises:
            LostProcess: one of them ended, or kept the others waiting for longer than patience.
        """
        began = time.monotonic()
        try:
            exchange()
        except RuntimeError as error:
            if time.monotonic() - began < self.patience_seconds * 0.9:
                raise LostProcess(f"another of {self.size} processes ended") from error
            silent = ", ".join(map(str, self._silent())) or "unknown"
            raise LostProcess(
                f"rank {silent} of {self.size} did not answer for {self.patience_seconds:g} "
                "seconds (hardware.patience)"
            ) from error

    def _silent(self) -> Iterator[int]:
        """Return the ranks that did not time out as this one did: they hang."""
        with contextlib.suppress(RuntimeError):  # the store is gone, or hangs
            self.store.set_timeout(timedelta(seconds=ANSWER_SECONDS))
            self.store.set(f"waiting/{self.rank}", "")
            time.sleep(ANSWER_SECONDS)
            for rank in range(self.size):
                if not self.store.check([f"waiting/{rank}"]):
                    yield rank


ALONE = Parts()
