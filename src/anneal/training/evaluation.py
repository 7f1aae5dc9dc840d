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
    """Result of one evaluation.

    Args:
        accuracy_pct: percentage of images whose most probable class is the label.
        top5_accuracy_pct: percentage of images whose label is among the five most probable
            classes; None for ten classes or fewer.
        loss: mean cross entropy, nats.
        num_images: number of images.
    """

    accuracy_pct: float
    top5_accuracy_pct: float | None
    loss: float
    num_images: int


TOP5_NEEDS_CLASSES = 11  # with ten, chance alone is 50 %


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Set a model to eval mode; restore the mode of each module afterwards."""
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
    """Evaluate a classifier over all batches in eval mode; restore the mode of each module.

    Args:
        model: images (B, C, H, W) -> logits (B, classes).
        batches: pairs of images (B, C, H, W) and labels (B,); of several processes each has its
            own, and may have none.
        precision: of the forward pass (autocast); sums are kept in float64.
        parts: the processes whose sums are added up.

    Raises:
        ValueError: there are no images, or logits and labels have other shapes.
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
    """Return the softmax outputs over all batches in eval mode; restore the mode of each module.

    Args:
        model: images (B, C, H, W) -> logits (B, classes).
        batches: pairs of images (B, C, H, W) and labels (B,), which are not used.
        precision: of the forward pass (autocast); the softmax is of float32 logits.

    Returns:
        float32 (images, classes) on the CPU, in the order of the batches.

    Raises:
        ValueError: there are no images.
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
    """Refuse outputs and labels that are not of a classifier with one class for each input.

    Raises:
        ValueError: logits are not floats (B, classes >= 2), or labels are not integers (B,).
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
