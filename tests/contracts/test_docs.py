"""The documentation: its Python runs, its lists are complete, and it builds without a warning."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from anneal.claims.files import load_claims

DOCS = Path(__file__).parents[2] / "docs"
# The lines of frameworks.md are run by tests/frameworks, which has the frameworks.
PAGES = sorted(
    path
    for path in DOCS.glob("*.md")
    if "```python\n" in path.read_text() and path.stem != "frameworks"
)


def hook(name: str) -> ModuleType:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    spec = importlib.util.spec_from_file_location(name, DOCS / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_of_a_page_runs(
    page: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # pictures go there
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, page.name, "exec"), names)
        said = capsys.readouterr().out.strip()
        for promised in re.findall(r"\bprint\(.*\)  # (.*)", block):
            assert said == promised


def test_every_public_schedule_has_its_picture() -> None:
    gallery = hook("schedule_gallery")
    assert gallery.public_schedules() == gallery.CALLS.keys()
    assert all(gallery.schedule_of(call)(0) >= 0 for call in gallery.CALLS.values())
    assert gallery.picture("triangular2").startswith(b"<?xml")
    assert f"begin -->\n{gallery.table()}\n<!-- schedules:end" in gallery.PAGE.read_text()


def test_papers_page_has_row_claim_command_and_cost() -> None:
    pages = hook("paper_pages")
    claims = load_claims(DOCS.parent / "paper" / "claims")
    assert pages.PAPERS.keys() == {claim.id.split("/")[0] for claim in claims}
    found = [claim for claim in claims if claim.id == "clr/table1/cifar10/triangular2"]
    page = pages.paper_page(
        "CLR",
        found,
        planned={},
        campaigns={"clr/cifar10_triangular2": ["clr_cifar10"]},
        exists=["clr/cifar10_triangular2"],
        cost=lambda _row: pages.RowCost(updates=25_000, peta_flop=0.178),
    )
    for line in (
        "## Table 1",
        f"- {found[0].text} (tolerance 0.6)",
        "dvc exp run -S campaign=clr_cifar10",
        "anneal run experiment=clr/cifar10_triangular2 seed=0",
        "Cost: 25,000 updates, 0.18 PFLOP.",
    ):
        assert line in page.splitlines()
    planned = {"clr/cifar10_triangular2": "a GPU."}
    of_no_cost = {"campaigns": {}, "exists": (), "cost": lambda _row: 1 / 0}
    page = pages.paper_page("CLR", found, planned=planned, **of_no_cost)
    assert "Not written yet. It needs: a GPU." in page.splitlines()
    page = pages.paper_page("CLR", found, planned={}, **of_no_cost)
    assert "For reference: no experiment trains it." in page.splitlines()


def test_doctests_of_a_docstring_are_shown_as_code() -> None:
    blocks = hook("doctest_blocks")
    text = "A rate.\n\n>>> rate(0)\n1.0\n\nArgs:\n    x: [1.0] it.\n\n>>> last\n[2.0]"
    shown = "A rate.\n\n```pycon\n>>> rate(0)\n1.0\n```\n\nArgs:\n    x: [1.0] it.\n\n```pycon\n"
    assert blocks.fenced(text) == f"{shown}>>> last\n[2.0]\n```"


@pytest.mark.slow
def test_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=DOCS.parent, capture_output=True, text=True, check=False, timeout=800
    )
    assert built.returncode == 0, built.stdout + built.stderr
    for page in (
        "schedules",
        "frameworks",
        "range_test",
        "design",
        "reproduce/clr",
        "api/schedules",
    ):
        assert (tmp_path / page / "index.html").is_file(), page
