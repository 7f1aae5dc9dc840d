"""A room imports only rooms below it, and four rules say who may import what from outside."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "anneal"

# Each room with the rooms that it may import.
LIBRARY = {
    "io": "",
    "schedules": "",
    "training": "schedules io",
    "range_test": "training schedules io",
    "models": "io",
}
BELOW = LIBRARY | {
    "config": "schedules io",
    "datasets": "config schedules io",
    "runs": "datasets config models range_test training schedules io",
}
for _above, _room in [("results", "runs"), ("claims", "results"), ("report", "claims"),
                      ("advise", "report"), ("commands", "advise")]:  # fmt: skip
    BELOW[_above] = f"{_room} {BELOW[_room]}"

DOORS = ("", "__main__")  # ``import anneal`` and ``python -m anneal``: public names, the verbs

ONLY_IN = {  # a package -> the modules that may import it
    "hydra": {"config.compose", "commands.run"},
    "wandb": {"runs.tracking", "report.wandb"},
    "wandb_workspaces": {"report.wandb"},
}


def module_of(path: Path) -> str:
    """Return the name below ``anneal``: ``runs.plan``, for a package's own file ``runs``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(source: str) -> Iterator[str]:
    """Yield what a file imports, at any depth: ``torch``, ``anneal.runs.plan``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full.removeprefix("anneal.") in MODULES else node.module


def violations(module: str, source: str) -> list[str]:
    """Return what a module imports against the rules, one line each."""
    room, found = module.split(".")[0], []
    for imported in sorted(set(imports_of(source))):
        top, _, inner = imported.partition(".")
        if module not in ONLY_IN.get(top, {module}):
            found.append(f"{module} imports {imported}: only {', '.join(ONLY_IN[top])} may")
        if room == "schedules" and top not in sys.stdlib_module_names | {"anneal"}:
            found.append(f"{module} imports {imported}: schedules use the standard library alone")
        if top != "anneal" or room in DOORS or inner.split(".")[0] == room:
            continue
        if inner.split(".")[0] not in BELOW[room].split():
            found.append(f"{module} imports {imported}: {room} stands below it, or beside it")
    return found


def test_every_module_stands_in_a_room() -> None:
    assert {name.split(".")[0] for name in MODULES} == {*BELOW, *DOORS}


def test_room_imports_only_rooms_below_it() -> None:
    found = [line for name, path in MODULES.items() for line in violations(name, path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("schedules.schedule", "import numpy"),
        ("training.loop", "from anneal.config.schema import ExperimentConfig"),
        ("range_test.sweep", "from anneal.models import build"),
        ("results.curves", "def f():\n    from anneal.report import page"),
        ("models.build", "import wandb"),
        ("runs.setup", "from hydra import compose"),
        ("io.files", "from anneal.config import strict"),
    ],
)
def test_rules_catch(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize("use", ["import anneal", "import anneal; anneal.triangular"])
def test_library_is_there_without_torch_or_numpy(use: str) -> None:
    code = f"{use}\nimport sys\nprint(*{{'torch', 'numpy', 'yaml', 'hydra'}} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (run.returncode, run.stdout.split()) == (0, []), run.stderr
