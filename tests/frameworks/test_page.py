"""The page of frameworks: its versions are those installed, its other lines run."""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest
import torch

LOCKS = ("requirements-frameworks.lock", "requirements.lock")
PACKAGES = {
    "Lightning": "lightning",
    "Hugging Face Trainer": "transformers",
    "Accelerate": "accelerate",
    "Ignite": "pytorch-ignite",
    "timm's training loop": "timm",
    "torch.compile": "torch",
}


def versions_of_the_page(repository: Path) -> dict[str, str]:
    """Return package -> the version that the table names."""
    text = (repository / "docs" / "frameworks.md").read_text()
    rows = re.findall(r"^\| \[(.*?)\]\(#.*?\) \| (?:[a-z]+ )?([\d.]+) \|", text, re.MULTILINE)
    return {PACKAGES[framework]: version for framework, version in rows}


def test_versions_of_the_page_are_locked(repository: Path) -> None:
    locked = "".join((repository / name).read_text() for name in LOCKS)
    versions = versions_of_the_page(repository)
    assert sorted(versions) == sorted(PACKAGES.values())
    for package, version in versions.items():
        assert re.search(rf"^{package}=={re.escape(version)} ", locked, re.MULTILINE), package


@pytest.mark.frameworks
def test_versions_of_the_page_are_installed(repository: Path) -> None:
    for package, version in versions_of_the_page(repository).items():
        assert importlib.metadata.version(package) == version


@pytest.mark.frameworks
def test_compiled_update_has_the_schedules_rates(page: Any, net: Any, loader: Any) -> None:
    model = net()
    torch._dynamo.reset()
    names = page("torch.compile", model=model)
    applied = []
    for inputs, labels in loader:
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        applied.append(float(names["optimizer"].param_groups[0]["lr"]))
        names["update"]()
        names["optimizer"].zero_grad()
    assert applied == pytest.approx([names["schedule"](update) for update in range(12)])
