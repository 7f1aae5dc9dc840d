"""A configuration to take apart: the default run of conf/, as plain data and parsed."""

import copy
from pathlib import Path
from typing import Any

import pytest

from anneal.config.compose import compose_plain
from anneal.config.schema import ExperimentConfig
from anneal.config.strict import parse

REPOSITORY = Path(__file__).resolve().parents[1]
WHERE = "conf/x.yaml"


@pytest.fixture(scope="session")
def _composed() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        plain = compose_plain("run")
    del plain["seed"], plain["paths"]
    return plain


@pytest.fixture
def plain(_composed: dict[str, Any]) -> dict[str, Any]:
    """Return the default run as plain data, a copy to spoil."""
    return copy.deepcopy(_composed)


@pytest.fixture
def experiment(plain: dict[str, Any]) -> ExperimentConfig:
    """Return the default run, parsed."""
    return parse(ExperimentConfig, plain, where=WHERE)
