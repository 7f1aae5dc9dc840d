"""The residual network for EEG of Schirrmeister et al. 2017 (1703.05051, section 2.4.4).

Filters and blocks as in its author's thesis and robintibor/adamw-eeg-eval, resnet.py at 5298554: a
convolution over time and space, seven stages of blocks with two convolutions over three samples,
each stage but the first at half the rate of the one before, a mean over ten values, a classifier.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from anneal.models.eeg.layers import DilatedMean, TimeSpaceConv, initialise

STAGE_WIDTHS = (1, 2, 3, 3, 3, 3, 3)  # in filters
BLOCKS = {14: (2, 2, 2, 2, 2, 2, 2), 13: (2, 2, 2, 2, 2, 2, 1)}
EPSILON = 1e-4
MEAN_OVER = 10


class Block(nn.Module):
    """Two convolutions and a shortcut without weights (option A: zeros on both sides).

    Args:
        before: Filters that come in.
        width: Filters that go out, by an even number more.
        stride: Of the first convolution and the shortcut.
        dilations: Of the first and of the second convolution.
    """

    def __init__(self, before: int, width: int, *, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        self.conv_1 = _conv(before, width, stride=stride, dilation=dilations[0])
        self.norm_1 = nn.BatchNorm1d(width, eps=EPSILON)
        self.conv_2 = _conv(width, width, stride=1, dilation=dilations[1])
        self.norm_2 = nn.BatchNorm1d(width, eps=EPSILON)
        self.stride, self.added = stride, (width - before) // 2

    def forward(self, values_BCT: Tensor) -> Tensor:  # noqa: D102
        inner = functional.elu(self.norm_1(self.conv_1(values_BCT)))
        shortcut = values_BCT[..., :: self.stride]
        if self.added:
            shortcut = functional.pad(shortcut, (0, 0, self.added, self.added))
        return functional.elu(self.norm_2(self.conv_2(inner)) + shortcut)


def _conv(before: int, width: int, *, stride: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(
        before, width, 3, stride=stride, dilation=dilation, padding=dilation, bias=False
    )


class EEGResNet(nn.Module):
    """Residual network over signals, strided or dense.

    Args:
        num_classes: Width of the output.
        in_chans: Sensors.
        dense: One output for each sample instead of each 64.
        filters: Of the first stage; the second has twice, the others three times as many. Even.
        blocks: 14, or 13 as its author's earlier code has.
        initialisation: ``xavier_uniform``, or ``he_normal``.

    Raises:
        ValueError: There is no such number of blocks or initialisation, or ``filters`` is odd.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_chans: int,
        dense: bool = False,
        filters: int = 48,
        blocks: int = 14,
        initialisation: str = "xavier_uniform",
    ) -> None:
        super().__init__()
        if blocks not in BLOCKS:
            raise ValueError(f"blocks must be one of {', '.join(map(str, BLOCKS))}, got {blocks}")
        if filters < 2 or filters % 2:
            raise ValueError(f"filters must be even and positive, got {filters}")
        self.first = TimeSpaceConv(
            sensors=in_chans, time_filters=filters, length=3, space_filters=filters, same=True
        )
        self.norm = nn.BatchNorm1d(filters, eps=EPSILON)
        stages: list[Block] = []
        before, dilation = filters, 1
        for stage, (times, count) in enumerate(zip(STAGE_WIDTHS, BLOCKS[blocks], strict=True)):
            for block in range(count):
                halved = 2 if stage and block == 0 else 1
                stride, wider = (1, halved) if dense else (halved, 1)
                dilations = dilation, dilation * wider  # the first sees the rate from before
                stages.append(Block(before, times * filters, stride=stride, dilations=dilations))
                before, dilation = times * filters, dilation * wider
        self.blocks = nn.Sequential(*stages)
        self.mean = DilatedMean(MEAN_OVER, dilation)
        self.classifier = nn.Conv1d(before, num_classes, 1)
        initialise(self, initialisation)

    def forward(self, signals_BCT: Tensor) -> Tensor:  # noqa: D102
        values = functional.elu(self.norm(self.first(signals_BCT)))
        return cast(Tensor, self.classifier(self.mean(self.blocks(values))))
