"""House words: names of tests, phrases with a plainer substitute."""

import re
from pathlib import Path

import pytest

LONGEST = 70  # characters of a test's name
PLAINER = {  # phrase -> what to write instead
    "anew": "again",
    "are told": "get",
    "behind the highest": "gap to best",
    "goes on from": "resumes from",
    "gone on from": "resumed from",
    "is told": "gets",
    "not told apart": "statistically tied",
    "what of": "which part of",
    "without a word": "was killed",
}
PLACES = ("src", "docs", "conf", "benchmarks", "README.md", "CONTRIBUTING.md")
TEXTS = {".py", ".md", ".yaml", ".yml"}


def texts_in(place: Path) -> list[Path]:
    """Return the text files at or below a path."""
    found = [place] if place.is_file() else sorted(place.rglob("*"))
    return [path for path in found if path.suffix in TEXTS]


def names_of_tests(repository: Path) -> list[str]:
    """Return the names of all test functions."""
    return [
        name
        for folder in ("tests", "extensions")
        for path in (repository / folder).rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    ]


def test_test_names_have_at_most_70_characters(repository: Path) -> None:
    names = names_of_tests(repository)
    assert len(names) > 1000
    assert [name for name in names if len(name) > LONGEST] == []


def test_test_names_begin_without_an_article(repository: Path) -> None:
    names = names_of_tests(repository)
    assert [name for name in names if re.match(r"test_(a|an|the)_", name)] == []


@pytest.mark.parametrize("phrase", PLAINER)
def test_phrase_with_plainer_substitute_is_not_used(phrase: str, repository: Path) -> None:
    pattern = re.compile(r"\b" + phrase.replace(" ", r"\s+(?:#\s+)?") + r"\b", re.IGNORECASE)
    found = [
        str(path.relative_to(repository))
        for place in PLACES
        for path in texts_in(repository / place)
        if pattern.search(path.read_text())
    ]
    assert found == [], f"write {PLAINER[phrase]!r}"
