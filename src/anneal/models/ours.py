"""The networks that this package brings, by the name that timm knows them under."""

from collections.abc import Callable

from torch import nn

from anneal.models.caffe_cifar import caffe_cifar, caffe_cifar_sigmoid_bn

OURS: dict[str, Callable[..., nn.Module]] = {
    "caffe_cifar": caffe_cifar,
    "caffe_cifar_sigmoid_bn": caffe_cifar_sigmoid_bn,
}
