"""Caffe's GoogLeNet, in the place of Princeton's, which the CLR paper trains on ImageNet.

Source: BVLC/caffe @9b89154, ``models/bvlc_googlenet/train_val.prototxt`` (Szegedy et al. 2015).
``anneal.models.timm`` registers it with timm:

>>> import timm
>>> import anneal.models.timm
>>> for heads in (True, False):
...     model = timm.create_model("caffe_googlenet", num_classes=1000, heads=heads)
...     print(sum(parameter.numel() for parameter in model.parameters()))
13378280
6998552

torchvision's ``googlenet`` (timm has none) is another network: batch normalisation in the place of
biases and of local response normalisation, 3x3 kernels where the paper has 5x5, adaptive pooling
in its auxiliary heads, other dropout (0.2) and other initial weights.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from anneal.models.caffe_layers import ACROSS_CHANNELS, fill_xavier, pooled_size
from anneal.models.entrypoints import Multipliers, doubled_biases

BIAS: Final = 0.2  # of every layer but the classifiers at the start
HEAD_WEIGHT: Final = 0.3  # of a head's loss in training
HEAD_DROPOUT: Final = 0.7
DROPOUT: Final = 0.4  # before the last classifier
SMALLEST_IMAGE: Final = 31  # px; a convolution and four poolings leave nothing of fewer
SMALLEST_WITH_HEADS: Final = 79  # px; the heads average over windows of 5x5


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a 3x3 maximum side by side, a ReLU after each convolution.

    Args:
        in_channels: Of the input.
        single: Of the 1x1 convolution.
        three: Of the 1x1 convolution before the 3x3, and of the 3x3.
        five: Of the 1x1 convolution before the 5x5, and of the 5x5.
        pooled: Of the 1x1 convolution after the maximum.
    """

    def __init__(
        self,
        in_channels: int,
        single: int,
        three: tuple[int, int],
        five: tuple[int, int],
        pooled: int,
    ) -> None:
        super().__init__()
        self.conv_1x1 = nn.Conv2d(in_channels, single, 1)
        self.conv_3x3_reduce = nn.Conv2d(in_channels, three[0], 1)
        self.conv_3x3 = nn.Conv2d(three[0], three[1], 3, padding=1)
        self.conv_5x5_reduce = nn.Conv2d(in_channels, five[0], 1)
        self.conv_5x5 = nn.Conv2d(five[0], five[1], 5, padding=2)
        self.pool_proj = nn.Conv2d(in_channels, pooled, 1)
        self.channels = single + three[1] + five[1] + pooled

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H, W)."""
        relu = functional.relu
        parts = (
            relu(self.conv_1x1(x)),
            relu(self.conv_3x3(relu(self.conv_3x3_reduce(x)))),
            relu(self.conv_5x5(relu(self.conv_5x5_reduce(x)))),
            relu(self.pool_proj(functional.max_pool2d(x, 3, 1, padding=1))),
        )
        return torch.cat(parts, dim=1)


class AuxiliaryHead(nn.Module):
    """Average over 5x5 of stride 3, 1x1 convolution, hidden layer, classifier.

    Args:
        in_channels: Of the input.
        side: Of the input in pixels, 5 or more.
        num_classes: Width of the output.
    """

    def __init__(self, in_channels: int, *, side: int, num_classes: int) -> None:
        super().__init__()
        pooled = -((5 - side) // 3) + 1
        self.conv = nn.Conv2d(in_channels, 128, 1)
        self.fc = nn.Linear(128 * pooled * pooled, 1024)
        self.classifier = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, side, side) -> logits (N, num_classes)."""
        x = functional.avg_pool2d(x, 5, 3, ceil_mode=True)
        x = functional.relu(self.fc(functional.relu(self.conv(x)).flatten(1)))
        logits: Tensor = self.classifier(functional.dropout(x, HEAD_DROPOUT, self.training))
        return logits


class CaffeGoogLeNet(nn.Module):
    """Stem, nine inception blocks, mean over the image, classifier; two heads on the way.

    Poolings round up, as Caffe's do: 112, 56, 28, 14, 7 px of 224. The mean is over the whole
    image, which at 224 px is the prototxt's window of 7x7. Every weight starts from "xavier"
    (uniform within ``sqrt(3 / values in)``), biases from 0.2 and those of classifiers from 0.

    With heads the network returns three tensors of logits in training, and :meth:`training_loss`
    weighs them; in evaluation the heads are not computed.

    Args:
        heads: Whether the two auxiliary classifiers, after 4a and 4d, are there.
        num_classes: Width of the output.
        in_chans: Channels of the input.
        img_size: Side of the square input in pixels, 79 or more with heads, else 31 or more.
    """

    def __init__(
        self,
        *,
        heads: bool = True,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int = 224,
    ) -> None:
        super().__init__()
        smallest = SMALLEST_WITH_HEADS if heads else SMALLEST_IMAGE
        if img_size < smallest:
            raise ValueError(
                f"img_size must be at least {smallest} px {'with' if heads else 'without'} heads, "
                f"got {img_size}"
            )
        self.num_classes = num_classes
        self.heads = heads
        self.conv1 = nn.Conv2d(in_chans, 64, 7, stride=2, padding=3)
        self.conv2_reduce = nn.Conv2d(64, 64, 1)
        self.conv2 = nn.Conv2d(64, 192, 3, padding=1)
        self.inception_3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception_3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.inception_4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception_4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception_4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception_4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception_4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.inception_5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception_5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.loss1: AuxiliaryHead | None = None
        self.loss2: AuxiliaryHead | None = None
        if heads:
            side = pooled_size(pooled_size(pooled_size((img_size - 1) // 2 + 1)))
            self.loss1 = AuxiliaryHead(512, side=side, num_classes=num_classes)
            self.loss2 = AuxiliaryHead(528, side=side, num_classes=num_classes)
        self.classifier = nn.Linear(1024, num_classes)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fill_xavier(module, bias=0.0 if name.endswith("classifier") else BIAS)

    @property
    def multipliers(self) -> Multipliers:
        """``{parameter: (lr_mult, decay_mult)}`` of the prototxt."""
        return doubled_biases(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Classify images (N, in_chans, img_size, img_size).

        Returns:
            Logits (N, num_classes); in training with heads those of the classifier, of the head
            after 4a and of that after 4d.
        """
        relu, lrn = functional.relu, functional.local_response_norm
        x = lrn(_pool(relu(self.conv1(x))), **ACROSS_CHANNELS)
        x = relu(self.conv2(relu(self.conv2_reduce(x))))
        x = _pool(lrn(x, **ACROSS_CHANNELS))
        x = _pool(self.inception_3b(self.inception_3a(x)))
        after_4a = self.inception_4a(x)
        after_4d = self.inception_4d(self.inception_4c(self.inception_4b(after_4a)))
        x = _pool(self.inception_4e(after_4d))
        x = self.inception_5b(self.inception_5a(x)).mean((2, 3))
        logits: Tensor = self.classifier(functional.dropout(x, DROPOUT, self.training))
        if self.loss1 is None or self.loss2 is None or not self.training:
            return logits
        return logits, self.loss1(after_4a), self.loss2(after_4d)

    def training_loss(
        self, images: Tensor, labels: Tensor, *, label_smoothing: float = 0.0
    ) -> Tensor:
        """Return the loss of a batch: cross entropy, plus 0.3 of that of each head.

        Args:
            images: (N, in_chans, img_size, img_size).
            labels: (N,).
            label_smoothing: Of each cross entropy, in [0, 1).
        """
        outputs = self(images)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        main, *others = (
            functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
            for logits in outputs
        )
        loss: Tensor = main + HEAD_WEIGHT * sum(others)
        return loss


def _pool(x: Tensor) -> Tensor:
    """Take the maximum over 3x3 of stride 2, as Caffe rounds: (N, C, H, W) -> (N, C, H/2, W/2)."""
    return functional.max_pool2d(x, 3, 2, ceil_mode=True)
