"""``anneal explain``: what differs between two runs, and from which update."""

import json
from pathlib import Path
from typing import Any

import pytest

from anneal.commands import explain
from anneal.io.files import write_yaml
from anneal.results.explain import read_run_of
from anneal.runs.directory import HISTORY, RunDirectory

HASH = "aaaaaaaaaaaa"
PLAN: dict[str, Any] = {
    "configuration_hash": HASH,
    "total_steps": 30,
    "schedule": {"max_lr": 0.006},
    "configuration": {"title": "a row", "optimizer": {"weight_decay": 0.004}},
}


def train(folder: Path, losses: list[float], *, threads: int = 1, **plan: Any) -> str:
    """Write the record of a run with these losses at updates 10, 20, ..."""
    digest = plan.get("configuration_hash", HASH)
    directory = RunDirectory(folder / "seed-0", configuration_hash=digest, code="c1 float32")
    directory.path.mkdir(parents=True)
    write_yaml(directory.path / "experiment.yaml", PLAN | plan)
    directory.add_environment(
        {"threads": threads, "data": {"name": "digits"}, "started": folder.name}
    )
    for number, loss in enumerate(losses, start=1):
        directory.append(HISTORY, {"update": 10 * number, "train_loss": loss})
    directory.finish({"status": "finished", "updates": 30, "test_loss@final": losses[-1]})
    return str(directory.path)


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Return the words by kind."""
    explain.main(list(arguments))
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines[:2]] == ["A  ", "B  "]
    split = (line.split("  ", 1) for line in lines[2:])
    return {pair[0]: pair[1] for pair in split}


def test_equal_runs_have_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = [train(tmp_path / name, [2.0, 1.0, 0.5]) for name in ("one", "two")]
    found = rows(capsys, *pair)
    assert found.pop("history").strip() == (
        "equal at all 3 updates on record in both, to update 30"
    )
    assert {words.strip() for words in found.values()} == {"equal"}


def test_threads_and_the_first_differing_update_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = train(tmp_path / "one", [2.0, 1.0, 0.5])
    two = train(tmp_path / "two", [2.0, 1.1, 0.4], threads=2)
    found = rows(capsys, one, two)
    assert found["machine and versions"] == "threads 1 → 2"
    assert found["configuration"].strip() == "equal"
    assert found["history"].strip() == (
        "equal to update 10, parts at update 20: train_loss 1.0 → 1.1"
    )
    assert found["final metrics"].strip() == "test_loss@final 0.5 → 0.4"
    explain.main([one, two, "--json"])
    plain = json.loads(capsys.readouterr().out)
    assert plain["history"]["parts"] == 20
    assert plain["differences"]["machine and versions"] == [
        {"key": "threads", "before": 1, "after": 2}
    ]


def test_configuration_and_schedule_are_compared_without_titles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = train(tmp_path / "one", [2.0])
    other = {"title": "another", "optimizer": {"weight_decay": 0.0}}
    changed = {"configuration": other, "configuration_hash": "b" * 12}
    two = train(tmp_path / "two", [2.1], schedule={"max_lr": 0.01}, **changed)
    found = rows(capsys, one, two)
    assert found["configuration"].strip() == "optimizer.weight_decay 0.004 → 0.0"
    assert found["schedule"].strip() == "schedule.max_lr 0.006 → 0.01"
    assert found["history"].strip().startswith("different from the first update on record")


def test_committed_runs_of_two_processors_are_explained(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    row = "clr_cifar10/clr/cifar10_triangular2"
    found = rows(capsys, f"{row}/seed-0", f"results/{row}/seed-1")
    assert found["seed"].strip() == "seed 0 → 1"
    assert found["configuration"].strip() == "equal"
    assert found["machine"].strip().startswith("commit ")
    assert "device AMD EPYC → Intel" in found["machine"]
    assert "parts at update" in found["history"]


def test_committed_run_equals_its_directory_but_for_digits(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(repository)
    row = "clr_cifar10/clr/cifar10_triangular2"
    committed = read_run_of(f"{row}/seed-0")
    folder = tmp_path / "seed-0"
    folder.mkdir()
    directory = RunDirectory(folder, configuration_hash=HASH)
    write_yaml(folder / "experiment.yaml", PLAN)
    for update, values in committed.history.items():
        more = {key: value * (1 + 1e-9) for key, value in values.items()}
        directory.append(HISTORY, {"update": update, **more, "grad_norm": 1.0})
    metrics = {key: value * (1 + 1e-14) for key, value in committed.result.items()}
    directory.finish({"status": "finished", "updates": 1, **metrics, "test_loss@other": 1.0})
    found = rows(capsys, str(folder), f"{row}/seed-0")
    assert found["history"].strip().startswith("equal at all ")
    assert found["final metrics"].strip() == "equal"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("nowhere/seed-0", "nowhere/seed-0 is no run: neither a folder with experiment.yaml"),
        ("quick/digits/fixd/seed-0", "results/quick has no experiment 'digits/fixd'; did you mean"),
        ("quick/digits/fixed/seed-99", "results/quick/digits/fixed: no seed 99; there is 0, 1, 2"),
        ("quick/digits/fixed/best", "a run ends with seed-<n>, got 'best'"),
    ],
)
def test_wrong_run_is_one_line_that_says_what_there_is(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: str,
    said: str,
) -> None:
    monkeypatch.chdir(repository)
    with pytest.raises(SystemExit):
        explain.main(["quick/digits/fixed/seed-0", asked])
    assert said in capsys.readouterr().err
