"""Imports point inwards: pure core <- engine <- edges (design.md, "Three rings")."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"

# Each module stands in exactly one ring; `package.*` stands for the package and all inside it.
# The modules of `datasets` that are no edges know neither a configuration nor a file.
RINGS = {
    "pure": """
        anytime candidates claims compared comparison config curves durations ensemble_tables
        ensembles families judging like_paper metrics optimizer_arguments parsing plans power
        range_test_record results schedule_building snapshots snippets statistics tables
        bounds.* schedules.*
        datasets.identity datasets.sources datasets.splitting
    """,
    "engine": """
        distributed evaluation range_test seeding torch training
        datasets.augment
        models.* optimizers.*
    """,
    "edges": """
        __init__ advice_figure advice_page advice_question advise artifacts builders code
        command_line compare comparison_sources compiling composing costs csv_files ensemble
        ensemble_figure ensemble_files environment figures hardware layout loading measured
        multirun offline_runs one_run plot progress publish range_test_figure records repository
        resolved results_files run runs schedule_figure side_process snapshot_evaluation
        snapshot_outputs status svg sweeps tracking trials yaml_files
        datasets.__init__ datasets.archives datasets.batches datasets.cifar datasets.digits
        datasets.image_data datasets.imagefolder datasets.resizing datasets.torchvision_sets
        report.* stages.*
    """,
}

FILES_AND_NETWORK = """
    pathlib shutil tempfile glob fileinput pickle shelve sqlite3 tarfile zipfile gzip lzma socket
    subprocess urllib http requests filelock yaml omegaconf hydra dvc wandb
"""
READS_OR_WRITES = {"open", "json.load", "json.dump", "torch.load", "torch.save", "numpy.load"}
PURE_MAY_IMPORT = {"numpy", "scipy"}
ONLY_IN = {
    "hydra": {"composing", "run"},
    "wandb": {"tracking"},
    "wandb_workspaces": {"publish"},
}


def module_names() -> dict[str, Path]:
    """Return each module's name without ``anneal.`` (a package's is ``package.__init__``)."""
    root = SOURCE / "anneal"
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path
        for path in sorted(root.rglob("*.py"))
    }


def rings_of(module: str) -> list[str]:
    """Return the rings that claim a module."""

    def claims(entry: str) -> bool:
        return module.startswith(entry[:-1]) if entry.endswith(".*") else module == entry

    return [ring for ring, entries in RINGS.items() if any(map(claims, entries.split()))]


def imports_of(source: str, known: set[str]) -> Iterator[str]:
    """Yield what a file imports, at any depth: ``torch``, ``anneal.schedules.core``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


def calls_of(source: str) -> Iterator[str]:
    """Yield the dotted names of what a file calls."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def violations(module: str, source: str, modules: set[str]) -> list[str]:
    """Return what a module imports or calls against the rules of its ring."""
    ring = (*rings_of(module), "edges")[0]  # one in no ring fails its own test
    packages = {name.removesuffix(".__init__") for name in modules if "." in name}
    known = {f"anneal.{name}" for name in modules | packages}
    known |= {f"anneal.{name.split('.')[0]}" for name in modules if "." in name}
    allowed = set() if module.startswith("schedules.") else PURE_MAY_IMPORT
    found = []
    for imported in sorted(set(imports_of(source, known))):
        top = imported.split(".")[0]
        if top in ONLY_IN and module not in ONLY_IN[top]:
            found.append(f"{module} imports {imported}: that is for {', '.join(ONLY_IN[top])}")
        elif ring == "edges":
            continue
        elif top == "anneal":
            inner = imported.removeprefix("anneal").removeprefix(".") or "__init__"
            inner = inner if inner in modules else f"{inner}.__init__"
            inner_ring = rings_of(inner)[0]
            if inner_ring == "edges" or (ring, inner_ring) == ("pure", "engine"):
                found.append(f"{module} ({ring}) imports {imported} ({inner_ring})")
            if ring == "engine" and inner == "config":
                found.append(f"{module} (engine) imports the configuration")
        elif top in FILES_AND_NETWORK.split():
            found.append(f"{module} ({ring}) imports {imported}: files and network are for edges")
        elif ring == "pure" and top not in sys.stdlib_module_names | allowed:
            found.append(f"{module} (pure) imports {imported}")
    if ring != "edges":
        called = sorted(set(calls_of(source)) & READS_OR_WRITES)
        found += [f"{module} ({ring}) calls {name}: files are for edges" for name in called]
    return found


def test_each_module_stands_in_exactly_one_ring() -> None:
    rings = {name: rings_of(name) for name in module_names()}
    assert {name: found for name, found in rings.items() if len(found) != 1} == {}


def test_imports_point_inwards() -> None:
    modules = module_names()
    found = [
        line
        for name, path in modules.items()
        for line in violations(name, path.read_text(), set(modules))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("schedules.core", "import numpy"),
        ("statistics", "import torch"),
        ("curves", "from anneal.training import train"),
        ("curves", "def f():\n    from anneal import tracking"),
        ("durations", "import yaml"),
        ("durations", "from pathlib import Path"),
        ("claims", "text = open('x').read()"),
        ("training", "from anneal.config import ExperimentConfig"),
        ("training", "from anneal import builders"),
        ("training", "from anneal.datasets import obtain"),
        ("training", "torch.save(state, path)"),
        ("models.building", "import wandb"),
        ("builders", "from hydra import compose"),
        ("stages.train", "import wandb"),
        ("publish", "import wandb.apis"),
    ],
)
def test_the_rules_catch(module: str, source: str) -> None:
    modules = {"builders", "config", "training", "tracking", "datasets.__init__"}
    assert len(violations(module, source, modules)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("statistics", "import math, numpy\nfrom scipy import stats"),
        (
            "training",
            "import torch\nfrom anneal.torch import ScheduledLR\nfrom anneal import seeding",
        ),
        ("curves", "from anneal.durations import Clock"),
        ("builders", "from pathlib import Path\nfrom anneal.training import train"),
        ("tracking", "import wandb"),
        ("publish", "import wandb_workspaces.reports.v2"),
    ],
)
def test_the_rules_let_pass(module: str, source: str) -> None:
    modules = {"torch", "training", "seeding", "durations"}
    assert violations(module, source, modules) == []


@pytest.mark.parametrize("use", ["import anneal", "import anneal; anneal.triangular"])
def test_the_library_is_there_without_torch_or_numpy(use: str) -> None:
    code = f"{use}\nimport sys\nprint(*{{'torch', 'numpy', 'yaml', 'hydra'}} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (run.returncode, run.stdout.split()) == (0, []), run.stderr
