"""What the tests of frameworks share: the page's lines, a small task and the rates applied."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

# Read before the tests begin, which are kept away from ANNEAL_*.
FOLDER = os.environ.get("ANNEAL_FRAMEWORKS")


@pytest.fixture(scope="session", autouse=True)
def _frameworks_importable() -> Iterator[None]:
    """Put the folder last on the path, so that what is locked comes from .venv."""
    if FOLDER is None:
        yield
        return
    sys.path.append(FOLDER)
    yield
    sys.path.remove(FOLDER)


@pytest.fixture(scope="session")
def frameworks_folder() -> str:
    """Return the folder of the frameworks, for other processes."""
    assert FOLDER is not None
    return FOLDER


@pytest.fixture
def page(repository: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that runs the Python below a heading of the page and returns its names.

    With ``until``, each block ends before the line that begins so.
    """
    return partial(run_page, repository / "docs" / "frameworks.md")


def run_page(path: Path, heading: str, *, until: str | None = None, **names: Any) -> dict[str, Any]:
    """Run the Python of a page's head and of one section; return its names."""
    head, *sections = path.read_text().split("\n## ")
    (section,) = (part for part in sections if part.startswith(f"{heading}\n"))
    for block in re.findall(r"^```python\n(.*?)^```", head + section, re.MULTILINE | re.DOTALL):
        code = block if until is None else block.split(f"\n{until}")[0]
        exec(compile(code, path.name, "exec"), names)
    return names


@pytest.fixture
def applied() -> Iterator[list[list[float]]]:
    """Return a list that gets the rates of all groups, each time an optimizer makes a step."""
    rates: list[list[float]] = []
    handle = listen(rates)
    yield rates
    handle.remove()


def listen(rates: list[list[float]]) -> Any:
    """Append the rates of all groups to a list, each time an optimizer makes a step."""

    def record(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        rates.append([float(group["lr"]) for group in optimizer.param_groups])

    return register_optimizer_step_pre_hook(record)


class Net(nn.Module):
    """A backbone and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(8, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.backbone(inputs)))


def points() -> torch.utils.data.TensorDataset:
    """Return 48 points of 4 classes."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(48, 8, generator=generator)
    return torch.utils.data.TensorDataset(inputs, inputs[:, :4].argmax(1))


@pytest.fixture
def net() -> type[Net]:
    """Return the class of a small network, the same each time it is made."""
    return Net


@pytest.fixture
def dataset() -> torch.utils.data.TensorDataset:
    """Return 48 points of 4 classes."""
    return points()


@pytest.fixture
def loader(dataset: torch.utils.data.TensorDataset) -> torch.utils.data.DataLoader:
    """Return twelve batches of 4."""
    return torch.utils.data.DataLoader(dataset, batch_size=4)


@pytest.fixture
def state_of() -> Callable[[nn.Module], list[float]]:
    """Return a function that gives all weights of a model, to be compared bit for bit."""
    return weights_of


def weights_of(model: nn.Module) -> list[float]:
    """Return all weights of a model in one list."""
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
