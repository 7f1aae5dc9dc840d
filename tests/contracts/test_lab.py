"""The lab book and its scripts agree: names, parts of an entry, tables of committed data."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((REPOSITORY / "lab").glob("*.py"))
PARTS = ["Question", "Set-up", "Result", "Conclusion", "Next"]
KINDS = ("Reads:", "Trains:", "Measures:")


def docstring_of(script: Path) -> str:
    """Return a script's docstring, or nothing."""
    return ast.get_docstring(ast.parse(script.read_text())) or ""


def entries() -> dict[str, str]:
    """Return the lab book's entries by their headings."""
    _, *found = re.split(r"^## ", (REPOSITORY / "LABBOOK.md").read_text(), flags=re.MULTILINE)
    return dict(entry.split("\n", 1) for entry in found)


def naming(script: Path) -> list[str]:
    """Return the entries that name a script."""
    return [text for text in entries().values() if f"(lab/{script.name})" in text]


@pytest.mark.parametrize("heading", entries())
def test_entry_has_its_date_and_five_parts_in_order(heading: str) -> None:
    assert re.match(r"\d{4}-\d\d-\d\d: .", heading)
    assert re.findall(r"^\*\*(.+?)\.\*\*", entries()[heading], re.MULTILINE) == PARTS


def test_entries_are_newest_first() -> None:
    dates = [heading[:10] for heading in entries()]
    assert dates == sorted(dates, reverse=True)


def test_every_script_that_the_lab_book_names_exists() -> None:
    text = (REPOSITORY / "LABBOOK.md").read_text()
    named = set(re.findall(r"lab/([\w-]+\.py)", text))
    assert named == {script.name for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_is_named_by_the_entry_of_its_date(script: Path) -> None:
    dated = [h for h, text in entries().items() if f"(lab/{script.name})" in text]
    assert [heading[:10] for heading in dated] == [script.name[:10]]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_compiles_and_says_its_question_and_command(script: Path) -> None:
    compile(script.read_text(), script.name, "exec")
    docstring = docstring_of(script)
    assert "Question: " in docstring
    assert f"Command: python lab/{script.name}" in docstring
    assert sum(f"\n{kind} " in docstring for kind in KINDS) == 1


@pytest.mark.parametrize(
    "script",
    [script for script in SCRIPTS if "\nReads: " in docstring_of(script)],
    ids=lambda script: script.stem,
)
def test_script_of_committed_data_prints_the_tables_of_its_entry(script: Path) -> None:
    printed = subprocess.run(
        [sys.executable, script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    tables = [table.strip() for table in printed.split("\n\n")]
    (entry,) = naming(script)
    assert tables
    assert [table for table in tables if f"\n\n{table}\n\n" not in entry] == []
