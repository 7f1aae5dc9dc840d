"""Caffe's LeNet for MNIST, which 1cycle trains (Smith 2018, arXiv 1803.09820).

Source: BVLC/caffe @9b89154, ``examples/mnist/lenet_train_test.prototxt``. ``anneal.models.timm``
registers it with timm:

>>> import timm
>>> import anneal.models.timm
>>> model = timm.create_model("caffe_lenet", num_classes=10, in_chans=1, img_size=28)
>>> sum(parameter.numel() for parameter in model.parameters())
431080
"""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from anneal.models.caffe_layers import fill_xavier, pooled_size
from anneal.models.entrypoints import Multipliers

SMALLEST_IMAGE: Final = 14  # px; two convolutions and two poolings leave nothing of fewer


class CaffeLeNet(nn.Module):
    """Caffe's LeNet: conv1 - max pool - conv2 - max pool - ip1 - ReLU - ip2; no ReLU after pooling.

    Weights are uniform within ``sqrt(3 / values in)`` (Caffe's "xavier", filler.hpp) and biases
    zero, drawn in the order of the layers from torch's global generator.

    Args:
        num_classes: Width of the output.
        in_chans: Channels of the input.
        img_size: Side of the square input in pixels, 14 or more; 4x4x50 values reach ip1 at 28 px.
    """

    def __init__(self, *, num_classes: int = 10, in_chans: int = 1, img_size: int = 28) -> None:
        super().__init__()
        if img_size < SMALLEST_IMAGE:
            raise ValueError(
                f"img_size must be at least {SMALLEST_IMAGE} px (two 5x5 convolutions without "
                f"padding, each pooled), got {img_size}"
            )
        side = pooled_size(pooled_size(img_size - 4, window=2) - 4, window=2)
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_chans, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.ip1 = nn.Linear(50 * side * side, 500)
        self.ip2 = nn.Linear(500, num_classes)
        for layer in (self.conv1, self.conv2, self.ip1, self.ip2):
            fill_xavier(layer, bias=0.0)

    @property
    def multipliers(self) -> Multipliers:
        """``{parameter: (lr_mult, decay_mult)}`` of the prototxt: biases learn twice as fast."""
        return {
            name: (2.0 if name.endswith("bias") else 1.0, 1.0)
            for name, _ in self.named_parameters()
        }

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (N, in_chans, img_size, img_size); returns logits (N, num_classes)."""
        x = functional.max_pool2d(self.conv1(x), 2, 2, ceil_mode=True)
        x = functional.max_pool2d(self.conv2(x), 2, 2, ceil_mode=True)
        logits: Tensor = self.ip2(functional.relu(self.ip1(x.flatten(1))))
        return logits
