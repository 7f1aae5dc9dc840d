"""What a run ran on: commit, versions, device, threads, flags (edge)."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from anneal.config.folders import checkout
from anneal.runs.hardware import cpu_capability

DISTRIBUTION = "anneal-lr"
PACKAGES = ("torch", "torchvision", "timm", "numpy")
FLAGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG")


def describe_environment() -> dict[str, Any]:
    """Return one entry of environment.json, all of it plain data."""
    return {
        "started": now(),
        "commit": commit(),
        "versions": {"anneal": version(DISTRIBUTION)} | {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cpu_capability": cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
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


def commit() -> str | None:
    """Return this code's commit, with ``+`` where tracked sources differ; None for a wheel."""
    root = checkout()
    if root is None:  # a repository around the current folder is somebody else's
        return None
    try:
        head = _git("-C", str(root), "rev-parse", "HEAD")
        options = ("--porcelain", "--untracked-files=no", "--", "src", "conf")
        changed = _git("-C", str(root), "status", *options)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head[:12]}{'+' if changed else ''}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def cpu_name() -> str:
    """Return the processor's name as the system says it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
