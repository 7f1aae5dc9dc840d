"""The command ``anneal``: its verbs, their help, and what it says where the pipeline is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anneal.commands.main import VERBS, usage

WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
PIPELINE = ["hydra", "omegaconf", "torch", "yaml", "rich", "wandb", "matplotlib", "timm", "dvc"]


def python(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def anneal(*arguments: str, missing: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command where these packages cannot be imported."""
    code = WITHOUT.format(missing=missing) + "from anneal.commands.main import main\nmain()"
    return python(code, *arguments, folder=folder)


def test_usage_has_a_line_for_every_verb() -> None:
    for verb, (_, line) in VERBS.items():
        assert f"  {verb} " in usage()
        assert line in usage()


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_imports_nothing_of_the_pipeline(verb: str, tmp_path: Path) -> None:
    ended = anneal(verb, "--help", missing=[*PIPELINE, "numpy", "scipy"], folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"anneal {verb}" in ended.stdout


@pytest.mark.parametrize(("verb", "seconds"), [("status", 0.5), ("run", 2), ("advise", 2)])
def test_help_of_a_verb_is_quick(verb: str, seconds: float, tmp_path: Path) -> None:
    def processor_seconds() -> float:
        before = os.times()
        command = [sys.executable, "-m", "anneal", verb, "--help"]
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60)
        after = os.times()
        user = after.children_user - before.children_user
        return user + after.children_system - before.children_system

    assert min(processor_seconds() for _ in range(3)) < seconds  # 0.1 measured


@pytest.mark.parametrize("verb", ["run", "advise", "status", "plot", "compare"])
def test_verb_without_the_pipeline_says_how_to_install_it(verb: str, tmp_path: Path) -> None:
    ended = anneal(verb, missing=PIPELINE, folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: `anneal {verb}` needs ")
    assert line.endswith("in a clone, pip install '.[pipeline]'")
    shown = anneal(verb, "--traceback", missing=PIPELINE, folder=tmp_path)
    assert "Traceback (most recent call last):" in shown.stderr


@pytest.mark.parametrize("name", ["ScheduledLR", "sweep_rates", "run_range_test"])
def test_public_name_that_needs_torch_says_how_to_install_it(name: str, tmp_path: Path) -> None:
    code = WITHOUT.format(missing=["torch"]) + f"from anneal import {name}"
    ended = python(code, folder=tmp_path)
    said = f"ModuleNotFoundError: anneal.{name} needs torch: in a clone, pip install '.[torch]'"
    assert ended.stderr.splitlines()[-1] == said
    assert "During handling" not in ended.stderr


def test_package_that_is_missing_besides_torch_is_named_itself(tmp_path: Path) -> None:
    code = WITHOUT.format(missing=["numpy"]) + "from anneal import suggest"
    assert "No module named 'numpy'" in python(code, folder=tmp_path).stderr
