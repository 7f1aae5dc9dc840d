"""Compositions of conf/ that several tests ask for: Hydra makes each once."""

import hashlib
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from anneal.config import compose

Compose = Callable[[str, Sequence[str]], dict[str, Any]]


@pytest.fixture(scope="session")
def _composing_once(tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """Return ``compose_plain`` with files of what it returned, for all processes of the session."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder /= "compositions"
    folder.mkdir(exist_ok=True)
    make = compose.compose_plain

    def composed(config_name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
        key = hashlib.sha256(repr((config_name, *overrides)).encode()).hexdigest()
        file = folder / key
        if not file.exists():
            part = file.with_suffix(f".{os.getpid()}")
            part.write_bytes(pickle.dumps(make(config_name, overrides)))
            part.replace(file)
        plain: dict[str, Any] = pickle.loads(file.read_bytes())
        return plain

    return composed


@pytest.fixture
def compose_once(
    _composing_once: Compose, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> Compose:
    """Compose at the root of the project, each composition once: Hydra takes 0.1 s for one."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr(compose, "compose_plain", _composing_once)
    return _composing_once
