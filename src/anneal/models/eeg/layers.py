"""Layers that EEG networks share.

Shapes: B signals of a batch, C sensors or filters, T samples.
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIALISATIONS: Final = {
    "xavier_uniform": nn.init.xavier_uniform_,
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}


class TimeSpaceConv(nn.Module):
    """A temporal convolution of each sensor, then a spatial one over all of them.

    Nothing stands between the two, so that they are composed into one convolution in each pass: the
    same function of the same weights, several times faster (Schirrmeister et al. 2017, section 2.4,
    splits them for the gradient's sake).

    Args:
        sensors: Rows of a signal.
        time_filters: Filters over time, the same for every sensor.
        length: Samples of one of them; odd where ``same`` is true.
        space_filters: Filters over sensors and temporal filters.
        same: Pad with zeros so that the length stays.
        space_bias: Add a bias after the spatial convolution.
    """

    def __init__(
        self,
        *,
        sensors: int,
        time_filters: int,
        length: int,
        space_filters: int,
        same: bool = False,
        space_bias: bool = False,
    ) -> None:
        super().__init__()
        self.time = nn.Conv1d(1, time_filters, length)
        self.space = nn.Parameter(torch.empty(space_filters, time_filters, sensors))
        self.space_bias = nn.Parameter(torch.zeros(space_filters)) if space_bias else None
        self.padding = length // 2 if same else 0

    def composed(self) -> tuple[Tensor, Tensor]:
        """Return weight (space filters, sensors, length) and bias of the one convolution."""
        weight = torch.einsum("sfc,fk->sck", self.space, self.time.weight[:, 0])
        assert self.time.bias is not None
        bias = self.space.sum(2) @ self.time.bias
        return weight, bias if self.space_bias is None else bias + self.space_bias

    def forward(self, signals_BCT: Tensor) -> Tensor:  # noqa: D102
        weight, bias = self.composed()
        return functional.conv1d(signals_BCT, weight, bias, padding=self.padding)


class DilatedMean(nn.Module):
    """Mean over ``length`` values that are ``dilation`` apart."""

    def __init__(self, length: int, dilation: int) -> None:
        super().__init__()
        self.length, self.dilation = length, dilation

    def forward(self, values_BCT: Tensor) -> Tensor:  # noqa: D102
        outputs = values_BCT.shape[2] - (self.length - 1) * self.dilation
        if outputs < 1:
            raise ValueError(
                f"{values_BCT.shape[2]} values are too few for a mean over {self.length} that are "
                f"{self.dilation} apart"
            )
        first = values_BCT[..., :outputs]
        for place in range(1, self.length):
            start = place * self.dilation
            first = first + values_BCT[..., start : start + outputs]
        return first / self.length


def initialise(network: nn.Module, initialisation: str) -> None:
    """Draw all weights again and set biases to 0; batch normalisation stays at 1 and 0.

    Raises:
        ValueError: There is no such initialisation.
    """
    if initialisation not in INITIALISATIONS:
        raise ValueError(
            f"initialisation must be one of {', '.join(INITIALISATIONS)}, got {initialisation!r}"
        )
    for weight in _weights(network):
        INITIALISATIONS[initialisation](weight)
    for module in network.modules():
        if isinstance(module, nn.Conv1d) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _weights(network: nn.Module) -> Iterator[Tensor]:
    for module in network.modules():
        if isinstance(module, nn.Conv1d):
            yield module.weight
        if isinstance(module, TimeSpaceConv):
            yield module.space
