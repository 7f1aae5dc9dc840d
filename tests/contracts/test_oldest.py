"""The library's tests against the oldest torch, numpy and scipy that pyproject.toml promises.

That environment is 5 GB, so it is made by hand, and ``ANNEAL_OLDEST`` names its Python::

    python3.11 -m venv oldest
    oldest/bin/pip install 'torch==2.4.*' 'numpy==2.0.*' 'scipy==1.14.*' scikit-learn
    oldest/bin/pip install pytest pytest-timeout hypothesis
"""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

OLDEST = os.environ.get("ANNEAL_OLDEST")
TESTS = (
    "tests/schedules",
    "tests/training/test_scheduled_lr.py",
    "tests/range_test/test_rules.py",
    "tests/range_test/test_sweep.py",
    "tests/range_test/test_any_task.py",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        OLDEST is None, reason="ANNEAL_OLDEST names no Python with the oldest torch"
    ),
]


def oldest_promised(repository: Path) -> dict[str, str]:
    """Return package -> the version after ``>=``, as far as it is written."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["torch"]
    return dict(re.fullmatch(r"([a-z]+)>=([0-9.]+)", line).groups() for line in lines)


def test_library_works_with_the_oldest_versions_it_promises(repository: Path) -> None:
    promised = oldest_promised(repository)
    assert sorted(promised) == ["numpy", "scipy", "torch"]
    show = f"from importlib.metadata import version; print(*map(version, {list(promised)}))"
    for command in (["-c", show], ["-m", "pytest", "-q", "--noconftest", *TESTS]):
        ended = subprocess.run(
            [str(OLDEST), *command],
            cwd=repository,
            env=os.environ | {"PYTHONPATH": str(repository / "src")},
            capture_output=True,
            text=True,
            check=False,
            timeout=800,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        if command[0] == "-c":
            found = zip(promised.values(), ended.stdout.split(), strict=True)
            assert all(there.startswith(f"{wanted}.") for wanted, there in found), ended.stdout
