"""Runs on signals: they learn what is there, resume, and keep MNE out of vision's processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anneal.config.compose import compose_run
from anneal.config.paths import Paths
from anneal.runs.plan import check_plan, plan_run
from anneal.runs.setup import build_training, load_setup

ROOT = Path(__file__).resolve().parents[2]
ASKED = [
    "dataset=simulated_eeg", "dataset.signal.subjects=[1]", "model=eeg_shallow",
    "+model.arguments.final_length=5", "optimizer=sgd",
    "optimizer.nesterov=false", "scheduler=cosine_restarts",
    "scheduler.max_lr=0.025", "scheduler.first_cycle=10 epochs", "training.length=10 epochs",
    "training.batch_size=60", "training.evaluations=2", "training.log_lines=2", "tracking=off",
]  # fmt: skip


@pytest.fixture
def build(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)

    def make(*changes: str):
        experiment = compose_run([*ASKED, *changes])
        setup = load_setup(experiment, Paths(tmp_path))
        plan = plan_run(experiment, setup.data.identity, bounds=None, where="conf/run.yaml")
        return plan, setup, lambda: build_training(plan, setup, seed=0)

    return make


def accuracy_of(training) -> float:
    lines = []
    assert training.run(record=lines.append).status == "finished"
    return lines[-1]["test_accuracy_pct"]


def test_planted_rhythm_is_learnt_and_its_absence_is_chance(build):
    assert accuracy_of(build("dataset.signal.crop_samples=384")[2]()) > 90  # measured: 100
    without = build("dataset.signal.simulation.strength=0.0")[2]()
    assert abs(accuracy_of(without) - 50) < 17  # three standard errors of 80 trials


def test_run_on_crops_resumes_to_the_same_weights(build):
    _, _, start = build("dataset.signal.crop_samples=384", "training.length=6 steps")
    whole = start()
    whole.run(record=lambda _line: None)
    stopped = start()  # dropout draws from the one stream, which this seeds
    stopped.run(record=lambda _line: None, between=lambda update: update < 3)
    state = stopped.state_dict()  # the global stream's too, before the next start seeds it
    resumed = start()
    resumed.load_state_dict(state)
    resumed.run(record=lambda _line: None)
    for key, value in whole.learner.model.state_dict().items():
        assert value.equal(resumed.learner.model.state_dict()[key]), key


def test_signals_are_computed_in_float32_and_never_channels_last(build):
    _, setup, _ = build()
    assert (setup.settings.precision, setup.settings.channels_last) == ("float32", False)
    with pytest.raises(ValueError, match="memory_format must be contiguous for signals, got chan"):
        build("hardware.memory_format=channels_last")[2]()


def test_crop_and_the_subject_change_the_configuration_hash(build):
    plans = [build(*c)[0] for c in ([], ["dataset.signal.crop_samples=384"])]
    assert plans[0].configuration_hash != plans[1].configuration_hash
    assert build("dataset.signal.subjects=[2]")[0].configuration_hash not in {
        plan.configuration_hash for plan in plans
    }


def test_every_option_of_signals_is_planned_before_there_is_data(monkeypatch):
    monkeypatch.chdir(ROOT)
    for dataset in ("eegbci", "high_gamma", "high_gamma_4hz"):
        experiment = compose_run([f"dataset={dataset}", "training.length=2 epochs"])
        steps = check_plan(experiment, where="conf/run.yaml").total_steps
        assert steps == (2 if dataset == "eegbci" else 18)


def test_image_network_is_refused_for_signals(build):
    _, _, start = build("model=caffe_cifar", "~model.arguments.final_length")
    with pytest.raises(ValueError, match=r"model\.architecture must be one of eeg_deep4, "):
        start()


def test_vision_imports_neither_mne_nor_moabb_nor_braindecode():
    code = (
        "import sys\nimport anneal.runs.run, anneal.runs.setup, anneal.models.timm\n"
        "from anneal.config.compose import compose_run\n"
        "from anneal.runs.setup import build_training, load_setup\n"
        "from anneal.runs.plan import plan_run\n"
        "experiment = compose_run(['training.length=1 steps', 'hardware=cpu', 'tracking=off'])\n"
        "setup = load_setup(experiment)\n"
        "plan = plan_run(experiment, setup.data.identity, bounds=None, where='x')\n"
        "build_training(plan, setup, seed=0).run(record=lambda line: None)\n"
        "print(*{'mne', 'moabb', 'braindecode'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout.split()) == (0, []), run.stderr


def test_softmax_outputs_of_trials_add_up(build):
    _, setup, _ = build("dataset.signal.crop_samples=384")
    outputs = setup.predict(setup.model(), setup.data.test)
    assert outputs.shape == (80, 2)
    torch.testing.assert_close(outputs.sum(1), torch.ones(80))
