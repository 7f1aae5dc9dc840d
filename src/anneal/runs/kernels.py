"""Entry to the CPU kernels of the extension ``anneal_cpu_kernels``.

The extension is a separate distribution in ``extensions/cpu_kernels``. It is imported only with
``hardware.kernels: cpu``.
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
    """Check that the extension supports a network on this machine.

    Raises:
        ValueError: it is not installed, or does not support the device, network, precision or
            processor.
    """
    if device != "cpu":
        raise ValueError(f"cpu needs the device cpu, got {device}")
    _load_extension().check(architecture, precision)


def apply_kernels(model: nn.Module, precision: torch.dtype) -> None:
    """Make a supported network use the kernels of the extension; its weights are unchanged."""
    _load_extension().apply(model, precision)


def kernels_digest() -> str:
    """Return the digest of the extension's sources, 12 hexadecimal digits."""
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
