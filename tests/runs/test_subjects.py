"""The level between experiment and seed: names, folders and identities of subjects."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from anneal.commands.stages import (
    collect,
    compose,
    download,
    ensemble,
    evaluate,
    reference,
    train,
)
from anneal.config.compose import compose_run, write_params
from anneal.datasets.identity import identity_of
from anneal.results.derived import read_derived
from anneal.results.store import load_results
from anneal.runs.inputs import load_experiment
from anneal.runs.subjects import find_subject, of_each_subject, split_name

ROOT = Path(__file__).resolve().parents[2]
ROW = "sgdr/eeg_simulated_strong"


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.chdir(ROOT)
    return compose_run([f"experiment={ROW}"])


def test_every_subject_has_an_experiment_with_its_name(experiment):
    parts = of_each_subject(experiment)
    assert [part.name for part in parts] == [f"{ROW}/subject-0{n}" for n in (1, 2, 3)]
    assert [part.dataset.signal.subjects for part in parts] == [(1,), (2,), (3,)]
    assert split_name(parts[1].name) == (ROW, 2)
    assert find_subject(experiment, 2) == parts[1]
    with pytest.raises(ValueError, match="has no subject 4; its subjects are 1, 2, 3"):
        find_subject(experiment, 4)


def test_an_experiment_on_one_set_is_itself(experiment):
    (part,) = of_each_subject(of_each_subject(experiment)[0])
    assert part.name == f"{ROW}/subject-01"
    images = compose_run(["dataset=digits"])
    assert of_each_subject(images) == [images]


def test_the_identity_of_a_subject_is_found_among_all(experiment):
    stored = {"subjects": {"1": {"a": 1}, "2": {"a": 2}}}
    parts = of_each_subject(experiment)
    assert identity_of(parts[1].dataset, stored) == {"a": 2}
    assert identity_of(parts[2].dataset, stored) == stored
    assert identity_of(compose_run(["dataset=digits"]).dataset, {"b": 1}) == {"b": 1}


def test_snapshots_of_two_rows_are_averaged_for_each_subject(tmp_path, monkeypatch, capsys):
    for folder in ("conf", "paper"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    write_params(["campaign=eeg_simulated", "tracking=off"], output=tmp_path / "params.yaml")
    compose.main([])
    both = "sgdr/eeg_simulated_both"
    asked = ["eeg_simulated", both, ROW, ROW]
    with pytest.raises(SystemExit):
        ensemble.main(asked)
    assert "no snapshots of" in capsys.readouterr().err
    sure, torn = np.array([[0.9, 0.1]] * 80), np.array([[0.0, 1.0]] * 80)  # half are of class 0
    for update, output in ((4, torn), (12, sure)):
        file = tmp_path / "evaluations/eeg_simulated" / ROW / f"subject-02/seed-0/{update}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, output)
    ensemble.main(asked)
    runs = read_derived(tmp_path / "evaluations/eeg_simulated" / both / "derived.json")
    (((name, seed, _), run),) = runs.items()
    assert (name, seed) == (f"{both}/subject-02", 0)
    assert run.metrics == {f"test_accuracy_pct@ensemble_2x{m}": 50.0 for m in (1, 2)}


@pytest.mark.slow
def test_a_campaign_trains_evaluates_and_collects_each_subject(tmp_path, monkeypatch):
    for folder in ("conf", "paper"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    write_params(
        ["campaign=eeg_simulated", "budget_fraction=0.34", "tracking=off", "hardware.threads=1"],
        output=tmp_path / "params.yaml",
    )
    compose.main([])
    download.main(["simulated_eeg"])
    identity = json.loads((tmp_path / "data" / "simulated_eeg.identity.json").read_text())
    assert sorted(identity["subjects"]) == ["1", "2", "3"]
    train.main(["eeg_simulated", ROW, "given"])
    train.main(["eeg_simulated", f"{ROW}/subject-02", "given"])  # finished already
    evaluate.main(["eeg_simulated", ROW, "given"])
    pytest.importorskip("mne")
    reference.main(["eeg_simulated", "sgdr/eeg_simulated_reference", "simulated_eeg"])
    collect.main(["eeg_simulated"])
    results = load_results(tmp_path / "results" / "eeg_simulated")
    assert sorted(results.experiments) == [f"{ROW}/subject-0{n}" for n in (1, 2, 3)]
    finals = results.evidence()[ROW].values("test_accuracy_pct@final")
    assert sorted(finals) == [1, 2, 3]
    assert min(finals.values()) > 85  # measured: 97 to 100
    hashes = {run.configuration_hash for (name, _, _), run in results.runs.items() if ROW in name}
    assert len(hashes) == 3
    assert load_experiment("eeg_simulated", f"{ROW}/subject-03").experiment.name.endswith("-03")
    decoded = results.evidence()["sgdr/eeg_simulated_reference"]
    assert sorted(decoded.values("test_accuracy_pct@final")) == [1, 2, 3]
    assert decoded.runs[0].environment["precision"] == "float64"
    assert not list((tmp_path / "results" / "eeg_simulated" / "curves").glob("*reference*"))
