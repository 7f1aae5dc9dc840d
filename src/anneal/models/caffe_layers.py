"""Pooled sizes, fillers and normalisation as Caffe has them."""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

# Arguments of torch's local_response_norm for the LRN layers of AlexNet and GoogLeNet; both
# libraries divide alpha by the size.
ACROSS_CHANNELS: Final[dict[str, Any]] = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0}


def pooled_size(size: int, *, window: int = 3) -> int:
    """Return the side in pixels after pooling of stride 2 (Caffe @9b89154, pooling_layer.cpp).

    Caffe's rule is ``ceil((size - window) / 2) + 1``. A window may stick out at the end, but always
    starts in the image, so that Caffe's clipping of the last window (which it does for padded
    pooling alone) would change nothing.

    >>> [pooled_size(side) for side in (32, 31, 24, 9, 8)]
    [16, 15, 12, 4, 4]
    >>> [pooled_size(side, window=2) for side in (24, 8, 9)]
    [12, 4, 5]
    """
    return -((window - size) // 2) + 1


def fill_gaussian(layer: nn.Conv2d | nn.Linear, *, std: float, bias: float) -> None:
    """Draw weights from N(0, std), set the bias: Caffe's "gaussian" and "constant" (filler.hpp)."""
    nn.init.normal_(layer.weight, std=std)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)


def fill_xavier(layer: nn.Conv2d | nn.Linear, *, bias: float) -> None:
    """Draw weights within ``sqrt(3 / values in)``, set the bias: Caffe's "xavier" (filler.hpp)."""
    bound: float = (3 / layer.weight[0].numel()) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)


class CaffeBatchNorm(nn.Module):
    """Caffe's BatchNorm (Caffe @9b89154, batch_norm_layer.cpp), and Scale after it if asked.

    Training normalises with the batch's mean and biased variance, as torch does. Caffe's statistics
    for testing are not torch's moving average: each training batch does ``sum = fraction * sum +
    batch`` for the mean, for the unbiased variance (m / (m - 1) times the biased one) and for a
    counter that adds 1, and testing divides by the counter. So the first batches count fully,
    nothing of an initial value stays, and the weights reach 1 / (1 - fraction) batches back. The
    three buffers are Caffe's three blobs, in their order. Before the first training batch Caffe
    takes mean 0 and variance 0; so does this layer.

    Args:
        num_features: Channels C.
        moving_average_fraction: How much of the sums each training batch keeps.
        eps: Added to the variance.
        scaled: Whether a Scale layer with bias follows, starting from 1 and 0.
    """

    mean_sum: Tensor
    variance_sum: Tensor
    scale_factor: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        moving_average_fraction: float = 0.999,
        eps: float = 1e-5,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features)) if scaled else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if scaled else None
        self.moving_average_fraction = moving_average_fraction
        self.eps = eps
        self.register_buffer("mean_sum", torch.zeros(num_features))
        self.register_buffer("variance_sum", torch.zeros(num_features))
        self.register_buffer("scale_factor", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``, shape (N, C, H, W); the output has its shape and dtype."""
        if not self.training:
            # 1 / 0 before the first batch; Caffe takes 0 there.
            scale = self.scale_factor.reciprocal().nan_to_num(posinf=0.0)
            mean, variance = self.mean_sum * scale, self.variance_sum * scale
            return functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        # With momentum 1 torch writes the batch's own mean and unbiased variance into these two.
        mean, variance = torch.zeros_like(self.mean_sum), torch.zeros_like(self.variance_sum)
        normalised = functional.batch_norm(
            x, mean, variance, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps
        )
        with torch.no_grad():
            self.mean_sum.mul_(self.moving_average_fraction).add_(mean)
            self.variance_sum.mul_(self.moving_average_fraction).add_(variance)
            self.scale_factor.mul_(self.moving_average_fraction).add_(1)
        return normalised

    def running_sums(self) -> tuple[tuple[Tensor, ...], Tensor, float]:
        """Return the sums, the one that counts batches, and the fraction that a batch keeps."""
        sums = (self.mean_sum, self.variance_sum, self.scale_factor)
        return sums, self.scale_factor, self.moving_average_fraction

    def extra_repr(self) -> str:
        """Show the arguments in ``print(model)``."""
        fraction, eps = self.moving_average_fraction, self.eps
        return f"{self.mean_sum.numel()}, moving_average_fraction={fraction}, eps={eps}"
