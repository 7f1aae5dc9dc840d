"""Statistics over subjects: the simulated coverage, and the page that says it."""

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def subjects(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    monkeypatch.chdir(repository)
    import subjects

    return subjects


def test_page_has_the_table_of_the_committed_results(subjects: ModuleType) -> None:
    assert subjects.results_table() in subjects.PAGE.read_text()


@pytest.mark.slow
def test_only_the_sign_test_holds_the_median_as_often_as_it_says(subjects: ModuleType) -> None:
    for n in subjects.SUBJECTS:
        found = {spread: subjects.coverage(spread, n) for spread in subjects.SPREADS}
        assert min(one["sign test"] for one in found.values()) > 90
        assert found["skewed"]["sign flips"] < 88
        assert found["normal"]["bootstrap"] < 90
        page = subjects.PAGE.read_text()
        for spread, one in found.items():
            row = " | ".join([spread, str(n), *(f"{value:.1f}" for value in one.values())])
            assert f"| {row} |" in page
