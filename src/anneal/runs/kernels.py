"""Entry to the CPU kernels of the extension ``anneal_cpu_kernels``.

It is a distribution of its own, in ``extensions/cpu_kernels``. Nothing imports it unless a
configuration says ``hardware.kernels: cpu``.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Final

import torch
from torch import nn

from anneal.runs.code_digest import digest_of

EXTENSION: Final = "anneal_cpu_kernels"
INSTALL: Final = "pip install ./extensions/cpu_kernels"


def check_kernels(*, device: str, architecture: str, precision: torch.dtype) -> None:
    """Refuse what the extension does not serve.

    Raises:
        ValueError: it is not installed, or serves another device, network, precision or processor.
    """
    if device != "cpu":
        raise ValueError(f"cpu serves the device cpu, got {device}")
    _load_extension().check(architecture, precision)


def apply_kernels(model: nn.Module, precision: torch.dtype) -> None:
    """Have a network that the extension serves compute with its kernels; weights stay in place."""
    _load_extension().apply(model, precision)


def kernels_digest() -> str:
    """Return 12 hexadecimal digits that change when the extension's sources do."""
    file = _load_extension().__file__
    assert file is not None
    return digest_of(Path(file).parent, (".",))


def _load_extension() -> ModuleType:
    try:
        return importlib.import_module(EXTENSION)
    except ModuleNotFoundError as error:
        if error.name != EXTENSION:
            raise
        raise ValueError(
            f"cpu needs the extension {EXTENSION}, which is not installed: "
            f"`{INSTALL}` in a clone of the repository"
        ) from None
