"""Residual networks for 32 px images (He et al. 2015, section 4.2), and stochastic depth.

``ResNetCIFAR`` is the network of ``facebook/fb.resnet.torch`` (models/resnet.lua) with option A
shortcuts, the code behind the ResNet rows of CLR's Table 4 and of Snapshot Ensembles.
``StochasticDepthResNet`` is that of ``yueatsprograms/Stochastic_Depth`` (main.lua,
ResidualDrop.lua), which differs from it in more than the dropped blocks: see its docstring.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from anneal.models.entrypoints import blocks_of_depth, check_share

WIDTHS: Final = (16, 32, 64)


class BasicBlock(nn.Module):
    """conv - BN - ReLU - conv - BN, plus a shortcut without parameters, then ReLU.

    Args:
        in_channels: Of the input.
        channels: Of the output; where there are more, the shortcut is filled up with zeros.
        stride: Of the first convolution, and of the shortcut.
        conv_bias: Whether the convolutions have one.
        pooled_shortcut: Average over stride x stride pixels, instead of taking every stride-th.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        conv_bias: bool = False,
        pooled_shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=conv_bias)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=conv_bias)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = channels - in_channels
        self.pooled_shortcut = pooled_shortcut

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual branch's output: (B, C, H, W) -> (B, channels, H/s, W/s)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        residual: Tensor = self.bn2(self.conv2(x))
        return residual

    def shortcut(self, x: Tensor) -> Tensor:
        """Return the input, subsampled and padded with channels of zeros (option A)."""
        if self.stride > 1 and self.pooled_shortcut:
            x = functional.avg_pool2d(x, self.stride)
        elif self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            x = functional.pad(x, (0, 0, 0, 0, 0, self.new_channels))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride)."""
        return functional.relu(self.shortcut(x) + self.residual(x))


class _ResNet(nn.Module):
    """Stem, three stages of blocks, mean over the image, classifier: what both networks share."""

    def __init__(
        self, *, depth: int, num_classes: int, in_chans: int, conv_bias: bool, pooled_shortcut: bool
    ) -> None:
        super().__init__()
        num_blocks = blocks_of_depth(depth, layers_per_block=2, others=2)
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_chans, WIDTHS[0], 3, padding=1, bias=conv_bias)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.blocks = nn.ModuleList()
        before = WIDTHS[0]
        for width in WIDTHS:
            for _ in range(num_blocks):
                block = BasicBlock(
                    before,
                    width,
                    stride=1 if width == before else 2,
                    conv_bias=conv_bias,
                    pooled_shortcut=pooled_shortcut,
                )
                self.blocks.append(block)
                before = width
        self.fc = nn.Linear(WIDTHS[-1], num_classes)

    def stem(self, x: Tensor) -> Tensor:
        """Return the input of the first block: (B, C, H, W)."""
        return functional.relu(self.bn1(self.conv1(x)))

    def classify(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) of the last block's output."""
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class ResNetCIFAR(_ResNet):
    """He et al.'s network of 6n + 2 layers as fb.resnet.torch has it; depth 110 has 1.73 M weights.

    Convolutions have no bias and start from N(0, sqrt(2 / (k k channels out))), batch normalisation
    from 1 and 0, the classifier from torch's uniform distribution with bias 0.

    Args:
        depth: 6n + 2: 20, 32, 44, 56, 110.
        num_classes: Width of the output.
        in_chans: Channels of the input.
    """

    def __init__(self, *, depth: int, num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__(
            depth=depth,
            num_classes=num_classes,
            in_chans=in_chans,
            conv_bias=False,
            pooled_shortcut=False,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (B, in_chans, H, W); returns logits (B, num_classes)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classify(x)


class StochasticDepthResNet(_ResNet):
    """Huang et al. 2016 (arXiv 1603.09382): in each batch, whole blocks are left out.

    Block l of L is left out of a training batch, for all its images, with probability
    ``l / L * death_rate`` ("linear decay"): its residual is not computed, its gradient is zero and
    its batch statistics stay as they are. The rule still applies to its weights, which decay and
    coast on their momentum: main.lua zeroes one flat vector of gradients and hands it whole to
    optim.sgd (``closed_blocks_coast``, a field of ``Learner``). In evaluation each residual counts
    with its probability of survival. This is not timm's ``DropPath``, which draws for each image,
    divides by the probability in training and computes what it then drops.

    Apart from that, as the authors' code has it: shortcuts average over 2 x 2 pixels; convolutions
    have a bias (0 at the start) and weights from N(0, sqrt(2 / (k k channels in))); batch
    normalisation's scale starts from Torch 7's default, uniform on [0, 1].

    The gates are drawn from torch's global generator on the CPU.

    Args:
        depth: 6n + 2; the paper's is 110.
        death_rate: Of the last block, 1 - p_L in the paper, in [0, 1).
        num_classes: Width of the output.
        in_chans: Channels of the input.
    """

    closed_blocks_coast: Final = True

    def __init__(
        self, *, depth: int, death_rate: float = 0.5, num_classes: int = 10, in_chans: int = 3
    ) -> None:
        super().__init__(
            depth=depth,
            num_classes=num_classes,
            in_chans=in_chans,
            conv_bias=True,
            pooled_shortcut=True,
        )
        check_share("death_rate", death_rate)
        num_blocks = len(self.blocks)
        self.death_rates = [(i + 1) / num_blocks * death_rate for i in range(num_blocks)]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight)

    # Which blocks take part changes from batch to batch: torch.compile takes each by itself.
    @torch.compiler.disable(recursive=False)  # type: ignore[no-untyped-call, untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        """Classify images (B, in_chans, H, W); returns logits (B, num_classes)."""
        x = self.stem(x)
        draws: list[float | None] = [None] * len(self.blocks)
        if self.training:
            draws = torch.rand(len(self.blocks), device="cpu").tolist()
        for block, rate, draw in zip(self.blocks, self.death_rates, draws, strict=True):
            assert isinstance(block, BasicBlock)
            if draw is None:
                x = functional.relu(block.shortcut(x) + (1 - rate) * block.residual(x))
            else:
                x = functional.relu(block.shortcut(x)) if draw < rate else block(x)
        return self.classify(x)
