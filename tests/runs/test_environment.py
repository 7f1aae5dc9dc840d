"""What a run says it ran on."""

import subprocess
from pathlib import Path

import pytest

from anneal.config.folders import DISTRIBUTION
from anneal.runs import environment


def test_commit_is_that_of_the_code_in_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    command = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    monkeypatch.chdir(tmp_path)
    commit = environment.describe_environment()["commit"]
    assert (commit or "").removesuffix("+") == head.stdout[:12]


def test_wheel_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "checkout", lambda: None)
    assert environment.describe_environment()["commit"] is None


def test_version_is_that_of_the_distribution() -> None:
    assert environment.version(DISTRIBUTION) == "0.1.0"
