"""Caffe's AlexNet, which the CLR paper trains on ImageNet (Smith 2017, section 4.2).

Source: BVLC/caffe @9b89154, ``models/bvlc_alexnet/train_val.prototxt``. ``anneal.models.timm``
registers it with timm:

>>> import timm
>>> import anneal.models.timm
>>> model = timm.create_model("caffe_alexnet", num_classes=1000)
>>> sum(parameter.numel() for parameter in model.parameters())
60965224

torchvision's ``alexnet`` is another network (Krizhevsky 2014, "One weird trick"; 61.1 M weights):
64 and not 96 first filters, 2 px of padding before them, no groups, no local response
normalisation, adaptive pooling before its classifier, dropout before each hidden layer and not
after it, and torch's default initial weights. timm has no AlexNet of its own.
"""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from anneal.models.caffe_layers import ACROSS_CHANNELS, fill_gaussian, pooled_size
from anneal.models.entrypoints import Multipliers, check_share, doubled_biases

SMALLEST_IMAGE: Final = 39  # px; conv1 and three poolings leave nothing of fewer


class CaffeAlexNet(nn.Module):
    """conv1 - LRN - pool, conv2 - LRN - pool, conv3, conv4, conv5 - pool, fc6, fc7, fc8.

    A ReLU follows every layer with weights but the last, and comes before normalisation; conv2,
    conv4 and conv5 have two groups. Weights start from a normal distribution, biases from
    constants, drawn in the order of the layers from torch's global generator.

    Args:
        dropout: Share of the activations left out after fc6 and fc7, in [0, 1).
        num_classes: Width of the output.
        in_chans: Channels of the input.
        img_size: Side of the square input in pixels, 39 or more; 6x6x256 values reach fc6 at 227.
    """

    def __init__(
        self,
        *,
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int = 227,
    ) -> None:
        super().__init__()
        if img_size < SMALLEST_IMAGE:
            raise ValueError(
                f"img_size must be at least {SMALLEST_IMAGE} px (an 11x11 convolution of stride 4 "
                f"and three poolings), got {img_size}"
            )
        self.dropout = check_share("dropout", dropout)
        self.num_classes = num_classes
        side = pooled_size(pooled_size(pooled_size((img_size - 11) // 4 + 1)))
        self.conv1 = nn.Conv2d(in_chans, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(256 * side * side, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, num_classes)
        fill_gaussian(self.conv1, std=0.01, bias=0.0)
        fill_gaussian(self.conv2, std=0.01, bias=0.1)
        fill_gaussian(self.conv3, std=0.01, bias=0.0)
        fill_gaussian(self.conv4, std=0.01, bias=0.1)
        fill_gaussian(self.conv5, std=0.01, bias=0.1)
        fill_gaussian(self.fc6, std=0.005, bias=0.1)
        fill_gaussian(self.fc7, std=0.005, bias=0.1)
        fill_gaussian(self.fc8, std=0.01, bias=0.0)

    @property
    def multipliers(self) -> Multipliers:
        """``{parameter: (lr_mult, decay_mult)}`` of the prototxt."""
        return doubled_biases(self)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (N, in_chans, img_size, img_size); returns logits (N, num_classes)."""
        for layer in (self.conv1, self.conv2):
            x = functional.local_response_norm(functional.relu(layer(x)), **ACROSS_CHANNELS)
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        for layer in (self.conv3, self.conv4, self.conv5):
            x = functional.relu(layer(x))
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True).flatten(1)
        for hidden in (self.fc6, self.fc7):
            x = functional.dropout(functional.relu(hidden(x)), self.dropout, self.training)
        logits: Tensor = self.fc8(x)
        return logits
