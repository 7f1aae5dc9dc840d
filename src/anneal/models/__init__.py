"""Networks: ours, and everything that timm and torchvision have, by name.

``import anneal.models.timm`` makes ours known to timm. Importing timm takes seconds: it is
done where one of its own networks is built, and not for ours.
"""

from anneal.models.build import build_model, parameter_groups

__all__ = ["build_model", "parameter_groups"]
