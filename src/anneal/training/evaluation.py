"""Measuring a model on images it does not learn from (engine)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one pass over a set of images gives.

    Args:
        accuracy_pct: images whose most probable class is the right one, 0..100.
        top5_accuracy_pct: images whose class is among the five most probable, 0..100; None where
            that means nothing (ten classes or fewer).
        loss: mean cross entropy, nats.
        num_images: how many images that is.
    """

    accuracy_pct: float
    top5_accuracy_pct: float | None
    loss: float
    num_images: int


TOP5_NEEDS_CLASSES = 11  # with ten, chance alone is 50 %


@torch.no_grad()
def measure(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    precision: torch.dtype = torch.float32,
) -> Measurement:
    """Measure a model over all batches, in eval mode; the model's mode is put back after.

    Args:
        model: images (B, C, H, W) -> logits (B, classes).
        batches: pairs of images (B, C, H, W) and labels (B,).
        precision: of the forward pass (autocast); sums are kept in float64.

    Raises:
        ValueError: there is not a single image.
    """
    was_training = model.training
    model.eval()
    sums: torch.Tensor | None = None  # right, right in five, loss, images: read once, at the end
    classes = 0
    try:
        for images, labels in batches:
            with autocast(images.device, precision):
                logits_BC = model(images)
            logits_BC = logits_BC.float()
            classes = logits_BC.shape[1]
            five = logits_BC.topk(min(5, classes), dim=1).indices == labels[:, None]
            right = logits_BC.argmax(1) == labels
            loss = functional.cross_entropy(logits_BC, labels, reduction="sum")
            kind = torch.float32 if images.device.type == "mps" else torch.float64
            batch = torch.stack([right.sum().to(kind), five.any(1).sum().to(kind), loss.to(kind)])
            batch = torch.cat([batch, batch.new_tensor([len(labels)])])
            sums = batch if sums is None else sums + batch
    finally:
        model.train(was_training)
    if sums is None:
        raise ValueError("there must be at least one image to measure on")
    right_sum, five_sum, loss_sum, count = sums.tolist()
    return Measurement(
        accuracy_pct=100 * right_sum / count,
        top5_accuracy_pct=100 * five_sum / count if classes >= TOP5_NEEDS_CLASSES else None,
        loss=loss_sum / count,
        num_images=int(count),
    )


@torch.no_grad()
def predict(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    precision: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return a model's softmax outputs over all batches, in eval mode; its mode is put back after.

    Args:
        model: images (B, C, H, W) -> logits (B, classes).
        batches: pairs of images (B, C, H, W) and labels (B,), which are not looked at.
        precision: of the forward pass (autocast); the softmax is of float32 logits.

    Returns:
        float32 (images, classes) on the CPU, in the order of the batches.

    Raises:
        ValueError: there is not a single image.
    """
    was_training = model.training
    model.eval()
    outputs = []
    try:
        for images, _ in batches:
            with autocast(images.device, precision):
                logits_BC = model(images)
            outputs.append(logits_BC.float().softmax(dim=1).cpu())
    finally:
        model.train(was_training)
    if not outputs:
        raise ValueError("there must be at least one image to predict for")
    return torch.cat(outputs)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Return the context in which a forward pass runs at ``precision``."""
    enabled = precision != torch.float32
    return torch.autocast(device.type, dtype=precision if enabled else None, enabled=enabled)
