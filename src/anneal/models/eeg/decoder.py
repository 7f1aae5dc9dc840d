"""Decode trials: crops in training, all windows of a trial in evaluation.

Shapes: B trials, C sensors, T samples of a trial, K classes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from anneal.models.registry import SIGNAL_NETWORKS


class TrialDecoder(nn.Module):
    """A network whose outputs are averaged over a trial (Schirrmeister et al. 2017, section 2.5.2).

    In training it gives the network's logits for a crop, (B, K, outputs), each of which has the
    trial's label. In evaluation it gives the mean log-probability of each class over the outputs of
    all crops of a trial, (B, K); an output that two crops share counts once.

    Args:
        network: Signals (B, C, samples) -> logits (B, K, outputs), dense where there are crops.
        crop_samples: Length of a crop; None: the whole trial.
        outputs: How many the network gives for a crop, or for a trial.
    """

    def __init__(self, network: nn.Module, *, crop_samples: int | None, outputs: int) -> None:
        super().__init__()
        self.network = network
        self.crop_samples = crop_samples
        self.outputs = outputs

    def forward(self, signals_BCT: Tensor) -> Tensor:  # noqa: D102
        if self.training:
            logits: Tensor = self.network(signals_BCT)
            return logits
        samples = signals_BCT.shape[2]
        crop = self.crop_samples or samples
        last = samples - crop
        total, counted = None, 0  # outputs so far, which are one sample apart
        for start in [*range(0, last, self.outputs), last]:
            logits = self.network(signals_BCT[..., start : start + crop])
            exact = torch.promote_types(logits.dtype, torch.float32)
            fresh = logits.log_softmax(1, dtype=exact)[..., counted - start :].sum(2)
            total = fresh if total is None else total + fresh
            counted = start + self.outputs
        assert total is not None
        return total / counted


def build_decoder(
    *,
    architecture: str,
    arguments: Mapping[str, Any],
    num_classes: int,
    channels: int,
    samples: int,
    crop_samples: int | None,
) -> TrialDecoder:
    """Build a network for signals with random weights, and what decodes trials with it.

    It is tried once on a blank signal, so that what cannot take this data fails here.

    Args:
        architecture: One of this package's networks for signals.
        arguments: Further keywords for its constructor.
        num_classes: Width of the output.
        channels: Sensors.
        samples: Of a trial.
        crop_samples: Of a crop; None: no crops, and the network has strides.

    Raises:
        ValueError: There is no such network, an argument is refused, or a crop is too short.
    """
    if architecture not in SIGNAL_NETWORKS:
        raise ValueError(
            f"model.architecture must be one of {', '.join(sorted(SIGNAL_NETWORKS))} for signals, "
            f"got {architecture!r}"
        )
    if "dense" in arguments:
        raise ValueError(
            f"arguments of {architecture} must not hold dense: it follows from "
            "dataset.signal.crop_samples"
        )
    length = crop_samples or samples
    network = SIGNAL_NETWORKS[architecture](
        num_classes=num_classes,
        in_chans=channels,
        img_size=length,
        dense=crop_samples is not None,
        **arguments,
    )
    network.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            outputs = network(torch.zeros(1, channels, length)).shape[2]
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"cannot run {architecture} on {length} samples of {channels} sensors: {error}; give "
            "a longer window or crop, or the architecture's own keywords in arguments"
        ) from error
    return TrialDecoder(network, crop_samples=crop_samples, outputs=outputs).train()
