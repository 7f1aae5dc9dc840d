"""Snapshots of real, small runs: taken at the exact update, kept through stops, measured once."""

import dataclasses
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from anneal.commands import ensemble
from anneal.config.schema import ExperimentConfig
from anneal.config.strict import parse
from anneal.io.files import read_yaml
from anneal.results.evaluate import evaluate_runs, make_record
from anneal.results.snapshot_evaluation import evaluate_snapshots
from anneal.runs import run as runs
from anneal.runs.directory import CHECKPOINT, HISTORY, PLAN, SNAPSHOTS, RunDirectory
from anneal.runs.plan import plan_run
from anneal.runs.result_file import RESULT
from anneal.runs.run import Interrupted, SeedRun, train_run, usual_observers
from anneal.runs.setup import ExperimentSetup, build_training, load_setup

SMALL = Path(__file__).parents[1] / "golden" / "small_run.yaml"
ENDS, TOTAL = [4, 12, 28], 30


def plain_experiment(**training):
    plain = read_yaml(SMALL)
    plain["scheduler"] = {
        "name": "cosine_restarts",
        "momentum": None,
        "min_lr": 0.0,
        "max_lr": 0.001,
        "first_cycle": "4 steps",
        "growth": 2,
    }
    plain["optimizer"] = {  # Caffe's network learns in 30 updates with no slower rule
        "name": "adam",
        "weight_decay": 0.0,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "amsgrad": False,
    }
    plain["training"] |= {
        "batch_size": 20,
        "length": f"{TOTAL} steps",
        "evaluations": 5,  # at 6, 12, 18, 24, 30
        "log_lines": 5,
        "snapshots": "cycle_ends",
    } | training
    return plain


@pytest.fixture(scope="module")
def setup():
    return load_setup(parse(ExperimentConfig, plain_experiment(), where="x"))


def planned(setup, **training):
    experiment = parse(ExperimentConfig, plain_experiment(**training), where="x")
    return plan_run(experiment, setup.data.identity, bounds=None, where="x")


def train(plan, setup, folder, *, seed=0):
    directory = RunDirectory(
        folder / f"seed-{seed}", configuration_hash=plan.configuration_hash, code="c"
    )
    run = SeedRun(
        plan=plan, setup=setup, seed=seed, directory=directory, replaced=folder / "replaced"
    )
    with directory.held():
        train_run(run, usual_observers(run, job_type="train"))
    return directory


def kept(directory):
    return {update: file.read_bytes() for update, file in directory.snapshots().items()}


@pytest.fixture(scope="module")
def trained(setup, tmp_path_factory):
    """Return the plan and the folder of three runs that kept their snapshots."""
    folder, plan = tmp_path_factory.mktemp("runs"), planned(setup)
    for seed in (0, 1, 2):
        train(plan, setup, folder, seed=seed)
    return plan, folder


@contextmanager
def stopped_after(updates, monkeypatch):
    """Let a run be interrupted after so many updates, as Ctrl-C does."""

    @contextmanager
    def interruptible():
        left = [updates]

        def interrupted():
            return left[0] <= 0

        class Counting:
            def __call__(self):
                return interrupted()

        update = torch.optim.Optimizer.zero_grad

        def counted(self, *arguments, **keywords):
            left[0] -= 1
            return update(self, *arguments, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.Optimizer, "zero_grad", counted)
            yield Counting()

    with monkeypatch.context() as patch:
        patch.setattr(runs, "interruptible", interruptible)
        yield


# --- taken ----------------------------------------------------------------------------------------


def test_run_keeps_the_weights_after_the_last_update_of_each_whole_cycle(trained, setup) -> None:
    plan, folder = trained
    directory = RunDirectory(folder / "seed-0", configuration_hash=plan.configuration_hash)
    assert list(directory.snapshots()) == ENDS == list(plan.snapshots)
    training = build_training(plan, setup, seed=0)
    seen = {}

    def between(update):
        weights = training.learner.model.state_dict()
        seen[update] = {name: tensor.clone() for name, tensor in weights.items()}
        return True

    training.run(record=lambda _: None, between=between)
    for update in ENDS:
        content = torch.load(directory.snapshots()[update], weights_only=True)
        assert (content["update"], content["configuration_hash"]) == (
            update,
            plan.configuration_hash,
        )
        for name, tensor in seen[update].items():
            assert torch.equal(content["model"][name], tensor)
        assert any(
            not torch.equal(content["model"][name], tensor)
            for name, tensor in seen[update - 1].items()
        )


def test_keeping_snapshots_changes_no_byte_of_the_record(trained, setup, tmp_path) -> None:
    plan, folder = trained
    without = train(planned(setup, snapshots="none"), setup, tmp_path)
    assert not (without.path / SNAPSHOTS).exists()
    assert without.configuration_hash == plan.configuration_hash
    for name in (HISTORY, RESULT):
        assert (without.path / name).read_bytes() == (folder / "seed-0" / name).read_bytes()


def test_snapshots_at_distances_do_not_depend_on_schedule(setup, tmp_path) -> None:
    directory = train(planned(setup, snapshots="every 0.5 run"), setup, tmp_path)
    assert list(directory.snapshots()) == [15, 30]
    final = torch.load(directory.path / CHECKPOINT, weights_only=True)["state"]["model"]
    last = directory.read_snapshot(30)
    assert all(torch.equal(final[name], last[name]) for name in final)


# --- stopped --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [3, 4, 13, 28, 29])
def test_run_stopped_anywhere_ends_with_the_same_snapshots(
    stop, trained, setup, tmp_path, monkeypatch
) -> None:
    plan, folder = trained
    with stopped_after(stop, monkeypatch), pytest.raises(Interrupted):
        train(plan, setup, tmp_path)
    directory = RunDirectory(tmp_path / "seed-0", configuration_hash=plan.configuration_hash)
    assert directory.read_checkpoint()["update"] == stop
    assert list(directory.snapshots()) == [end for end in ENDS if end <= stop]
    # A crash after a later snapshot and before its checkpoint leaves one that is ahead.
    (directory.path / SNAPSHOTS).mkdir(exist_ok=True)
    for update in (28, 30):
        if update > stop:
            (directory.path / SNAPSHOTS / f"{update}.pt").write_bytes(b"ahead")
    train(plan, setup, tmp_path)
    whole = RunDirectory(folder / "seed-0", configuration_hash=plan.configuration_hash)
    assert kept(directory) == kept(whole)
    assert (directory.path / HISTORY).read_bytes() == (whole.path / HISTORY).read_bytes()


def test_run_started_anew_takes_no_older_snapshot_over(trained, setup, tmp_path) -> None:
    plan, folder = trained
    (tmp_path / "seed-0" / SNAPSHOTS).mkdir(parents=True)
    (tmp_path / "seed-0" / SNAPSHOTS / "7.pt").write_bytes(b"of a run whose checkpoint is gone")
    directory = train(plan, setup, tmp_path)
    whole = RunDirectory(folder / "seed-0", configuration_hash=plan.configuration_hash)
    assert kept(directory) == kept(whole)


def test_run_that_ended_without_them_says_how_to_get_them(setup, tmp_path, capsys) -> None:
    train(planned(setup, snapshots="none"), setup, tmp_path)
    capsys.readouterr()
    directory = train(planned(setup), setup, tmp_path)
    said = capsys.readouterr().out
    assert "3 of 3 snapshots are missing (training.snapshots: cycle_ends)" in said
    assert directory.snapshots() == {}


def test_resumed_run_reports_snapshots_it_passed_without_saving(
    setup, tmp_path, monkeypatch, capsys
) -> None:
    with stopped_after(13, monkeypatch), pytest.raises(Interrupted):
        train(planned(setup, snapshots="none"), setup, tmp_path)
    capsys.readouterr()
    directory = train(planned(setup), setup, tmp_path)
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "missing" in line]
    assert "2 of 3 snapshots are missing (training.snapshots: cycle_ends)" in said
    assert list(directory.snapshots()) == [28]


def test_run_that_went_on_and_lacks_none_says_nothing(setup, tmp_path, monkeypatch, capsys) -> None:
    with stopped_after(13, monkeypatch), pytest.raises(Interrupted):
        train(planned(setup), setup, tmp_path)
    train(planned(setup), setup, tmp_path)
    assert "missing" not in capsys.readouterr().out


def test_snapshot_of_another_configuration_or_cut_short_is_refused(trained, tmp_path) -> None:
    plan, folder = trained
    shutil.copytree(folder / "seed-0", tmp_path / "seed-0")
    other = RunDirectory(tmp_path / "seed-0", configuration_hash="b" * 12)
    with pytest.raises(ValueError, match=rf"4\.pt is of configuration {plan.configuration_hash}"):
        other.read_snapshot(4)
    directory = RunDirectory(tmp_path / "seed-0", configuration_hash=plan.configuration_hash)
    file = directory.snapshots()[12]
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"12\.pt cannot be read"):
        directory.read_snapshot(12)


# --- measured -------------------------------------------------------------------------------------


def evaluated(plan, setup, folder, keep, seeds=(0, 1, 2)):
    ended = evaluate_runs(plan, setup, folder, seeds)
    return evaluate_snapshots(plan, setup, folder, ended, keep=keep)


def softmax_of(setup, weights):
    """Run a network over the test images the plain way."""
    model = setup.model()
    model.load_state_dict(weights)
    model.eval()
    test = setup.data.test
    with torch.no_grad():
        logits = model(setup.normalise(test.images))
    return functional.softmax(logits, dim=1).numpy(), test.labels.numpy()


def test_snapshots_are_measured_alone_and_together(trained, setup, tmp_path) -> None:
    plan, folder = trained
    found, together = evaluated(plan, setup, folder, tmp_path)
    outputs = {}
    for run in found:
        directory = RunDirectory(
            folder / f"seed-{run.seed}", configuration_hash=plan.configuration_hash
        )
        outputs[run.seed] = [softmax_of(setup, directory.read_snapshot(u))[0] for u in ENDS]
    labels = setup.data.test.labels.numpy()

    def accuracy(members):
        return 100 * (np.mean(members, axis=0).argmax(1) == labels).mean()

    for run in found:
        assert list(run.snapshots.updates) == ENDS
        assert run.snapshots.accuracy_pct == pytest.approx(
            [accuracy([o]) for o in outputs[run.seed]]
        )
        for m in (1, 2, 3):
            expected = accuracy(outputs[run.seed][-m:])
            assert run.metrics[f"test_accuracy_pct@ensemble_1x{m}"] == pytest.approx(expected)
        kept_outputs = np.load(tmp_path / f"seed-{run.seed}" / "28.npy")
        assert (kept_outputs.dtype, kept_outputs.shape) == (np.float32, (len(labels), 10))
        np.testing.assert_allclose(kept_outputs, outputs[run.seed][2], atol=1e-6)
    assert set(together) == {(0, 1), (0, 1, 2)}
    assert together[0, 1, 2]["test_accuracy_pct@ensemble_3x2"] == pytest.approx(
        accuracy([member for seed in (0, 1, 2) for member in outputs[seed][-2:]])
    )


def test_recommended_weights_are_those_of_the_last_cycle_that_ended(
    trained, setup, tmp_path
) -> None:
    plan, folder = trained
    found, _ = evaluated(plan, setup, folder, tmp_path)
    for run in found:
        assert run.metrics["test_accuracy_pct@recommended"] == run.snapshots.accuracy_pct[-1]


def test_run_without_snapshots_has_no_ensemble(setup, tmp_path) -> None:
    """The last cycle ends after 28 updates, where nothing was evaluated; with 12, something was."""
    plan = planned(setup, snapshots="none")
    train(plan, setup, tmp_path)
    (run,), together = evaluated(plan, setup, tmp_path, tmp_path / "kept", seeds=[0])
    assert (run.snapshots, together) == (None, {})
    assert not [name for name in run.metrics if "ensemble" in name or "recommended" in name]
    (shorter,), _ = evaluated(
        dataclasses.replace(plan, cycle_ends=(4, 12)), setup, tmp_path, tmp_path, seeds=[0]
    )
    at_12 = next(line for line in run.history if line["update"] == 12)["test_accuracy_pct"]
    assert shorter.metrics["test_accuracy_pct@recommended"] == at_12
    (uncycled,), _ = evaluated(
        dataclasses.replace(plan, cycle_ends=()), setup, tmp_path, tmp_path, seeds=[0]
    )
    final = run.metrics["test_accuracy_pct@final"]
    assert uncycled.metrics["test_accuracy_pct@recommended"] == final
    json.dumps(make_record(plan, campaign="x", runs=[run], ensembles=together), allow_nan=False)


def test_no_network_runs_twice_unless_its_weights_have_changed(
    trained, setup, tmp_path, monkeypatch
) -> None:
    plan, folder = trained
    shutil.copytree(folder, tmp_path / "runs")
    predict, calls = ExperimentSetup.predict, []

    def counted(self, model, split):
        calls.append(1)
        return predict(self, model, split)

    monkeypatch.setattr(ExperimentSetup, "predict", counted)
    first = evaluated(plan, setup, tmp_path / "runs", tmp_path / "kept")
    assert len(calls) == 9
    assert evaluated(plan, setup, tmp_path / "runs", tmp_path / "kept") == first
    assert len(calls) == 9
    early, late = (tmp_path / "runs" / "seed-1" / SNAPSHOTS / f"{u}.pt" for u in (4, 28))
    shutil.copyfile(late, early)
    changed, _ = evaluated(plan, setup, tmp_path / "runs", tmp_path / "kept")
    assert len(calls) == 10
    assert changed[1].snapshots.accuracy_pct[0] == changed[1].snapshots.accuracy_pct[2]


def test_snapshot_of_another_run_is_found_out(trained, setup, tmp_path) -> None:
    """The run was evaluated after 12 updates: its snapshot must give the same accuracy."""
    plan, folder = trained
    shutil.copytree(folder / "seed-0", tmp_path / "seed-0")
    directory = RunDirectory(tmp_path / "seed-0", configuration_hash=plan.configuration_hash)
    weights = {name: torch.zeros_like(t) for name, t in directory.read_snapshot(12).items()}
    directory.save_snapshot(weights, update=12)
    with pytest.raises(ValueError, match=r"seed-0: snapshot 12 gives .* are of different runs"):
        evaluated(plan, setup, tmp_path, tmp_path / "kept", seeds=[0])


# --- the command ----------------------------------------------------------------------------------


def complaint(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        ensemble.main([str(argument) for argument in arguments])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_command_prints_the_grid_and_leaves_it_beside_the_runs(
    trained, setup, tmp_path, capsys
) -> None:
    plan, folder = trained
    shutil.copytree(folder, tmp_path / "runs")
    ensemble.main([str(tmp_path / "runs")])
    said = capsys.readouterr().out
    found, together = evaluated(plan, setup, folder, tmp_path / "kept")
    mean = np.mean([run.metrics["test_accuracy_pct@ensemble_1x2"] for run in found])
    (single,) = [line for line in said.splitlines() if line.startswith("N = 1")]
    assert single.split()[3] == "3"  # groups
    assert f"{mean:.2f}" in single
    left = tmp_path / "runs" / "ensemble"
    written = json.loads((left / "ensemble.json").read_text())
    assert [group["seeds"] for group in written["ensembles"]] == [[0], [1], [2], [0, 1], [0, 1, 2]]
    assert written["ensembles"][-1]["metrics"] == together[0, 1, 2]
    assert len((left / "ensemble.csv").read_text().splitlines()) == 1 + 5 * 3
    assert len((left / "diversity.csv").read_text().splitlines()) == 1 + 3 * 3
    assert (left / "ensemble.svg").read_text().startswith("<?xml")


def test_single_run_has_its_own_ensemble(trained, tmp_path, capsys) -> None:
    _, folder = trained
    ensemble.main([str(folder / "seed-1"), f"to={tmp_path / 'there'}"])
    said = capsys.readouterr().out
    assert "N = 1" in said
    assert "N = 2" not in said
    assert (tmp_path / "there" / "ensemble.svg").is_file()


def test_command_says_which_key_keeps_snapshots(setup, tmp_path, capsys) -> None:
    train(planned(setup, snapshots="none"), setup, tmp_path)
    capsys.readouterr()
    said = complaint(capsys, tmp_path)
    assert "seed-0: no snapshots; move it away and train it again with" in said
    assert "training.snapshots=cycle_ends" in said
    train(planned(setup, snapshots="every 40 steps"), setup, tmp_path / "far")
    capsys.readouterr()
    assert "no snapshots with training.snapshots: every 40 steps in 30 updates of" in (
        complaint(capsys, tmp_path / "far")
    )


def test_command_takes_only_what_the_plan_asks_for(setup, tmp_path, monkeypatch, capsys) -> None:
    """Stopped after the snapshots of 4 and 12, it went on to keep that of 28 alone."""
    with stopped_after(13, monkeypatch), pytest.raises(Interrupted):
        train(planned(setup), setup, tmp_path)
    directory = train(planned(setup, snapshots="last 1"), setup, tmp_path)
    assert list(directory.snapshots()) == ENDS
    ensemble.main([str(tmp_path)])
    written = json.loads((tmp_path / "ensemble" / "ensemble.json").read_text())
    assert written["runs"][0]["snapshots"]["updates"] == [28]
    directory.snapshots()[28].unlink()
    said = complaint(capsys, tmp_path)
    assert "all of its 1 snapshots are missing (training.snapshots: last 1)" in said


def test_command_refuses_what_is_no_run_or_no_one_experiment(
    trained, setup, tmp_path, capsys
) -> None:
    _, folder = trained
    assert complaint(capsys).endswith("got nothing")
    assert "neither a run directory seed-<n> nor a folder" in complaint(capsys, tmp_path)
    assert "seed 0 is given twice" in complaint(capsys, folder, folder / "seed-0")
    train(planned(setup, batch_size=10), setup, tmp_path / "other", seed=7)
    capsys.readouterr()
    assert "must be of one configuration" in complaint(capsys, folder, tmp_path / "other")
    unended = tmp_path / "unended" / "seed-0"
    shutil.copytree(folder / "seed-0", unended)
    (unended / RESULT).unlink()
    assert "no finished run here" in complaint(capsys, unended)


def test_command_writes_nothing_into_what_dvc_keeps(trained, tmp_path, capsys, monkeypatch) -> None:
    _, folder = trained
    shutil.copytree(folder, tmp_path / "runs" / "campaign" / "experiment")
    monkeypatch.chdir(tmp_path)
    said = complaint(capsys, "runs/campaign/experiment")
    assert "belongs to DVC (runs of a campaign): set to=<folder>" in said
    assert not (tmp_path / "runs" / "campaign" / "experiment" / "ensemble").exists()


def test_runs_of_other_images_are_refused(trained, tmp_path, capsys) -> None:
    _, folder = trained
    shutil.copytree(folder / "seed-0", tmp_path / "seed-0")
    file = tmp_path / "seed-0" / "environment.json"
    file.write_text(file.read_text().replace('"num_images": 360', '"num_images": 361'))
    assert "was trained on other images than those here" in complaint(capsys, tmp_path)
    assert (tmp_path / "seed-0" / PLAN).is_file()
