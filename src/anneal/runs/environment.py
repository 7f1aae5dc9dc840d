"""The environment of a run: commit, versions, device, threads, flags."""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from anneal.config.folders import DISTRIBUTION, checkout
from anneal.io.git import commit_of
from anneal.runs.hardware import cpu_capability

PACKAGES = ("torch", "torchvision", "timm", "numpy")
FLAGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG")


def describe_environment() -> dict[str, Any]:
    """Return one entry of environment.json as plain data."""
    return {
        "started": now(),
        "commit": None if (root := checkout()) is None else commit_of(root),
        "versions": {"anneal": version(DISTRIBUTION)} | {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cpu_capability": cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "tf32": tf32_flags() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
    }


def tf32_flags() -> dict[str, bool]:
    """Return for each library whether float32 on CUDA is computed in TF32 now."""
    return {
        "cublas": torch.backends.cuda.matmul.allow_tf32,
        "cudnn": torch.backends.cudnn.allow_tf32,
    }


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def version(package: str) -> str | None:
    """Return an installed package's version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
