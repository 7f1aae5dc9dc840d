"""A row of full length is judged at most twice: with three runs, and with all that were planned.

Verdicts between the two would be further looks, and each look errs anew (docs/verdicts.md).
"""

import csv
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FIRST_LOOK = 3


def planned_runs(campaign: dict) -> dict[str, int]:
    """Return how many seeds a campaign names for each of its rows."""
    seeds = len(campaign["seeds"])
    rows = campaign["campaign"]["experiments"]
    return {name: (row or {}).get("num_seeds", seeds) for name, row in rows.items()}


def further_looks(runs: Counter, planned: dict[str, int]) -> list[str]:
    """Return the rows whose runs allow a look that is neither the first nor the last."""
    return [
        f"{name}: {n} runs, it is judged with {FIRST_LOOK} and with all {planned[name]} planned"
        for name, n in runs.items()
        if name in planned and n > FIRST_LOOK and n != planned[name]
    ]


def full_campaigns() -> list[Path]:
    paths = sorted((ROOT / "conf/campaign").glob("*.yaml"))
    return [path for path in paths if yaml.safe_load(path.read_text()).get("budget_fraction") == 1]


def test_there_are_campaigns_of_full_length() -> None:
    assert {"clr_cifar10", "one_cycle_mnist"} <= {path.stem for path in full_campaigns()}


@pytest.mark.parametrize("path", full_campaigns(), ids=lambda path: path.stem)
def test_no_row_of_full_length_is_judged_a_third_time(path: Path) -> None:
    planned = planned_runs(yaml.safe_load(path.read_text()))
    table = ROOT / "results" / path.stem / "runs.csv"
    runs = Counter[str]()
    if table.is_file():
        with table.open() as lines:
            runs = Counter(row["experiment"] for row in csv.DictReader(lines))
    assert further_looks(runs, planned) == []


@pytest.mark.parametrize(
    ("runs", "planned", "said"),
    [
        (3, 5, []),
        (4, 4, []),
        (1, 3, []),
        (4, 5, ["a: 4 runs, it is judged with 3 and with all 5 planned"]),
        (5, 3, ["a: 5 runs, it is judged with 3 and with all 3 planned"]),
    ],
)
def test_run_that_allows_another_look_is_named(runs: int, planned: int, said: list[str]) -> None:
    assert further_looks(Counter({"a": runs}), {"a": planned}) == said
