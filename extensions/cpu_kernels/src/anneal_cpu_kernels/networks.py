"""The networks that the kernels serve, and the change of a network's class that applies them."""

import re
from typing import Final

import torch
from torch import Tensor, nn

from anneal.models.caffe_cifar import (
    CaffeCIFAR,
    CaffeCIFARSigmoidBN,
    CaffeNet,
    WithinChannelLRN,
)
from anneal.models.resnet import BasicBlock, ResNetCIFAR
from anneal.runs.hardware import cpu_capability, has_tiles
from anneal_cpu_kernels.compiler import BLOCKS, POOLS, load_library
from anneal_cpu_kernels.fused_pooling import fused_pool
from anneal_cpu_kernels.fused_residual import run_blocks

SERVES: Final = (
    "caffe_cifar and caffe_cifar_sigmoid_bn in float32 or bf16, and cifar_resnet<depth> in bf16 on "
    "a processor with AMX"
)
WORDS: Final = {torch.float32: "float32", torch.bfloat16: "bf16"}


class FusedPooling(CaffeNet):
    """Caffe's networks with each pooling, its ReLU and its LRN in one pass over memory."""

    def pool(
        self, x: Tensor, *, maximum: bool, relu: bool, norm: WithinChannelLRN | None = None
    ) -> Tensor:
        """Pool as ``CaffeNet.pool`` does, in one operation."""
        alpha = 0.0 if norm is None else norm.alpha
        return fused_pool(x, maximum=maximum, relu=relu, alpha=alpha)


class FusedCaffeCIFAR(FusedPooling, CaffeCIFAR):
    """``CaffeCIFAR`` with fused pooling."""


class FusedCaffeCIFARSigmoidBN(FusedPooling, CaffeCIFARSigmoidBN):
    """``CaffeCIFARSigmoidBN`` with fused pooling."""


class FusedResNetCIFAR(ResNetCIFAR):
    """``ResNetCIFAR`` with fused blocks in training; it is evaluated with the plain layers."""

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (B, in_chans, H, W), H and W multiples of 32 px in training."""
        if not self.training:
            return super().forward(x)
        blocks = [
            (block.conv1, block.bn1, block.conv2, block.bn2)
            for block in self.blocks
            if isinstance(block, BasicBlock)
        ]
        return self.classify(run_blocks(self.conv1(x), self.bn1, blocks))


# The class of a network -> the class with kernels, and their source.
FUSED: Final[dict[type[nn.Module], tuple[type[nn.Module], str]]] = {
    CaffeCIFAR: (FusedCaffeCIFAR, POOLS),
    CaffeCIFARSigmoidBN: (FusedCaffeCIFARSigmoidBN, POOLS),
    ResNetCIFAR: (FusedResNetCIFAR, BLOCKS),
}


def check(architecture: str, precision: torch.dtype) -> None:
    """Refuse a network that the kernels do not serve here.

    Args:
        architecture: its name in timm's registry.
        precision: of the forward pass.

    Raises:
        ValueError: there are no kernels for it, or they cannot be compiled; one line.
    """
    if architecture in ("caffe_cifar", "caffe_cifar_sigmoid_bn") and precision in WORDS:
        load_library(POOLS)
    elif (
        re.fullmatch(r"cifar_resnet\d+", architecture)
        and precision == torch.bfloat16
        and has_tiles()
    ):
        load_library(BLOCKS)
    else:
        words = WORDS.get(precision, str(precision))
        raise ValueError(
            f"cpu serves {SERVES}; got {architecture} in {words} on a processor with "
            f"{cpu_capability()}"
        )


def apply(model: nn.Module, precision: torch.dtype) -> None:
    """Have a network compute with the kernels, in place.

    Only its class changes: parameters, buffers, state_dict keys and hooks stay.

    Args:
        model: on the CPU.
        precision: of the forward pass; the blocks of a ResNet take bfloat16 alone.

    Raises:
        ValueError: there are no kernels for it, or they cannot be compiled; one line.
    """
    found, device = FUSED.get(type(model)), next(model.parameters()).device.type
    if (
        found is None
        or device != "cpu"
        or precision not in WORDS
        or (found[1] == BLOCKS and not (precision == torch.bfloat16 and has_tiles()))
    ):
        words = WORDS.get(precision, str(precision))
        raise ValueError(
            f"cpu serves {SERVES}; got {type(model).__name__} in {words} on {device}, a processor "
            f"with {cpu_capability()}"
        )
    load_library(found[1])
    model.__class__ = found[0]
