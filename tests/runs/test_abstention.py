"""A range test without bounds is data: its experiment is left out, the campaign goes on."""

import json
from pathlib import Path

import pytest

from anneal.commands.stages import evaluate, train
from anneal.config.compose import compose_campaign, compose_experiments
from anneal.config.strict import to_plain
from anneal.io.files import write_json, write_yaml
from anneal.runs.inputs import NoBoundsError, load_bounds

NAME = "digits/triangular2_found"
ABSTAINED = {
    "name": "digits",
    "rule": "smith",
    "base_lr": None,
    "max_lr": None,
    "reason": "the accuracy does not rise",
}


@pytest.fixture
def campaign(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(repository)
    composed = compose_experiments([NAME], compose_campaign("quick"))[NAME]
    monkeypatch.chdir(tmp_path)
    write_yaml(
        Path(f"experiments/quick/{NAME}.yaml"),
        {"seeds": [0], "configuration": to_plain(composed)},
    )
    write_json(Path("range_tests/quick/digits/suggestion.json"), ABSTAINED)
    return tmp_path


def test_no_range_test_gives_no_bounds_and_an_abstention_says_why(campaign):
    write_json(Path("given.json"), {"rule": None})
    assert load_bounds(Path("given.json")) is None
    with pytest.raises(NoBoundsError, match="gives no bounds: the accuracy does not rise"):
        load_bounds(Path("range_tests/quick/digits/suggestion.json"))


def test_train_and_evaluate_leave_the_experiment_out_and_say_so(campaign, capsys):
    train.main(["quick", NAME, "digits"])
    evaluate.main(["quick", NAME, "digits"])
    said = capsys.readouterr().out
    assert f"{NAME}: not trained." in said
    assert "the accuracy does not rise" in said
    assert list((campaign / "runs/quick" / NAME).iterdir()) == []
    (left,) = (campaign / "evaluations/quick" / NAME).iterdir()
    assert "the accuracy does not rise" in json.loads(left.read_text())["reason"]
