"""Networks: ours, registered with timm, and everything that timm and torchvision have, by name.

Importing this package imports timm, which takes seconds; nothing that only needs schedules should.
"""

from anneal.models import caffe_cifar  # noqa: F401 - registers its models with timm
from anneal.models.building import build_model, parameter_groups

__all__ = ["build_model", "parameter_groups"]
