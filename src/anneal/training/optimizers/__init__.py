"""Optimizers whose update rules torch does not have as they are written in the papers' own code."""

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
