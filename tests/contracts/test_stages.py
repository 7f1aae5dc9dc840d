"""What a stage imports is what it depends on, and what changes numbers is in the code's digest."""

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from anneal.runs.code_digest import NUMBERS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "anneal"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
READ_BY = {  # files of the package that are no modules
    "runs/measured_settings.json": "anneal.runs.hardware",
}

# A training goes through these three and what they import. Not in the digest, each for a reason:
NUMBERS_COME_FROM = {"anneal.runs.setup", "anneal.training.loop", "anneal.runs.plan"}
RECORDED_ELSEWHERE = {
    "anneal": "the public names alone; who uses a schedule imports it from anneal.schedules",
    "anneal.config.schema": "what it reads is in the configuration's hash",
    "anneal.config.strict": "what it reads is in the configuration's hash",
    "anneal.config.durations": "the updates that it finds are in the configuration's hash",
    "anneal.config.snapshots": "which weights are kept changes no number",
    "anneal.config.bounds": "the rates that it puts in are in the configuration's hash",
    "anneal.config.paths": "folders of data, whose content is in the identity",
    "anneal.io": "it reads and writes files, and computes nothing",
    "anneal.runs.inputs": "what it reads is in the configuration's hash",
    "anneal.runs.layout": "names of folders alone",
    "anneal.runs.kernels": "what it loads is in the settings' numerics, with its digest",
    "anneal.runs.hardware": "the precision asked for is in the hash, the choice in the environment",
}


def file_of(module: str) -> Path:
    """Return the file of a module of ours, or of a package its ``__init__.py``."""
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def is_module(name: str) -> bool:
    return name.split(".")[0] == "anneal" and file_of(name).is_file()


def imports_of(module: str) -> Iterator[str]:
    """Yield the modules of ours that a file imports, inside its functions too.

    Not what only type checkers read. Importing a module runs the packages it lies in.
    """
    pending: list[ast.AST] = [ast.parse(file_of(module).read_text())]
    found = set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        pending += ast.iter_child_nodes(node)
    for name in found:
        parts = name.split(".")
        yield from filter(is_module, (".".join(parts[:n]) for n in range(1, len(parts) + 1)))


def all_imports_of(modules: set[str], stop: set[str] = frozenset()) -> set[str]:  # type: ignore[assignment]
    """Return these modules and all of ours that they import, directly or not."""
    found: set[str] = set()
    pending = set(modules)
    while pending:
        module = pending.pop()
        found.add(module)
        if module not in stop:
            pending |= set(imports_of(module)) - found
    return found


# Each module is imported by a fork; torch and others, which are not ours, once before.
IMPORT_EACH = """
import json, os, sys
import altair, hydra, scipy.stats, torch._dynamo
assert not any(name.split(".")[0] == "anneal" for name in sys.modules)
for module in sys.argv[1:]:
    if os.fork() == 0:
        __import__(module)
        print(json.dumps([module, sorted(sys.modules)]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, module
"""


@functools.cache
def loaded_by_each() -> dict[str, set[str]]:
    """Return the modules of ours that importing the package, or a stage, loads."""
    modules = ["anneal", *(f"anneal.commands.stages.{stage}" for stage in STAGES)]
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    found = dict(json.loads(line) for line in run.stdout.splitlines())
    assert [*found] == modules
    return {
        module: {name for name in names if name.split(".")[0] == "anneal"}
        for module, names in found.items()
    }


def section_of(stage: str) -> dict[str, Any]:
    section = STAGES[stage]
    return section.get("do", section)


def paths_of(entries: list[Any]) -> list[str]:
    """Return the paths of a list of dependencies or outputs, with or without options."""
    return [next(iter(e)) if isinstance(e, dict) else e for e in entries]


def covers(dependency: str, file: Path) -> bool:
    """Tell whether a dependency is a file or a folder above it."""
    path = ROOT / dependency
    return file == path or path in file.parents


def uncovered(files: set[Path], dependencies: list[str]) -> list[str]:
    return sorted(
        file.relative_to(ROOT).as_posix()
        for file in files
        if not any(covers(dependency, file) for dependency in dependencies)
    )


def test_every_stage_has_a_module_of_its_name_and_every_module_a_stage() -> None:
    folder = PACKAGE / "commands" / "stages"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == set(STAGES)
    for stage in STAGES:
        command = f"env PYTHONPATH=src python -m anneal.commands.stages.{stage}"
        assert f"{section_of(stage)['cmd']} ".startswith(f"{command} ")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_it_imports_and_on_no_other_code(stage: str) -> None:
    loaded = loaded_by_each()
    modules = loaded[f"anneal.commands.stages.{stage}"]
    assert f"anneal.commands.stages.{stage}" in modules
    modules = modules - loaded["anneal"]  # the public names: whoever needs one imports it itself
    modules = all_imports_of(modules, stop={"anneal"})  # inside functions, too
    docstrings_alone = {"anneal", "anneal.commands", "anneal.commands.stages"}
    files = {file_of(module) for module in modules - docstrings_alone}
    files |= {PACKAGE / name for name, module in READ_BY.items() if module in modules}
    dependencies = paths_of(section_of(stage)["deps"])
    missing = uncovered(files, dependencies)
    assert missing == [], f"{stage} imports these; dvc.yaml's deps must list them: {missing}"
    ours = [d for d in dependencies if d.startswith("src/")]
    idle = [d for d in ours if not any(covers(d, file) for file in files)]
    assert idle == [], f"{stage} imports nothing of these; dvc.yaml's deps must not list them"
    assert ours == sorted(ours)
    assert len(ours) == len(set(ours))


def test_package_data_files_are_known_by_their_reader() -> None:
    data = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "py.typed"
    }
    assert data == set(READ_BY)
    for name, module in READ_BY.items():
        assert Path(name).name in file_of(module).read_text()


def test_imports_in_functions_count_but_not_those_for_types() -> None:
    assert "anneal.datasets.image_data" in set(imports_of("anneal.datasets.digits"))
    assert "anneal.training.scheduled_lr" not in set(imports_of("anneal"))
    assert "anneal.datasets" in set(imports_of("anneal.runs.plan"))  # above anneal.datasets.sources


def matches(one: str, other: str) -> bool:
    """Tell whether a path is another or lies below it, as written, ``${...}`` included."""
    return one == other or one.startswith(f"{other}/")


def instances(written: str) -> str:
    """Write ``range_tests/x/${item.range_test}/f`` as the stage that makes it writes it."""
    written = written.replace("${item.dataset}", "${item}").replace("${item.range_test}", "${key}")
    return written.replace("${item.first}", "${key}").replace("${item.second}", "${key}")


@pytest.mark.parametrize("stage", STAGES)
def test_a_dependency_is_in_the_repository_or_comes_out_of_another_stage(stage: str) -> None:
    outs = {
        out: other
        for other in STAGES
        for out in paths_of(section_of(other)["outs"])
        if other != stage
    }
    for dependency in paths_of(section_of(stage)["deps"]):
        written = instances(dependency)
        made = any(
            matches(path, out) or matches(out, path)
            for out in outs
            for path in (dependency, written)
        )
        options = "${" in dependency and Path(dependency.split("${")[0]).parts[:1] == ("conf",)
        kept = (ROOT / dependency).exists() if not options else True
        assert made or kept, f"{stage}: {dependency} is neither kept nor made"


@pytest.mark.parametrize("stage", STAGES)
def test_an_output_is_no_dependency_of_its_own_stage(stage: str) -> None:
    section = section_of(stage)
    for out in paths_of(section["outs"]):
        overlapping = [d for d in paths_of(section["deps"]) if matches(d, out) or matches(out, d)]
        assert overlapping in ([], ["results"]), f"{stage}: {out}"


def test_dvc_looks_at_no_compiled_modules() -> None:
    """Folders of code are dependencies: each run of Python would change them."""
    assert "__pycache__" in (ROOT / ".dvcignore").read_text().split()


def test_digest_covers_every_module_that_changes_numbers() -> None:
    modules = all_imports_of(NUMBERS_COME_FROM, stop=set(RECORDED_ELSEWHERE))
    through = {
        module
        for module in modules
        if not any(
            module == m or module.startswith(f"{m}.") for m in RECORDED_ELSEWHERE if "." in m
        )
    } - {"anneal", "anneal.config", "anneal.runs"}  # docstrings alone
    listed = [f"src/anneal/{name}" for name in NUMBERS]
    assert uncovered({file_of(module) for module in through}, listed) == []
    idle = [d for d in listed if not any(covers(d, file_of(module)) for module in through)]
    assert idle == []
    assert list(NUMBERS) == sorted(NUMBERS)
    assert set(RECORDED_ELSEWHERE) <= modules, "an exception that is none"
