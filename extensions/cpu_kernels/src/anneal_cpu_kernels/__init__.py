"""Fused CPU kernels for Caffe's CIFAR-10 networks and He et al.'s ResNets.

``anneal.runs.kernels`` calls :func:`check` and :func:`apply` where a configuration says
``hardware.kernels: cpu``. The kernels are C++ that is compiled on first use.
"""

from anneal_cpu_kernels.networks import SERVES, apply, check

__all__ = ["SERVES", "apply", "check"]
