"""Registration of our networks with timm; importing this module does it."""

from timm.models import register_model

from anneal.models.registry import OURS, SIGNAL_NETWORKS

for _entrypoint in (*OURS.values(), *SIGNAL_NETWORKS.values()):
    register_model(_entrypoint)
