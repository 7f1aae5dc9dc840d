"""Importing this registers our networks with timm, for ``timm.create_model``."""

from timm.models import register_model

from anneal.models.registry import OURS, SIGNAL_NETWORKS

for _entrypoint in (*OURS.values(), *SIGNAL_NETWORKS.values()):
    register_model(_entrypoint)
