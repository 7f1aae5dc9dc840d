"""Evaluate a model: accuracy, loss and softmax outputs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from anneal.training.parts import ALONE, Parts


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


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode, and each of its modules back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def measure(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    precision: torch.dtype = torch.float32,
    parts: Parts = ALONE,
) -> Measurement:
    """Measure a classifier over all batches in eval mode; each module's mode is put back after.

    Args:
        model: images (B, C, H, W) -> logits (B, classes).
        batches: pairs of images (B, C, H, W) and labels (B,); of several processes each has its
            own, and may have none.
        precision: of the forward pass (autocast); sums are kept in float64.
        parts: the processes whose sums are added up.

    Raises:
        ValueError: there is not a single image, or logits and labels are not of these shapes.
    """
    # right, right in five, loss, images, images x classes: read once, at the end
    sums: torch.Tensor | None = None
    with eval_mode(model):
        for images, labels in batches:
            with autocast(images.device, precision):
                logits_BC = model(images)
            check_classifies(logits_BC, labels)
            logits_BC = logits_BC.float()
            classes = logits_BC.shape[1]
            five = logits_BC.topk(min(5, classes), dim=1).indices == labels[:, None]
            right = logits_BC.argmax(1) == labels
            loss = functional.cross_entropy(logits_BC, labels, reduction="sum")
            kind = torch.float32 if images.device.type == "mps" else torch.float64
            batch = torch.stack([right.sum().to(kind), five.any(1).sum().to(kind), loss.to(kind)])
            batch = torch.cat([batch, batch.new_tensor([len(labels), len(labels) * classes])])
            sums = batch if sums is None else sums + batch
    if sums is None and parts.leads:
        raise ValueError("there must be at least one image to measure on")
    if sums is None:
        sums = torch.zeros(5, dtype=torch.float64, device=next(model.parameters()).device)
    right_sum, five_sum, loss_sum, count, all_classes = parts.sum(sums).tolist()
    return Measurement(
        accuracy_pct=100 * right_sum / count,
        top5_accuracy_pct=(
            100 * five_sum / count if all_classes >= TOP5_NEEDS_CLASSES * count else None
        ),
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
    """Return a model's softmax outputs over all batches, in eval mode; its modes are put back.

    Args:
        model: images (B, C, H, W) -> logits (B, classes).
        batches: pairs of images (B, C, H, W) and labels (B,), which are not looked at.
        precision: of the forward pass (autocast); the softmax is of float32 logits.

    Returns:
        float32 (images, classes) on the CPU, in the order of the batches.

    Raises:
        ValueError: there is not a single image.
    """
    outputs = []
    with eval_mode(model):
        for images, _ in batches:
            with autocast(images.device, precision):
                logits_BC = model(images)
            outputs.append(logits_BC.float().softmax(dim=1).cpu())
    if not outputs:
        raise ValueError("there must be at least one image to predict for")
    return torch.cat(outputs)


def check_classifies(logits: object, labels: object) -> None:
    """Refuse outputs and labels that have no accuracy: only one class for each input has one.

    Raises:
        ValueError: logits are no floats (B, classes >= 2), or labels no integers (B,).
    """

    def shown(value: object) -> str:
        if isinstance(value, torch.Tensor):
            return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        return type(value).__name__

    if not (
        isinstance(logits, torch.Tensor)
        and isinstance(labels, torch.Tensor)
        and logits.is_floating_point()
        and logits.ndim == 2
        and logits.shape[1] >= 2
        and labels.shape == logits.shape[:1]
        and labels.dtype in (torch.int64, torch.int32, torch.uint8, torch.int16, torch.int8)
    ):
        raise ValueError(
            "accuracy needs logits (B, classes) of two classes or more and integer labels (B,), "
            f"got outputs {shown(logits)} and labels {shown(labels)}; for another task give "
            "sweep_rates an `evaluate` of your own"
        )


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Return the context in which a forward pass runs at ``precision``."""
    enabled = precision != torch.float32
    return torch.autocast(device.type, dtype=precision if enabled else None, enabled=enabled)
