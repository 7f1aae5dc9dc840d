"""The schedules are light to import, and the package is lazy."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import anneal

HEAVY = ("torch", "numpy", "scipy", "hydra", "wandb", "timm", "matplotlib")


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize(
    "statement",
    [
        "import anneal",
        "import anneal.schedules",
        "from anneal import triangular; triangular(base_lr=0.1, max_lr=0.5, half_cycle_steps=4)(3)",
        "import anneal; anneal.schedules.from_description(anneal.constant(lr=1).describe())",
    ],
)
def test_schedules_load_nothing_heavy(statement: str) -> None:
    loaded = run_python(f"import sys; {statement}; print(*sys.modules)").split()
    assert not set(loaded) & set(HEAVY)


def test_importing_the_schedules_is_quick() -> None:
    # 0.02 s measured beyond the interpreter's own start; the best of five rides out a busy machine
    code = (
        "import time; start = time.perf_counter(); import anneal.schedules; "
        "print(time.perf_counter() - start)"
    )
    assert min(float(run_python(code)) for _ in range(5)) < 0.3


def test_every_public_name_exists_and_is_listed() -> None:
    for name in anneal.__all__:
        assert getattr(anneal, name) is not None
        assert name in dir(anneal)
    assert {*anneal._LAZY, *anneal.schedules.__all__} < {*anneal.__all__}


def test_range_test_and_its_rules_are_there_for_somebodys_own_loop() -> None:
    code = (
        "import anneal, sys; anneal.suggest, anneal.agreement; "
        "print('torch' in sys.modules, anneal.sweep_rates.__module__, "
        "anneal.run_range_test.__module__)"
    )
    assert run_python(code).split() == [
        "False",
        "anneal.range_test.sweep",
        "anneal.range_test.sweep",
    ]


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'anneal' has no attribute 'triangulr'$"):
        anneal.triangulr  # noqa: B018


def test_version_is_that_of_the_project() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == anneal.__version__
