"""Caffe's CIFAR-10 networks, which the CLR paper trains (Smith 2017, section 4.1).

Source: BVLC/caffe @9b89154, ``examples/cifar10/cifar10_full_train_test.prototxt`` (``caffe_cifar``)
and ``cifar10_full_sigmoid_train_test_bn.prototxt`` (``caffe_cifar_sigmoid_bn``); the layers are
those of ``src/caffe/layers``. Both are registered with timm by ``anneal.models.timm``:

>>> import timm
>>> import anneal.models.timm
>>> model = timm.create_model("caffe_cifar", num_classes=10)
>>> sum(parameter.numel() for parameter in model.parameters())
89578

What Caffe does and torch's defaults do not:

- Pooling rounds the output size up and divides an average by the part of the window inside
  the image. That is torch's ``ceil_mode=True`` without padding, for every size (tests/models hold
  both against Caffe's loops).
- The bias of most layers learns at twice the rate, and ``ip1`` decays 250 times as fast as the
  rest: ``multipliers`` gives these, and ``anneal.models.parameter_groups`` turns them into an
  optimizer's groups.
- Inputs are raw pixels, 0 to 255, minus the mean image; with inputs of unit scale conv1's tiny
  initial weights (standard deviation 0.0001) hardly learn.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from anneal.models.caffe_layers import CaffeBatchNorm, pooled_size
from anneal.models.entrypoints import Multipliers

__all__ = [
    "CaffeBatchNorm",
    "CaffeCIFAR",
    "CaffeCIFARSigmoidBN",
    "CaffeNet",
    "WithinChannelLRN",
    "caffe_cifar",
    "caffe_cifar_sigmoid_bn",
    "pooled_size",
]

SMALLEST_IMAGE: Final = 8  # px; three poolings leave nothing of fewer
BETA: Final = 0.75  # the exponent of both LRN layers; the code below is written for it


def _sum_3x3(values: Tensor) -> Tensor:
    """Sum over each pixel's 3x3 neighbourhood, zeros outside the image: (N, C, H, W) -> same.

    Slices and not ``avg_pool2d``, whose contiguous CPU kernel takes four times as long.
    """
    padded = functional.pad(values, (1, 1, 1, 1))
    rows = (padded[:, :, :-2] + padded[:, :, 1:-1]).add_(padded[:, :, 2:])
    return (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])


class _WithinChannelLRN(torch.autograd.Function):
    """``x * y^-0.75`` with ``y = 1 + alpha / 9 * sum3x3(x^2)``, and its derivative.

    With ``S`` the sum over 3x3 neighbours, which is its own transpose, and ``g`` the gradient of
    the output: ``dx = g * y^-0.75 - 2 * 0.75 * alpha / 9 * x * S(g * x * y^-1.75)``. By hand
    because autograd keeps and re-reads every intermediate, and ``pow`` with a fraction costs more
    than two roots: this layer is bound by memory, and there are two of them.

    Give it float32 at least: in bfloat16 ``1 + alpha * ...`` loses the sum wherever it is below
    0.004.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        root = _sum_3x3(x * x).mul_(alpha / 9).add_(1).rsqrt_()  # y^-1/2
        scale = root.sqrt().mul_(root)  # y^-3/4
        ctx.save_for_backward(x, root, scale)
        ctx.alpha = alpha
        return x * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, root, scale = ctx.saved_tensors
        direct = gradient * scale
        through_scale = _sum_3x3((direct * x).mul_(root).mul_(root))
        return direct.addcmul_(through_scale, x, value=-2 * BETA * ctx.alpha / 9), None


class WithinChannelLRN(nn.Module):
    """Caffe's LRN layer within channels, 3x3, beta 0.75, k 1 (Caffe @9b89154, lrn_layer.cpp).

    ``x * (1 + alpha * mean3x3(x^2))^-0.75``; the mean divides by 9 at the border too, because there
    Caffe pools over a padding of 1. torch's ``LocalResponseNorm`` sums across channels, another
    layer altogether.

    Args:
        alpha: Weight of the mean square; 5e-5 suits activations of 0-to-255 scale.
    """

    def __init__(self, alpha: float = 5e-5) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``, shape (N, C, H, W); the output has its shape and dtype."""
        # Cast out here: torch 2.11's compiler loses the gradient of a Function that casts inside.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normalised: Tensor = _WithinChannelLRN.apply(wide, self.alpha)  # type: ignore[no-untyped-call]
        return normalised.to(x.dtype)

    def extra_repr(self) -> str:
        """Show alpha in ``print(model)``."""
        return f"alpha={self.alpha}"


class CaffeNet(nn.Module):
    """The convolutions, the classifier, their initial values: what both networks share.

    Weights are gaussian with standard deviation 0.0001 (conv1) or 0.01 (the others) and biases
    zero, drawn in the order of the layers from torch's global generator, so that
    ``torch.manual_seed`` fixes them. With another number of filters than Caffe's (``width``, ours)
    the deviations of 0.01 are divided by the root of ``width``: what a layer gives spreads as at
    full width.
    """

    def __init__(
        self, *, num_classes: int, in_chans: int, img_size: int, conv_bias: bool, width: float = 1.0
    ) -> None:
        super().__init__()
        for name, value in (("num_classes", num_classes), ("in_chans", in_chans)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if img_size < SMALLEST_IMAGE:
            raise ValueError(
                f"img_size must be at least {SMALLEST_IMAGE} px (three poolings), got {img_size}"
            )
        if not (width > 0 and float(32 * width).is_integer()):
            raise ValueError(f"width must be a multiple of 1/32 (one filter of 32), got {width}")
        filters = int(32 * width)
        self.num_classes = num_classes
        side = pooled_size(pooled_size(pooled_size(img_size)))
        self.conv1 = nn.Conv2d(in_chans, filters, 5, padding=2, bias=conv_bias)
        self.conv2 = nn.Conv2d(filters, filters, 5, padding=2, bias=conv_bias)
        self.conv3 = nn.Conv2d(filters, 2 * filters, 5, padding=2, bias=conv_bias)
        self.ip1 = nn.Linear(2 * filters * side * side, num_classes)
        inner = 1e-2 * width**-0.5
        layers = (self.conv1, 1e-4), (self.conv2, inner), (self.conv3, inner), (self.ip1, inner)
        for layer, std in layers:
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def pool(
        self, x: Tensor, *, maximum: bool, relu: bool, norm: WithinChannelLRN | None = None
    ) -> Tensor:
        """Pool 3x3, stride 2, sizes rounded up: (N, C, H, W) -> (N, C, pooled H, pooled W).

        Args:
            x: What a convolution gave.
            maximum: Of each window the maximum, or its mean: a clipped window counts what is left.
            relu: Whether a ReLU comes before the mean, or after the maximum (they commute).
            norm: What comes last.
        """
        if relu and not maximum:
            x = functional.relu(x)
        pool = functional.max_pool2d if maximum else functional.avg_pool2d
        x = pool(x, 3, 2, ceil_mode=True)
        if relu and maximum:
            x = functional.relu(x)
        return x if norm is None else norm(x)


class CaffeCIFAR(CaffeNet):
    """Caffe's ``cifar10_full`` (Caffe @9b89154, cifar10_full_train_test.prototxt).

    conv1 - max pool - ReLU - LRN - conv2 - ReLU - average pool - LRN - conv3 - ReLU - average pool
    - ip1; 89,578 parameters for CIFAR-10.

    Args:
        num_classes: Width of the output.
        in_chans: Channels of the input.
        img_size: Side of the square input in pixels, 8 or more; ip1's width follows from it (4x4x64
            at 32 px).
        width: Filters over Caffe's 32, 32 and 64: a multiple of 1/32.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int = 32,
        width: float = 1.0,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_chans=in_chans,
            img_size=img_size,
            conv_bias=True,
            width=width,
        )
        self.norm1 = WithinChannelLRN()
        self.norm2 = WithinChannelLRN()

    @property
    def multipliers(self) -> Multipliers:
        """``{parameter: (lr_mult, decay_mult)}`` of the prototxt; conv3 has no ``param``: 1, 1."""
        return {
            "conv1.weight": (1.0, 1.0),
            "conv1.bias": (2.0, 1.0),
            "conv2.weight": (1.0, 1.0),
            "conv2.bias": (2.0, 1.0),
            "conv3.weight": (1.0, 1.0),
            "conv3.bias": (1.0, 1.0),
            "ip1.weight": (1.0, 250.0),
            "ip1.bias": (2.0, 0.0),
        }

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (N, in_chans, img_size, img_size); returns logits (N, num_classes)."""
        x = self.pool(self.conv1(x), maximum=True, relu=True, norm=self.norm1)
        x = self.pool(self.conv2(x), maximum=False, relu=True, norm=self.norm2)
        x = self.pool(self.conv3(x), maximum=False, relu=True)
        logits: Tensor = self.ip1(x.flatten(1))
        return logits


class CaffeCIFARSigmoidBN(CaffeNet):
    """Caffe's sigmoid network with batch normalisation (Smith 2017, figure 6).

    conv1 - max pool - BN - sigmoid - conv2 - BN - sigmoid - average pool - conv3 - BN - sigmoid -
    average pool - ip1; the convolutions have no bias, batch normalisation neither scale nor shift
    (Caffe @9b89154, ``cifar10_full_sigmoid_train_test_bn.prototxt``).

    Args:
        num_classes: Width of the output.
        in_chans: Channels of the input.
        img_size: Side of the square input in pixels, 8 or more.
    """

    def __init__(self, *, num_classes: int = 10, in_chans: int = 3, img_size: int = 32) -> None:
        super().__init__(
            num_classes=num_classes, in_chans=in_chans, img_size=img_size, conv_bias=False
        )
        self.bn1 = CaffeBatchNorm(32)
        self.bn2 = CaffeBatchNorm(32)
        self.bn3 = CaffeBatchNorm(64)

    @property
    def multipliers(self) -> Multipliers:
        """``{parameter: (lr_mult, decay_mult)}`` of the prototxt; its solver decays nothing."""
        return {
            "conv1.weight": (1.0, 1.0),
            "conv2.weight": (1.0, 1.0),
            "conv3.weight": (1.0, 1.0),
            "ip1.weight": (1.0, 1.0),
            "ip1.bias": (1.0, 0.0),
        }

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (N, in_chans, img_size, img_size); returns logits (N, num_classes)."""
        x = torch.sigmoid(self.bn1(self.pool(self.conv1(x), maximum=True, relu=False)))
        x = self.pool(torch.sigmoid(self.bn2(self.conv2(x))), maximum=False, relu=False)
        x = self.pool(torch.sigmoid(self.bn3(self.conv3(x))), maximum=False, relu=False)
        logits: Tensor = self.ip1(x.flatten(1))
        return logits


def _size_arguments(
    name: str, pretrained: bool, num_classes: int, in_chans: int, img_size: int, unused: Any
) -> dict[str, int]:
    """Refuse what ``timm.create_model`` may pass besides the sizes: it would be ignored."""
    if pretrained:
        raise ValueError(f"{name} has no pretrained weights")
    given = sorted(key for key, value in unused.items() if value is not None)
    if given:
        raise ValueError(f"{name} has no argument {', '.join(given)}")
    return {"num_classes": num_classes, "in_chans": in_chans, "img_size": img_size}


def caffe_cifar(
    pretrained: bool = False,
    *,
    num_classes: int = 10,
    in_chans: int = 3,
    img_size: int = 32,
    width: float = 1.0,
    **timm_arguments: Any,
) -> CaffeCIFAR:
    """Build ``CaffeCIFAR`` for ``timm.create_model("caffe_cifar", ...)``."""
    sizes = _size_arguments(
        "caffe_cifar", pretrained, num_classes, in_chans, img_size, timm_arguments
    )
    return CaffeCIFAR(**sizes, width=width)


def caffe_cifar_sigmoid_bn(
    pretrained: bool = False,
    *,
    num_classes: int = 10,
    in_chans: int = 3,
    img_size: int = 32,
    **timm_arguments: Any,
) -> CaffeCIFARSigmoidBN:
    """Build ``CaffeCIFARSigmoidBN`` for ``timm.create_model("caffe_cifar_sigmoid_bn", ...)``."""
    return CaffeCIFARSigmoidBN(
        **_size_arguments(
            "caffe_cifar_sigmoid_bn", pretrained, num_classes, in_chans, img_size, timm_arguments
        )
    )
