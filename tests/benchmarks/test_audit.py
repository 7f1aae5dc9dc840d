"""The audit's counts: what is known, what could not be looked up."""

import runpy
from pathlib import Path

import pytest

FINE = {"name": "fine", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "lines", "is_vulnerable", "num_skipped"),
    [
        ([FINE], ["a.lock: 1 of 1 packages audited, 0 with a known vulnerability"], False, 0),
        (
            [FINE, BAD, UNKNOWN],
            [
                "a.lock: 2 of 3 packages audited, 1 with a known vulnerability",
                "  bad 2.0: PYSEC-1, PYSEC-2",
            ],
            True,
            1,
        ),
        (
            [UNKNOWN],
            ["a.lock: not run: the service knows none of its 1 packages"],
            False,
            1,
        ),
    ],
)
def test_audit_counts_vulnerable_and_skipped_packages(
    repository: Path, packages: list[dict], lines: list[str], is_vulnerable: bool, num_skipped: int
) -> None:
    summarise = runpy.run_path(str(repository / "benchmarks" / "audit.py"))["summarise"]
    found = summarise("a.lock", {"dependencies": packages})
    assert found == (lines, is_vulnerable, num_skipped)
