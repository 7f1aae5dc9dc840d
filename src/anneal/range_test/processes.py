"""Means over the processes of a distributed range test, so that all see one curve."""

import dataclasses

import torch
from torch import distributed, nn

from anneal.training.evaluation import Measurement

Measured = Measurement | float


def mean_loss(losses: torch.Tensor) -> torch.Tensor:
    """Return losses as their mean over the processes, on the CPU in float64."""
    if not _are_several():
        return losses.cpu().double()
    losses = losses.double()
    distributed.all_reduce(losses)
    return losses.cpu() / distributed.get_world_size()


def mean_measurement(measured: Measured, *, model: nn.Module) -> Measured:
    """Return the mean of a measurement of a model over the processes, weighted by their images."""
    if not _are_several():
        return measured
    device = next(model.parameters()).device
    if not isinstance(measured, Measurement):
        return float(mean_loss(torch.tensor(float(measured), device=device)))
    top5 = measured.top5_accuracy_pct
    values = [measured.accuracy_pct, measured.loss, 0.0 if top5 is None else top5]
    sums = [*(measured.num_images * value for value in values), measured.num_images]
    total = torch.tensor(sums, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    accuracy, loss, top5_mean, num_images = total.tolist()
    return dataclasses.replace(
        measured,
        accuracy_pct=accuracy / num_images,
        loss=loss / num_images,
        top5_accuracy_pct=None if top5 is None else top5_mean / num_images,
        num_images=round(num_images),
    )


def _are_several() -> bool:
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )
