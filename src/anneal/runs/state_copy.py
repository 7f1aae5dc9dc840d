"""Copy of a training state, for a thread that writes it while the run goes on."""

import copy
from typing import Any

import torch


class StateCopy:
    """Copy of a state of tensors and plain data on the host.

    From CUDA, tensors are copied to pinned memory by the stream of the updates: after the updates
    made and before those that follow, and without waiting for either.

    Args:
        state: dictionaries, lists and tuples of tensors and plain data.
    """

    def __init__(self, state: Any) -> None:
        self._copies: dict[tuple[Any, ...], torch.Tensor] = {}
        self._content = self._copied(state)
        self._arrived: torch.cuda.Event | None = None
        if any(one.is_pinned() for one in self._copies.values()):
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def content(self) -> Any:
        """Return the copy; wait until all of it has arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._content

    def _copied(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._of_tensor(value.detach())
        if isinstance(value, dict):
            found = copy.copy(value)  # a module's has the versions of its layers as an attribute
            found.update((key, self._copied(one)) for key, one in value.items())
            return found
        if isinstance(value, list | tuple):
            return type(value)(self._copied(one) for one in value)
        return value

    def _of_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the copy of a tensor; two that share their memory share the copy."""
        place = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tensor.dtype,
            tuple(tensor.shape),
            tensor.stride(),
        )
        if place not in self._copies:
            on_cuda = tensor.is_cuda
            host = torch.empty_like(tensor, device="cpu", pin_memory=on_cuda)
            self._copies[place] = host.copy_(tensor, non_blocking=on_cuda)
        return self._copies[place]
