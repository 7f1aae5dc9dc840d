"""Update rules of the papers' own code (Caffe) that torch does not have."""

from anneal.training.optimizers.caffe import CaffeNesterov, CaffeSGD
from anneal.training.optimizers.caffe_adaptive import (
    CaffeAdaDelta,
    CaffeAdaGrad,
    CaffeAdam,
    CaffeRMSProp,
)

__all__ = [
    "CaffeAdaDelta",
    "CaffeAdaGrad",
    "CaffeAdam",
    "CaffeNesterov",
    "CaffeRMSProp",
    "CaffeSGD",
]
