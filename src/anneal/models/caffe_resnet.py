"""Residual networks in Caffe's form: super-convergence's (Smith & Topin 2017), 1cycle's (2018).

Sources: ``lnsmith54/super-convergence`` (architectures/Resnet{20,56,110}Cifar.prototxt) and
``lnsmith54/hyperParam1`` (Cifar/architectures/gResnet56.prototxt, wide32cifar.prototxt). Neither is
He et al.'s network layer by layer: where the image is halved, the first widens by concatenating
zeros after the block, and the second has a 2x2 convolution as its shortcut and no ReLU after sums.

Several GPUs were used, each normalising its own part of a batch and keeping its own running
statistics. One forward pass for each GPU's part, accumulated, is the same, but the statistics then
see ``batches_per_update`` parts for each update; the fraction that each part keeps is adapted, so
that they reach as many updates back as the authors' do.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from anneal.models.caffe_layers import CaffeBatchNorm
from anneal.models.entrypoints import Multipliers, blocks_of_depth


class ConvBN(nn.Module):
    """Convolution with bias, Caffe's BatchNorm and Scale."""

    def __init__(
        self, in_channels: int, channels: int, *, kernel: int = 3, stride: int = 1, fraction: float
    ) -> None:
        super().__init__()
        padding = 1 if kernel == 3 else 0
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=padding)
        self.bn = CaffeBatchNorm(channels, moving_average_fraction=fraction, scaled=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, channels, H / stride, W / stride)."""
        y: Tensor = self.bn(self.conv(x))
        return y


class ZeroFilledBlock(nn.Module):
    """Super-convergence's block; one of stride 2 doubles the channels with zeros after its ReLU.

    Args:
        channels: Of the input and of both convolutions.
        stride: 1, or 2: the shortcut is then a 3x3 average of stride 2, as Caffe rounds.
        fraction: ``moving_average_fraction``.
    """

    def __init__(self, channels: int, *, stride: int, fraction: float) -> None:
        super().__init__()
        self.first = ConvBN(channels, channels, stride=stride, fraction=fraction)
        self.second = ConvBN(channels, channels, fraction=fraction)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape, or (B, 2C, H / 2, W / 2)."""
        y = self.second(functional.relu(self.first(x)))
        if self.stride == 1:
            return functional.relu(x + y)
        x = functional.avg_pool2d(x, 3, 2, ceil_mode=True)
        return functional.pad(functional.relu(x + y), (0, 0, 0, 0, 0, x.shape[1]))


class ProjectionBlock(nn.Module):
    """1cycle's block: no ReLU after the sum; at stride 2 its shortcut has a 2x2 convolution and BN.

    Args:
        in_channels: Of the input.
        channels: Of the output; another number than before means stride 2.
        fraction: ``moving_average_fraction``.
    """

    def __init__(self, in_channels: int, channels: int, *, fraction: float) -> None:
        super().__init__()
        stride = 1 if in_channels == channels else 2
        self.first = ConvBN(in_channels, channels, stride=stride, fraction=fraction)
        self.second = ConvBN(channels, channels, fraction=fraction)
        self.projection = None
        if stride == 2:
            self.projection = ConvBN(in_channels, channels, kernel=2, stride=2, fraction=fraction)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, channels, H / stride, W / stride)."""
        y: Tensor = self.second(functional.relu(self.first(x)))
        return y + (x if self.projection is None else self.projection(x))


class _CaffeResNet(nn.Module):
    """Stem, blocks, mean over the image, classifier: what both forms share.

    Convolutions start from "msra" (N(0, sqrt(2 / (k k channels in)))), biases from 0.
    """

    def __init__(
        self, blocks: list[nn.Module], *, width: int, num_classes: int, in_chans: int, first: int,
        fraction: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_classes = num_classes
        self.stem = ConvBN(in_chans, first, fraction=fraction)
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (B, in_chans, H, W); returns logits (B, num_classes)."""
        x = self.blocks(functional.relu(self.stem(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class CaffeResNet(_CaffeResNet):
    """Super-convergence's ResNet-20, -56 or -110.

    The classifier starts from "xavier" (uniform within sqrt(3 / channels in)).

    Args:
        depth: 6n + 2.
        bias_decay_mult: Decay multiplier of the convolutions' biases: 0 in Resnet56Cifar.prototxt,
            1 in those of depth 20 and 110. Their rate multiplier is 2.
        moving_average_fraction: Of batch normalisation: 0.999, and 0.95 in the rows with a CLR.
        batches_per_update: Forward passes (the authors' GPUs) in one update.
        num_classes: Width of the output.
        in_chans: Channels of the input.
    """

    def __init__(
        self,
        *,
        depth: int,
        bias_decay_mult: float,
        moving_average_fraction: float = 0.999,
        batches_per_update: int = 1,
        num_classes: int = 10,
        in_chans: int = 3,
    ) -> None:
        fraction = moving_average_fraction ** (1 / batches_per_update)
        num_blocks = blocks_of_depth(depth, layers_per_block=2, others=2)
        blocks: list[nn.Module] = []
        width = 16
        for stage in range(3):
            for number in range(num_blocks):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(ZeroFilledBlock(width, stride=stride, fraction=fraction))
                width *= stride
        super().__init__(
            blocks, width=width, num_classes=num_classes, in_chans=in_chans, first=16,
            fraction=fraction,
        )  # fmt: skip
        self.bias_decay_mult = bias_decay_mult
        nn.init.kaiming_uniform_(self.fc.weight, mode="fan_in", nonlinearity="linear")

    @property
    def multipliers(self) -> Multipliers:
        """``{parameter: (lr_mult, decay_mult)}`` of the prototxt; Scale has no ``param``: 1, 1."""
        ones = {name: (1.0, 1.0) for name, _ in self.named_parameters()}
        biases = {name: (2.0, self.bias_decay_mult) for name in ones if name.endswith("conv.bias")}
        return {**ones, **biases, "fc.bias": (2.0, 1.0)}


class CaffeProjectionResNet(_CaffeResNet):
    """1cycle's ResNet-56 and "wide resnet-32".

    The classifier starts from "msra". (Two of the author's four runs exchanged every "msra" for
    "xavier"; here it is "msra".)

    Args:
        widths: Channels of the three stages; the stem has the first.
        plain_blocks: Blocks in each stage without a projection; each later stage has one more.
        moving_average_fraction: Of batch normalisation.
        batches_per_update: Forward passes (the author's GPUs) in one update.
        num_classes: Width of the output.
        in_chans: Channels of the input.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, int, int],
        plain_blocks: tuple[int, int, int],
        moving_average_fraction: float = 0.9,
        batches_per_update: int = 1,
        num_classes: int = 10,
        in_chans: int = 3,
    ) -> None:
        fraction = moving_average_fraction ** (1 / batches_per_update)
        shape = [widths[0]] * (plain_blocks[0] + 1)  # of the stem and after each block
        for width, count in zip(widths[1:], plain_blocks[1:], strict=True):
            shape += [width] * (count + 1)
        super().__init__(
            [ProjectionBlock(a, b, fraction=fraction) for a, b in pairwise(shape)],
            width=widths[-1],
            num_classes=num_classes,
            in_chans=in_chans,
            first=widths[0],
            fraction=fraction,
        )
        nn.init.kaiming_normal_(self.fc.weight, mode="fan_in", nonlinearity="relu")

    @property
    def multipliers(self) -> Multipliers:
        """``{parameter: (lr_mult, decay_mult)}``: only the classifier's bias has its own."""
        ones = {name: (1.0, 1.0) for name, _ in self.named_parameters()}
        return {**ones, "fc.bias": (2.0, 0.0)}
