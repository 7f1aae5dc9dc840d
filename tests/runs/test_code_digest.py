"""The digest of the code: changed by what changes numbers, and by nothing else."""

import shutil
from pathlib import Path

import pytest

from anneal.advise.trials import OWN_CODE
from anneal.runs import code_digest as code
from anneal.runs.code_digest import NUMBERS, code_digest, meaning
from anneal.runs.range_test import READING

PACKAGE = Path(code.__file__).parents[1]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the sources, which the digest is then made of."""
    copied = tmp_path / "anneal"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "__file__", str(copied / "runs" / "code_digest.py"))
    return copied


def digest() -> str:
    return code_digest.__wrapped__()


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_it_is_twelve_digits_and_the_same_from_a_copy(package: Path) -> None:
    assert digest() == code_digest() == digest()
    assert len(digest()) == 12
    assert set(digest()) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", NUMBERS)
def test_it_changes_with_each_file_and_folder_it_lists(package: Path, name: str) -> None:
    before, path = digest(), package / name
    file = path if path.is_file() else sorted(path.rglob("*.py"))[-1]
    with file.open("a") as more:
        more.write("\nONE_MORE = 1\n")
    assert digest() != before


@pytest.mark.parametrize("name", [*READING, OWN_CODE])
def test_it_changes_with_each_file_that_a_caller_adds(package: Path, name: str) -> None:
    before, path = code_digest.__wrapped__(name), package / name
    with (path if path.is_file() else sorted(path.rglob("*.py"))[-1]).open("a") as more:
        more.write("\nONE_MORE = 1\n")
    assert code_digest.__wrapped__(name) != before


def test_digest_of_a_folder_changes_with_python_and_cpp_sources(tmp_path: Path) -> None:
    (tmp_path / "wrapper.py").write_text("STRIDE = 2\n")
    (tmp_path / "kernel.cpp").write_text("int stride = 2;\n")
    seen = {code.digest_of(tmp_path, ["."])}
    edit(tmp_path / "kernel.cpp", "stride = 2", "stride = 3")
    seen.add(code.digest_of(tmp_path, ["."]))
    edit(tmp_path / "wrapper.py", "STRIDE = 2", "STRIDE = 3")
    seen.add(code.digest_of(tmp_path, ["."]))
    assert len(seen) == 3


def test_it_changes_with_a_number_a_name_an_order_and_a_file(package: Path) -> None:
    file = package / "training" / "loop.py"
    source, seen = file.read_text(), {digest()}
    file.write_text(source + "\nX = 1\nY = 2\n")
    seen.add(digest())
    file.write_text(source + "\nX = 1\nY = 3\n")
    seen.add(digest())
    file.write_text(source + "\nY = 2\nX = 1\n")
    seen.add(digest())
    file.write_text(source)
    (package / "models" / "one_more.py").write_text("")
    seen.add(digest())
    (package / "models" / "one_more.py").rename(package / "models" / "other.py")
    seen.add(digest())
    assert len(seen) == 6


def test_comments_docstrings_and_layout_do_not_count(package: Path) -> None:
    before = digest()
    for file in package.rglob("*.py"):
        text = file.read_text().replace("\n\n\n", "\n\n\n# one more comment\n\n\n")
        file.write_text(text.replace('"""', '"""Said otherwise. ', 1))
    assert digest() == before


def test_what_only_shows_or_stores_numbers_does_not_count(package: Path) -> None:
    before = digest()
    for name in ("runs/progress.py", "runs/tracking.py", "report/figures.py", "commands/status.py"):
        with (package / name).open("a") as more:
            more.write("\nONE_MORE = 1\n")
    (package / "models" / "notes.txt").write_text("no module")
    assert digest() == before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1  # one", "x=1"),
        ('def f():\n    """Say."""\n    return 1', "def f():\n    return 1"),
        ('class A:\n    """Say."""\n    x = 1', "class A:\n    x = 1"),
        ('"""Say."""\nx = 1', "x = 1"),
        ('async def f():\n    """Say."""\n    return 1', "async def f():\n    return 1"),
        ("f(a,\n  b)", "f(a, b)"),
        ("x = 'a'", 'x = "a"'),
    ],
)
def test_two_ways_to_write_one_meaning(one: str, other: str) -> None:
    assert meaning(one) == meaning(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = 1.0"),
        ("x = a + b", "x = b + a"),
        ("def f(a, b): return a", "def f(a, *, b): return a"),
        ('def f():\n    return """Say."""', "def f():\n    return 1"),
        ('x = 1\n"""Say."""\ny = 2', "x = 1\ny = 2"),  # not first, so no docstring
        ("if a:\n    x()\ny()", "if a:\n    x()\n    y()"),
    ],
)
def test_two_meanings(one: str, other: str) -> None:
    assert meaning(one) != meaning(other)
