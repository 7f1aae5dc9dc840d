"""The page of promises: each names tests that exist."""

import re
from pathlib import Path


def test_each_promise_names_a_test_that_exists(repository: Path) -> None:
    page = (repository / "docs" / "what_holds.md").read_text()
    written = re.sub(r"<!-- (\w+):begin -->.*?<!-- \1:end -->", "", page, flags=re.DOTALL)
    rows = [line for line in written.splitlines() if re.match(r"\| (?!promise|:-)", line)]
    named = [(row, re.findall(r"`(test_\w+)`", row)) for row in rows]
    tests = {
        name
        for path in (repository / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) >= 15
    assert [row for row, names in named if not names] == []
    assert [name for _, names in named for name in names if name not in tests] == []
