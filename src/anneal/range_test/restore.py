"""Restore a model, an optimizer and random streams bit for bit."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from anneal.training.seeding import random_state, restore_random_state


def remember(
    model: nn.Module, optimizer: torch.optim.Optimizer, generators: Sequence[torch.Generator] = ()
) -> Callable[[], None]:
    """Return a function that restores the present state of model, optimizer and random streams.

    Tensors are put back into the same objects, so that whatever else holds them (an exponential
    average, a captured graph) keeps holding the right ones.
    """
    random = random_state()
    streams = [(generator, generator.get_state()) for generator in generators]
    modes = [(module, module.training) for module in model.modules()]
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [p for group in optimizer.param_groups for p in group["params"]]
    values = [(tensor, tensor.detach().clone()) for tensor in tensors]
    gradients = [(t, _keep(t.grad)) for t in tensors if isinstance(t, nn.Parameter)]
    state = {parameter: _keep(value) for parameter, value in optimizer.state.items()}
    groups = [
        (group, {key: _keep(value) for key, value in group.items() if key != "params"})
        for group in optimizer.param_groups
    ]

    @torch.no_grad()
    def put_back() -> None:
        for tensor, value in values:
            tensor.copy_(value)
        for tensor, gradient in gradients:
            tensor.grad = gradient()
        for module, mode in modes:
            module.training = mode
        optimizer.state.clear()
        optimizer.state.update({parameter: kept() for parameter, kept in state.items()})
        for group, options in groups:
            for key in group.keys() - options.keys() - {"params"}:
                del group[key]
            group.update({key: kept() for key, kept in options.items()})
        restore_random_state(random)
        for generator, stream in streams:
            generator.set_state(stream)

    return put_back


def _keep(value: Any) -> Callable[[], Any]:
    """Return a function that returns the present state of ``value``."""
    if isinstance(value, torch.Tensor):
        copied = value.detach().clone()
        return lambda: value.copy_(copied)
    if isinstance(value, dict):
        kept = {key: _keep(item) for key, item in value.items()}
        return lambda: {key: item() for key, item in kept.items()}
    if isinstance(value, list):
        items = [_keep(item) for item in value]
        return lambda: [item() for item in items]
    untouched = copy.deepcopy(value)
    return lambda: untouched


def training_modes(model: nn.Module) -> Callable[[], None]:
    """Return a function that sets train mode; modules that were in eval mode stay in it.

    A model that is in eval mode as a whole trains with all its modules.
    """
    frozen = [m for m in model.modules() if not m.training] if model.training else []

    def set_modes() -> None:
        model.train()
        for module in frozen:
            module.training = False

    return set_modes
