"""Registry of the networks of this package."""

from collections.abc import Callable

from torch import nn

from anneal.models.caffe_alexnet import CaffeAlexNet
from anneal.models.caffe_cifar import caffe_cifar, caffe_cifar_sigmoid_bn
from anneal.models.caffe_googlenet import CaffeGoogLeNet
from anneal.models.caffe_lenet import CaffeLeNet
from anneal.models.caffe_resnet import CaffeProjectionResNet, CaffeResNet
from anneal.models.densenet import CaffeDenseNet, DenseNetCIFAR
from anneal.models.eeg.convnets import Deep4, Shallow
from anneal.models.eeg.resnet import EEGResNet
from anneal.models.entrypoints import entrypoint
from anneal.models.resnet import ResNetCIFAR, StochasticDepthResNet
from anneal.models.wide_resnet import SGDRWideResNet, WideResNet

_ENTRYPOINTS: list[Callable[..., nn.Module]] = [
    caffe_cifar,
    caffe_cifar_sigmoid_bn,
    entrypoint("caffe_lenet", CaffeLeNet),
    entrypoint("caffe_alexnet", CaffeAlexNet),
    entrypoint("caffe_googlenet", CaffeGoogLeNet),
    *(entrypoint(f"cifar_resnet{d}", ResNetCIFAR, depth=d) for d in (20, 32, 44, 56, 110)),
    entrypoint("cifar_sd_resnet110", StochasticDepthResNet, depth=110),
    *(
        entrypoint(f"cifar_wrn{name}_{width}", WideResNet, blocks=blocks, width=width)
        for name, blocks, width in (
            (16, 2, 2), (16, 2, 8), (28, 4, 1), (28, 4, 10), (28, 4, 20), (32, 5, 4), (40, 6, 4),
        )
    ),
    *(
        entrypoint(f"sgdr_wrn{name}_{width}", SGDRWideResNet, blocks=blocks, width=width)
        for name, blocks, width in (
            (16, 2, 1), (16, 2, 2), (28, 4, 1), (28, 4, 2), (28, 4, 5), (28, 4, 10), (28, 4, 20),
        )
    ),
    *(  # of 16 px images, and of 64 px ones
        entrypoint(f"sgdr_wrn{name}_{width}", SGDRWideResNet, blocks=4, width=width, stages=stages)
        for name, stages in ((20, 2), (36, 4))
        for width in (1, 2, 5, 10)
    ),
    entrypoint("cifar_densenet40_12", DenseNetCIFAR, depth=40, growth_rate=12),
    entrypoint("cifar_densenet100_12", DenseNetCIFAR, depth=100, growth_rate=12),
    entrypoint("cifar_densenet100_24", DenseNetCIFAR, depth=100, growth_rate=24),
    entrypoint(
        "cifar_densenet_bc100_12",
        DenseNetCIFAR,
        depth=100,
        growth_rate=12,
        first_channels=24,
        bottleneck=True,
        compression=0.5,
    ),
    entrypoint("caffe_densenet40_12", CaffeDenseNet, depth=40, growth_rate=12),
    entrypoint("caffe_resnet20", CaffeResNet, depth=20, bias_decay_mult=1.0),
    entrypoint("caffe_resnet56", CaffeResNet, depth=56, bias_decay_mult=0.0),
    entrypoint("caffe_resnet110", CaffeResNet, depth=110, bias_decay_mult=1.0),
    entrypoint(
        "caffe_projection_resnet56",
        CaffeProjectionResNet,
        widths=(16, 32, 64),
        plain_blocks=(8, 8, 8),
    ),
    entrypoint(
        "caffe_wide_resnet32",
        CaffeProjectionResNet,
        widths=(16, 64, 256),
        plain_blocks=(5, 4, 4),
    ),
]  # fmt: skip
OURS: dict[str, Callable[..., nn.Module]] = {build.__name__: build for build in _ENTRYPOINTS}
SIGNAL_NETWORKS: dict[str, Callable[..., nn.Module]] = {  # of signals, the others of images
    "eeg_resnet": entrypoint("eeg_resnet", EEGResNet),
    "eeg_deep4": entrypoint("eeg_deep4", Deep4),
    "eeg_shallow": entrypoint("eeg_shallow", Shallow),
}
