"""Wide residual networks (Zagoruyko & Komodakis 2016), and the SGDR authors' form of them.

BN and ReLU come before each convolution, and everything is ``width`` times as wide.
"""

from torch import Tensor, nn
from torch.nn import functional

from anneal.models.entrypoints import Multipliers, check_share

SGDR_EPS = 1e-4  # Lasagne's


class WideBlock(nn.Module):
    """``wide_basic`` of szagoruyko/wide-residual-networks (models/wide-resnet.lua).

    BN - ReLU - conv - BN - ReLU - dropout - conv, plus the input; where sizes change, plus a 1x1
    convolution of the input after its first BN and ReLU.

    Args:
        in_channels: Of the input.
        channels: Of the output.
        stride: Of the first convolution and the shortcut's.
        dropout: Share of the activations left out between the convolutions.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.dropout = dropout
        self.projection = None
        if in_channels != channels:
            self.projection = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride)."""
        active = functional.relu(self.bn1(x))
        y = functional.relu(self.bn2(self.conv1(active)))
        y = functional.dropout(y, self.dropout, self.training)
        z: Tensor = self.conv2(y)
        return z + (x if self.projection is None else self.projection(active))


class WideResNet(nn.Module):
    """WRN-d-k of the paper; 28-10 has 36.5 M weights.

    Its depth counts the stem, two layers in each block and the three 1x1 shortcuts: 6n + 4. The
    "WRN-32" of Snapshot Ensembles can only be counted as He et al. do, 6n + 2 with n = 5.

    Convolutions have no bias and start from N(0, sqrt(2 / (k k channels in))), batch normalisation
    from 1 and 0, the classifier from torch's uniform distribution with bias 0.

    Args:
        blocks: n, in each of three stages.
        width: k, how many times as wide as 16, 32 and 64 channels.
        dropout: Inside each block, in [0, 1).
        num_classes: Width of the output.
        in_chans: Channels of the input.
    """

    def __init__(
        self,
        *,
        blocks: int,
        width: int,
        dropout: float = 0.0,
        num_classes: int = 10,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        check_share("dropout", dropout)
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.blocks = nn.Sequential()
        before = 16
        for stage, channels in enumerate((16 * width, 32 * width, 64 * width)):
            for number in range(blocks):
                stride = 2 if stage > 0 and number == 0 else 1
                self.blocks.append(WideBlock(before, channels, stride=stride, dropout=dropout))
                before = channels
        self.bn = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (B, in_chans, H, W); returns logits (B, num_classes)."""
        x = functional.relu(self.bn(self.blocks(self.conv1(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class SGDRBlock(nn.Module):
    """``residual_block`` of loshchil/SGDR (SGDR_WRNs.py).

    As ``WideBlock``, but the 1x1 convolution takes the input as it comes, the second convolution
    has a bias, and the first block of the network begins with its convolution.

    Args:
        in_channels: Of the input.
        channels: Of the output.
        stride: Of the first convolution and the shortcut's.
        first: Whether it is the network's first: its input has been through BN and ReLU.
        dropout: Share of the activations left out between the convolutions.
    """

    def __init__(
        self, in_channels: int, channels: int, *, stride: int, first: bool, dropout: float
    ) -> None:
        super().__init__()
        self.bn1 = None if first else nn.BatchNorm2d(in_channels, eps=SGDR_EPS)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, eps=SGDR_EPS)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.dropout = dropout
        self.projection = None
        if first or stride > 1:  # where the stem and the first stage agree in width, too
            self.projection = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride)."""
        active = x if self.bn1 is None else functional.relu(self.bn1(x))
        y = functional.relu(self.bn2(self.conv1(active)))
        y = functional.dropout(y, self.dropout, self.training)
        z: Tensor = self.conv2(y)
        return z + (x if self.projection is None else self.projection(x))


class SGDRWideResNet(nn.Module):
    """The wide residual network of loshchil/SGDR (SGDR_WRNs.py, ``ResNet_FullPre_Wide``).

    3x3 convolutions start from He's normal distribution (fan in, gain sqrt 2), 1x1 ones from
    Glorot's uniform, the classifier from He's with gain 1, biases from 0. Lasagne's batch
    normalisation has eps 1e-4. Lasagne's ``regularizable`` tags decay every weight and batch
    normalisation's scale, and neither biases nor its shift: ``multipliers`` says so.

    The authors of downsampled ImageNet (1707.08819) train it at 16, 32 and 64 px with 2, 3 and 4
    stages of 4 blocks, of depth 20, 28 and 36, so that 8x8 values reach the mean.

    Args:
        blocks: n, in each stage; 4 for depth 28.
        width: k.
        stages: Of 16k, 32k, 64k, ... channels, 1 or more; the image is halved before each but
            the first.
        dropout: Inside each block, in [0, 1); the paper's rows have none.
        num_classes: Width of the output.
        in_chans: Channels of the input.
    """

    def __init__(
        self,
        *,
        blocks: int,
        width: int,
        stages: int = 3,
        dropout: float = 0.0,
        num_classes: int = 10,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        check_share("dropout", dropout)
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16, eps=SGDR_EPS)
        self.blocks = nn.Sequential()
        before = 16
        for stage, channels in enumerate(16 * width * 2**stage for stage in range(stages)):
            for number in range(blocks):
                block = SGDRBlock(
                    before,
                    channels,
                    stride=2 if stage > 0 and number == 0 else 1,
                    first=stage == number == 0,
                    dropout=dropout,
                )
                self.blocks.append(block)
                before = channels
        self.bn = nn.BatchNorm2d(before, eps=SGDR_EPS)
        self.fc = nn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            elif isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        nn.init.kaiming_normal_(self.fc.weight, mode="fan_in", nonlinearity="linear")

    @property
    def multipliers(self) -> Multipliers:
        """``{parameter: (lr_mult, decay_mult)}``: no bias and no shift decays."""
        names = (name for name, _ in self.named_parameters())
        return {name: (1.0, 0.0 if name.endswith("bias") else 1.0) for name in names}

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (B, in_chans, H, W); returns logits (B, num_classes)."""
        x = self.blocks(functional.relu(self.bn1(self.conv1(x))))
        x = functional.relu(self.bn(x))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
