"""DenseNets for 32 px images (Huang et al. 2016, arXiv 1608.06993), in Torch's form and Caffe's.

Sources: ``liuzhuang13/DenseNet`` (densenet.lua) and ``liuzhuang13/DenseNetCaffe``
(make_densenet.py). torchvision's ``DenseNet`` is the same thing with bottlenecks, apart from the
stem, the initial values and the place of dropout (the authors have it after each convolution).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from anneal.models.caffe_layers import CaffeBatchNorm
from anneal.models.entrypoints import Multipliers, blocks_of_depth, check_share

BOTTLENECK = 4  # a bottleneck's channels, in growth rates

Norm = Callable[[int], nn.Module]


class DenseUnit(nn.Module):
    """BN - ReLU - convolution without bias - dropout."""

    def __init__(
        self, norm: Norm, in_channels: int, channels: int, *, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = norm(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, channels, H, W)."""
        x = self.conv(functional.relu(self.norm(x)))
        return functional.dropout(x, self.dropout, self.training)


class DenseNetCIFAR(nn.Module):
    """Three dense blocks with two transitions; L=40, k=12 has 1.0 M weights.

    Convolutions start from N(0, sqrt(2 / (k k channels out))), batch normalisation from 1 and 0,
    the classifier from torch's uniform distribution with bias 0, as in fb.resnet.torch.

    Args:
        depth: 3n + 4; with bottlenecks 6n + 4.
        growth_rate: k, the channels that each layer adds.
        first_channels: Of the stem.
        bottleneck: The "B" of DenseNet-BC: a 1x1 convolution to 4k channels in each layer.
        compression: The "C": what part of the channels passes a transition.
        dropout: After each convolution but the first, in [0, 1).
        num_classes: Width of the output.
        in_chans: Channels of the input.
        norm: Channels -> batch normalisation.
    """

    def __init__(
        self,
        *,
        depth: int,
        growth_rate: int,
        first_channels: int = 16,
        bottleneck: bool = False,
        compression: float = 1.0,
        dropout: float = 0.0,
        num_classes: int = 10,
        in_chans: int = 3,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        check_share("dropout", dropout)
        layers = blocks_of_depth(depth, layers_per_block=2 if bottleneck else 1, others=4)
        self.num_classes = num_classes
        channels = first_channels
        self.conv = nn.Conv2d(in_chans, channels, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for stage in range(3):
            block = nn.ModuleList()
            for _ in range(layers):
                inner = BOTTLENECK * growth_rate if bottleneck else channels
                layer = nn.Sequential()
                if bottleneck:
                    layer.append(DenseUnit(norm, channels, inner, kernel=1, dropout=dropout))
                layer.append(DenseUnit(norm, inner, growth_rate, kernel=3, dropout=dropout))
                block.append(layer)
                channels += growth_rate
            self.blocks.append(block)
            if stage < 2:
                kept = int(channels * compression)
                self.transitions.append(DenseUnit(norm, channels, kept, kernel=1, dropout=dropout))
                channels = kept
        self.norm = norm(channels)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (B, in_chans, H, W); returns logits (B, num_classes)."""
        x = self.conv(x)
        for stage, block in enumerate(self.blocks):
            assert isinstance(block, nn.ModuleList)
            for layer in block:
                x = torch.cat((x, layer(x)), 1)
            if stage < len(self.transitions):
                x = functional.avg_pool2d(self.transitions[stage](x), 2)
        x = functional.relu(self.norm(x))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class CaffeDenseNet(DenseNetCIFAR):
    """DenseNet in Caffe's form: its batch normalisation with Scale, its fillers.

    Convolutions start from "msra" (N(0, sqrt(2 / (k k channels in)))), the classifier from "xavier"
    (uniform within sqrt(3 / channels in)) with bias 0. Nothing has multipliers in make_densenet.py;
    the file of hyperParam1 (genDensenet40.prototxt) doubles the rate of the classifier's bias.

    Args:
        moving_average_fraction: Of batch normalisation.
        bias_lr_mult: Rate multiplier of the classifier's bias.
        batches_per_update: See ``CaffeResNet``.
        depth: 3n + 4.
        growth_rate: k.
        dropout: After each convolution but the first.
        num_classes: Width of the output.
        in_chans: Channels of the input.
    """

    def __init__(
        self,
        *,
        depth: int,
        growth_rate: int,
        dropout: float = 0.2,
        moving_average_fraction: float = 0.999,
        batches_per_update: int = 1,
        bias_lr_mult: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
    ) -> None:
        fraction = moving_average_fraction ** (1 / batches_per_update)
        super().__init__(
            depth=depth,
            growth_rate=growth_rate,
            dropout=dropout,
            num_classes=num_classes,
            in_chans=in_chans,
            norm=lambda channels: CaffeBatchNorm(
                channels, moving_average_fraction=fraction, scaled=True
            ),
        )
        self.bias_lr_mult = bias_lr_mult
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        nn.init.kaiming_uniform_(self.fc.weight, mode="fan_in", nonlinearity="linear")

    @property
    def multipliers(self) -> Multipliers:
        """``{parameter: (lr_mult, decay_mult)}``."""
        ones = {name: (1.0, 1.0) for name, _ in self.named_parameters()}
        return {**ones, "fc.bias": (self.bias_lr_mult, 1.0)}
