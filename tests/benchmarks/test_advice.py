"""Comparisons of advised schedules: declared settings, verdicts, records and the page's tables."""

import dataclasses
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from anneal.advise.candidates import AdviceConfig
from anneal.config.compose import check_experiment, compose_plain
from anneal.config.strict import parse

OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
SEEDS = ["10", "11", "12", "13", "14"]


@pytest.fixture
def advice(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    monkeypatch.chdir(repository)
    import advice

    return advice


def record(
    advised: list[float | None] | None, default: list[float | None], **more: Any
) -> dict[str, Any]:
    """Return a record of these test accuracies; the cosine's are the default's."""
    runs = {"advised": advised, "default": default, "cosine": default}
    return {
        "declared": {
            "words": "stripes",
            "tolerance_pct": 0.5,
            "default_lr": 0.001,
            "usual_lr": 0.1,
            "usual": "everywhere",
        },
        "advice": {"recommended": None if advised is None else "linear", "reason": "too short"},
        "runs": {
            name: {"test_accuracy_pct": dict(zip(SEEDS, values, strict=False))}
            for name, values in runs.items()
            if values is not None
        },
        **more,
    }


def test_default_rate_is_that_of_torch(advice: ModuleType) -> None:
    for comparison in advice.COMPARISONS:
        (name,) = [o[10:] for o in comparison.overrides if o.startswith("optimizer=")]
        default = inspect.signature(OPTIMIZERS[name]).parameters["lr"].default
        assert default == advice.DEFAULT_LR


def test_every_comparison_is_a_question_with_fresh_test_seeds(advice: ModuleType) -> None:
    assert len({comparison.name for comparison in advice.COMPARISONS}) == len(advice.COMPARISONS)
    for comparison in advice.COMPARISONS:
        plain = compose_plain("advise", [*comparison.overrides, f"advise.name={comparison.name}"])
        asked = parse(AdviceConfig, plain.pop("advise"), where="here")
        for key in ("seed", "paths"):
            plain.pop(key)
        check_experiment(plain, where="here")
        assert not set(asked.seeds) & set(advice.TEST_SEEDS)


@pytest.mark.parametrize(
    ("advised", "default", "words"),
    [
        ([92, 93, 94], [90, 91, 92.1], "better than"),
        ([90, 91, 92.1], [92, 93, 94], "worse than"),
        ([92, 93, 94], [92.1, 93, 94.1], "equally good within 0.5 points as"),
        ([92, 93, 94], [90, 93, 95], "statistically tied with"),
    ],
)
def test_sentence_says_what_the_interval_shows(
    advice: ModuleType, advised: list[float | None], default: list[float | None], words: str
) -> None:
    found = advice.sentence(record(advised, default))
    assert found == (
        f"stripes: the advised `linear` is {words} the default rate held constant and "
        f"{words} a cosine at the usual rate."
    )


def test_diverged_run_is_named_and_not_compared(advice: ModuleType) -> None:
    found = record([92, 93, 94], [90, None, 92])
    assert "not compared with the default rate held constant (default: 1 of 3 diverged)" in (
        advice.sentence(found)
    )
    assert "| constant 0.001 " in advice.table([found])


def test_advice_of_nothing_is_said_with_its_reason(advice: ModuleType) -> None:
    found = record(None, [90, 91, 92])
    assert advice.sentence(found) == "stripes: `anneal advise` recommended nothing: too short."
    assert "| constant 0.001 " in advice.table([found])


def test_table_has_means_and_paired_difference(advice: ModuleType) -> None:
    made = advice.table([record([92, 93, 94], [90, 91, 92.1])])
    assert "| stripes | advised: linear" in made
    row = next(line for line in made.splitlines() if "constant 0.001" in line)
    assert [cell.strip() for cell in row.split("|")[3:8]] == [
        "91.03 %",
        "88.42 to 93.64",
        "+1.97",
        "1.82 to 2.11",
        "3",
    ]


# --- what is committed ----------------------------------------------------------------------------


def test_tables_on_the_page_are_those_of_the_records(advice: ModuleType) -> None:
    made, page = advice.blocks(), advice.PAGE.read_text()
    for name in advice.BLOCKS:
        body = f"{made[name]}\n" if name in made else ""
        assert f"<!-- {name}:begin -->\n{body}<!-- {name}:end -->" in page


def test_every_record_is_of_the_declared_settings_and_a_clean_commit(advice: ModuleType) -> None:
    declared = {comparison.name: comparison.declared() for comparison in advice.COMPARISONS}
    for file in advice.FOLDER.glob(f"*/{advice.RESULT}"):
        found = json.loads(file.read_text())
        assert found["declared"] == declared[file.parent.name]
        assert not found["environment"]["commit"].endswith("+")
        for run in found["runs"].values():
            assert list(run["test_accuracy_pct"]) == [str(seed) for seed in advice.TEST_SEEDS]


def test_finished_comparison_is_not_run_again(
    advice: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(advice, "compare")
    page = advice.PAGE.read_text()
    finished = [file.parent.name for file in advice.FOLDER.glob(f"*/{advice.RESULT}")]
    if not finished:
        pytest.skip("no comparison is committed here")
    advice.main(finished)
    assert capsys.readouterr().out.count("not run again") == len(finished)
    assert advice.PAGE.read_text() == page


# --- one small comparison -------------------------------------------------------------------------


@pytest.mark.slow
def test_comparison_trains_each_schedule_on_test_seeds_once(
    advice: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(advice, "TEST_SEEDS", (10, 11))
    (digits,) = [c for c in advice.COMPARISONS if c.name == "digits"]
    small = dataclasses.replace(
        digits,
        overrides=(
            *digits.overrides,
            "training.length=60 steps",
            "budget_fraction=1",
            "training.batch_size=32",
            "range_test.length=240 steps",
            "range_test.first_lr=0.0003",
            "range_test.last_lr=0.3",
            "range_test.points=24",
            "range_test.seeds=[0]",
            "advise.candidates=[linear]",
        ),
    )
    found = advice.compare(small, folder=tmp_path / "advice")
    again = advice.compare(small, folder=tmp_path / "advice")
    said = capsys.readouterr().out
    for name, run in found["runs"].items():
        assert run["updates"] == 60
        assert run["test_accuracy_pct"] == again["runs"][name]["test_accuracy_pct"]
        for seed in (10, 11):
            assert f"{name}, seed {seed}: already finished, not run again" in said
    assert list(found["runs"]) == ["advised", "default", "cosine"]
    low, high = found["advice"]["bounds"]
    assert found["runs"]["advised"]["schedule"]["arguments"]["initial_lr"] == high > low
    assert found["num_test"] == 360
    assert (tmp_path / "advice" / "advice.md").is_file()
