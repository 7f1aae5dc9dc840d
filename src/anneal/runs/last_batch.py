"""Check of an epoch's last batch, which batch normalisation may be unable to learn from."""

import copy

import torch
from torch import nn

from anneal.datasets.batches import TrainingBatches


def check_batch_of_one(model: nn.Module, batches: TrainingBatches, last: int) -> None:
    """Try one image on a copy of the network where the last batch of an epoch has no more.

    Raises:
        ValueError: batch normalisation refuses it, since it needs two values of a channel.
    """
    if batches.num_images_of(last) != 1:
        return
    if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        return
    weight = next(model.parameters())
    image = torch.zeros((1, *batches.image_shape), device=weight.device)
    devices = [] if weight.device.type == "cpu" else [weight.device]
    with torch.random.fork_rng(devices, device_type=weight.device.type), torch.no_grad():
        try:
            copy.deepcopy(model).forward(image)  # forward alone: never compiled
        except ValueError as error:
            size = batches.batch_size
            way_out = (
                f"training.batch_size must be at least 2, got {size}"
                if size == 1
                else f"set dataset.drop_last=true, or another training.batch_size than {size}"
            )
            raise ValueError(
                f"the last batch of an epoch of {batches.num_images} images has one, which the "
                f"network's batch normalisation cannot learn from: {way_out} ({error})"
            ) from None
