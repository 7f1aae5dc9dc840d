"""Fine-tuning in a run and in an advice: weights, frozen backbone, layer decay, hashes."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from anneal.commands import advise
from anneal.config.compose import compose_run
from anneal.config.schema import ExperimentConfig, FineTuningConfig
from anneal.config.strict import to_plain
from anneal.runs.plan import check_plan, plan_run, range_test_hash
from anneal.runs.setup import ExperimentSetup, build_training, load_setup

RUN = [
    "dataset=digits",
    "dataset.image_size=8",
    "model=cifar_resnet20",
    "optimizer=adamw",
    "scheduler=constant",
    "training.batch_size=32",
    "training.length=3 steps",
    "hardware=cpu",
    "hardware.threads=1",
    "hardware.compile=off",
    "hardware.precision=float32",
]
IDENTITY = {"splits": {"train": {"num_images": 1437}}}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of the network for 8 px digits, of 7 classes."""
    setup = load_setup(compose_run(RUN))
    torch.manual_seed(5)
    state = setup.build().state_dict()
    state["fc.weight"], state["fc.bias"] = state["fc.weight"][:7], state["fc.bias"][:7]
    torch.save(state, tmp_path / "seven.pt")
    return tmp_path / "seven.pt"


def hash_of(*overrides: str) -> str:
    experiment = compose_run([*RUN, *overrides])
    return plan_run(experiment, IDENTITY, bounds=None, where="here").configuration_hash


def test_defaults_leave_no_trace_in_a_configuration() -> None:
    experiment = compose_run(RUN)
    assert experiment.fine_tuning == FineTuningConfig()
    assert "fine_tuning" not in to_plain(experiment)


def test_hash_covers_weights_freeze_and_decay_but_no_path(weights: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.pt"
    moved.write_bytes(weights.read_bytes())
    others = tmp_path / "others.pt"
    torch.save({name: w + 1 for name, w in torch.load(weights).items()}, others)
    plain = hash_of()
    tuned = hash_of(f"fine_tuning.weights={weights}")
    assert hash_of(f"fine_tuning.weights={moved}") == tuned
    found = [
        plain,
        tuned,
        hash_of(f"fine_tuning.weights={others}"),
        hash_of(f"fine_tuning.weights={weights}", "fine_tuning.freeze=true"),
        hash_of(f"fine_tuning.weights={weights}", "fine_tuning.layer_decay=0.5"),
        hash_of("fine_tuning.layer_decay=0.5"),
    ]
    assert len(set(found)) == len(found)
    experiment = compose_run([*RUN, f"fine_tuning.weights={weights}"])
    assert range_test_hash(experiment, IDENTITY) != range_test_hash(compose_run(RUN), IDENTITY)
    written = check_plan(experiment, where="here").describe()["configuration"]["fine_tuning"]
    assert list(written) == ["weights"]
    assert written["weights"].startswith("sha256:")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fine_tuning.freeze=true"], "here: fine_tuning.freeze needs fine_tuning.weights"),
        (
            ["fine_tuning.freeze=true", "fine_tuning.layer_decay=0.5", "fine_tuning.weights=x.pt"],
            "here: fine_tuning.layer_decay must be 1 with fine_tuning.freeze",
        ),
        (["fine_tuning.weights=x.pt"], "fine_tuning.weights: there is no file x.pt"),
    ],
)
def test_contradiction_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_plan(compose_run([*RUN, *overrides]), where="here")


def test_layer_decay_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fine_tuning.layer_decay must be in \(0, 1\], got 1.5"):
        compose_run([*RUN, "fine_tuning.layer_decay=1.5"])


def setup_of(*overrides: str) -> tuple[ExperimentConfig, ExperimentSetup]:
    experiment = compose_run([*RUN, *overrides])
    return experiment, load_setup(experiment)


def test_network_starts_from_file_with_a_head_of_each_seed(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, setup = setup_of(f"fine_tuning.weights={weights}")
    assert capsys.readouterr().out == (
        f"weights of {weights}: all but the head (fc.bias, fc.weight), which starts at random: "
        "7 there, 10 here\n"
    )
    state = torch.load(weights, weights_only=True)
    first, second = (setup.learner(seed).model.state_dict() for seed in (0, 1))
    assert capsys.readouterr().out == ""
    for name, value in state.items():
        if name.startswith("fc."):
            assert name == "fc.bias" or not torch.equal(first[name], second[name])
        else:
            assert torch.equal(first[name], value), name
            assert torch.equal(second[name], value), name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_run_changes_the_head_alone(weights: Path, optimizer: str) -> None:
    experiment, setup = setup_of(
        f"fine_tuning.weights={weights}", "fine_tuning.freeze=true", f"optimizer={optimizer}"
    )
    plan = plan_run(experiment, setup.data.identity, bounds=None, where="here")
    training = build_training(plan, setup, seed=0)
    before = {k: v.clone() for k, v in training.learner.model.state_dict().items()}
    assert training.run(record=lambda _line: None).status == "finished"
    after = training.learner.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_rates_of_layers_keep_their_ratios_to_the_schedule(weights: Path) -> None:
    experiment, setup = setup_of(
        f"fine_tuning.weights={weights}", "fine_tuning.layer_decay=0.5", "scheduler.lr=0.01"
    )
    plan = plan_run(experiment, setup.data.identity, bounds=None, where="here")
    training = build_training(plan, setup, seed=0)
    rates = [group["lr"] for group in training.learner.optimizer.param_groups]
    assert sorted(rates) == pytest.approx([0.01 * 0.5**n for n in range(10, -1, -1)])
    training.run(record=lambda _line: None)
    assert [group["lr"] for group in training.learner.optimizer.param_groups] == rates


def test_last_batch_of_one_trains_a_frozen_normalisation(weights: Path) -> None:
    experiment, setup = setup_of(f"fine_tuning.weights={weights}", "training.batch_size=1")
    learner = dataclasses.replace(
        setup,
        experiment=dataclasses.replace(
            experiment, fine_tuning=FineTuningConfig(weights=str(weights), freeze=True)
        ),
    ).learner(0)
    assert math.isfinite(learner.update(0).item())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tuning", "words"),
    [("freeze=true", "The backbone is frozen"), ("layer_decay=0.5", "before it gets 0.5 times")],
)
def test_advice_for_fine_tuning_is_given_with_adamw(
    weights: Path, tuning: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *[a for a in RUN if not a.startswith(("scheduler", "training.length"))],
        f"fine_tuning.weights={weights}",
        f"fine_tuning.{tuning}",
        "training.length=40 steps",
        "training.evaluations=2",
        "range_test.first_lr=0.00001",
        "range_test.last_lr=10",
        "range_test.length=120 steps",
        "range_test.points=24",
        "range_test.seeds=[0]",
        "range_test.rule=steepest",
        "advise.candidates=[linear,warmup_cosine,warmup_stable_decay]",
        "advise.seeds=[0,1,2]",
    ]
    advise.main(arguments)
    said = capsys.readouterr().out
    assert "which starts at random: 7 there, 10 here" in said
    folder = Path("advice/digits_cifar_resnet20_adamw")
    answer: dict[str, Any] = json.loads((folder / "advice.json").read_text())
    assert tuning.split("=")[0] in answer["configuration"]["fine_tuning"]
    for paste in answer["to_paste"].values():
        assert (paste["torch"] is None) == ("layer_decay" in tuning)
    names = [result["name"] for result in answer["choice"]["results"]]
    assert names == ["linear", "warmup_cosine", "warmup_stable_decay"]
    assert words in (folder / "advice.md").read_text()
