"""The deep and the shallow ConvNet of Schirrmeister et al. 2017 (1703.05051, section 2.4).

As robintibor/braindecode has them: no bias before batch normalisation, except in the
temporal convolution; Xavier-uniform weights.
"""

from torch import Tensor, nn

from anneal.models.eeg.layers import TimeSpaceConv, initialise
from anneal.models.entrypoints import check_share

POOL = 3  # of the deep network, length and stride


class Deep4(nn.Sequential):
    """Four blocks of convolution and max pooling, the first over time and space.

    Args:
        num_classes: Width of the output.
        in_chans: Sensors.
        dense: One output for each sample instead of each 81.
        final_length: Values that the classifier looks at.
        dropout: Before the second, third and fourth convolution.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_chans: int,
        dense: bool = False,
        final_length: int = 2,
        dropout: float = 0.5,
    ) -> None:
        check_share("dropout", dropout)
        stride, dilation = (1, 1) if dense else (POOL, 1)
        layers: list[nn.Module] = [
            TimeSpaceConv(sensors=in_chans, time_filters=25, length=10, space_filters=25),
            nn.BatchNorm1d(25),
            nn.ELU(),
            nn.MaxPool1d(POOL, stride),
        ]
        for before, width in ((25, 50), (50, 100), (100, 200)):
            dilation *= POOL if dense else 1
            layers += [
                nn.Dropout(dropout),
                nn.Conv1d(before, width, 10, dilation=dilation, bias=False),
                nn.BatchNorm1d(width),
                nn.ELU(),
                nn.MaxPool1d(POOL, stride, dilation=dilation),
            ]
        dilation *= POOL if dense else 1
        layers.append(nn.Conv1d(200, num_classes, final_length, dilation=dilation))
        super().__init__(*layers)
        initialise(self, "xavier_uniform")


class _LogPower(nn.Module):
    """Logarithm of the mean square over 75 samples, no less than 1e-6."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.mean = nn.AvgPool1d(75, stride)

    def forward(self, values_BCT: Tensor) -> Tensor:
        power: Tensor = self.mean(values_BCT.square())
        return power.clamp(min=1e-6).log()


class Shallow(nn.Sequential):
    """Log power of 40 filters over time and space, then one classifier; made like FBCSP.

    Args:
        num_classes: Width of the output.
        in_chans: Sensors.
        dense: One output for each sample instead of each 15.
        final_length: Values that the classifier looks at.
        dropout: Before the classifier.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_chans: int,
        dense: bool = False,
        final_length: int = 30,
        dropout: float = 0.5,
    ) -> None:
        check_share("dropout", dropout)
        stride = 15
        super().__init__(
            TimeSpaceConv(sensors=in_chans, time_filters=40, length=25, space_filters=40),
            nn.BatchNorm1d(40),
            _LogPower(1 if dense else stride),
            nn.Dropout(dropout),
            nn.Conv1d(40, num_classes, final_length, dilation=stride if dense else 1),
        )
        initialise(self, "xavier_uniform")
