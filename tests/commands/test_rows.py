"""``anneal rows``: the tables, and what each row of one changes, takes and costs."""

from pathlib import Path

import pytest

from anneal.commands import rows
from anneal.config.tables import load_rows


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.chdir(repository)


def test_without_a_table_all_are_listed_with_their_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows.main([])
    lines = capsys.readouterr().out.splitlines()
    counted = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert counted["sgdr/table1"] == 28
    assert sum(counted.values()) == len(load_rows(Path("conf")))
    assert "row  " in next(line for line in lines if "SGDR, Table 1: " in line).replace("s", " ")


def test_table_prints_what_each_row_changes_and_takes(capsys: pytest.CaptureFixture[str]) -> None:
    rows.main(["clr/table4_resnet20"])
    titles, *lines = capsys.readouterr().out.splitlines()
    assert titles.split()[:3] == ["row", "length", "updates"]
    step = next(line for line in lines if "step" in line)
    assert step.split("  ")[0] == "clr/cifar10_resnet20_step"
    assert "164 epochs     64,124  clr/resnet110_step, model=cifar_resnet20, " in step
    assert step.endswith("training.evaluations=10")


def test_costs_are_those_of_a_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    rows.main(["clr/table4_resnet20", "--costs"])
    titles, *lines = capsys.readouterr().out.splitlines()
    assert titles.split()[3:5] == ["images", "TFLOP"]
    assert all(f"{64_124 * 128:,}" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sgdr/tabel1"], "conf/table has no table 'sgdr/tabel1'; did you mean 'sgdr/table1'"),
        (["a", "b"], "needs at most one table (--costs needs one), got a b"),
        (["--costs"], "needs at most one table (--costs needs one), got"),
    ],
)
def test_mistake_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        rows.main(arguments)
    assert said in capsys.readouterr().err
