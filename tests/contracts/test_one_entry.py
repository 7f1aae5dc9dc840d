"""CONTRIBUTING's worked blocks add one schedule, data set, optimizer and model, and they train."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.warm import warm_python

ROOT = Path(__file__).parents[2]
ASKED = ["dataset=stripes", "optimizer=sign_sgd", "model=tiny_cnn", "scheduler=sawtooth"]
SHORT = ["training.length=40 steps", "training.batch_size=20", "training.evaluations=1",
         "training.snapshots=cycle_ends", "hardware.device=cpu", "tracking=off"]  # fmt: skip


def blocks() -> dict[str, str]:
    """Return path -> block of the section; the line above a block names its file."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("\n### One of each, worked\n")[1]
    section = section.split("\n## ")[0]
    found = re.findall(r"`([\w./-]+)`:\n\n```(?:python|yaml)\n(.*?)```\n", section, re.DOTALL)
    assert len(found) == section.count("```") // 2, "a block names no file"
    return dict(found)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of src/ and conf/ in which somebody did what the section says."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in ("src", "conf"):
        shutil.copytree(
            ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name, text in blocks().items():
        path = copy / name
        before = f"{path.read_text()}\n\n" if path.is_file() else ""
        path.write_text(before + text)
    return copy


def says(tree: Path, *arguments: str) -> str:
    """Run Python on the copy; return what it prints."""
    run = subprocess.run(
        [warm_python(), *arguments],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_only_registries_and_new_files_are_touched() -> None:
    existing = {name for name in blocks() if (ROOT / name).exists()}
    assert existing == {
        "src/anneal/datasets/registry.py",
        "src/anneal/models/registry.py",
        "src/anneal/runs/optimizers.py",
        "src/anneal/schedules/cyclical.py",
        "src/anneal/schedules/registry.py",
    }


@pytest.mark.slow
def test_new_schedule_is_public_planned_and_bound(tree: Path) -> None:
    code = f"""
import json
import anneal
from anneal.config.bounds import apply_bounds
from anneal.config.compose import compose_run
from anneal.runs.plan import check_plan
experiment = compose_run({[*ASKED, *SHORT]!r})
plan = check_plan(experiment, where="conf/run.yaml")
again = anneal.from_description(plan.schedule.describe())
print(json.dumps({{
    "file": anneal.__file__,
    "public": "sawtooth" in anneal.__all__ and again == plan.schedule,
    "rate": anneal.sawtooth(base_lr=0.0, max_lr=1.0, cycle_steps=4)(5),
    "cycles": plan.cycle_ends,
    "steps_per_epoch": plan.steps_per_epoch,
    "bound": apply_bounds("sawtooth", experiment.scheduler.arguments, 0.1, 0.2),
}}))
"""
    assert json.loads(says(tree, "-c", code)) == {
        "file": str(tree / "src" / "anneal" / "__init__.py"),
        "public": True,
        "rate": 0.25,
        "cycles": [10, 20, 30, 40],
        "steps_per_epoch": 10,
        "bound": {"base_lr": 0.1, "max_lr": 0.2, "cycle": "0.25 run"},
    }


@pytest.mark.slow
def test_new_schedule_is_drawn(tree: Path) -> None:
    says(tree, "-m", "anneal", "plot", *ASKED, *SHORT, "to=sawtooth.svg")
    assert (tree / "sawtooth.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_all_four_train_a_run_together(tree: Path) -> None:
    says(tree, "-m", "anneal", "run", *ASKED, *SHORT)
    (result,) = (tree / "multirun").glob("*/seed-0/result.json")
    measured = json.loads(result.read_text())
    assert (measured["status"], measured["updates"]) == ("finished", 40)
    assert measured["test_accuracy_pct@final"] == 100.0  # lying and standing differ in each pixel
