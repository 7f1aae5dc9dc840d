"""What a campaign costs, before it runs: against products multiplied out by hand."""

import json
from pathlib import Path

import pytest

from anneal.commands import costs
from anneal.config.compose import compose_campaign, compose_run
from anneal.datasets.registry import DATASETS
from anneal.runs.costs import campaign_costs, flop_per_image, run_cost
from anneal.runs.layout import PAPER

# ResNet-20 on 32 px: the stem, six layers of 16 channels on 32 px, then twice one that widens and
# five that do not, and the classifier; multiplications with their additions
STEM = 3 * 16 * 9 * 32 * 32
LAYERS = STEM + 6 * 16 * 16 * 9 * 32 * 32
LAYERS += 16 * 32 * 9 * 16 * 16 + 5 * 32 * 32 * 9 * 16 * 16
LAYERS += 32 * 64 * 9 * 8 * 8 + 5 * 64 * 64 * 9 * 8 * 8 + 64 * 10
TESTING = 2 * LAYERS
TRAINING = 2 * (3 * LAYERS - STEM)  # forward, weights' and inputs' gradients; images need none


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.chdir(repository)


def test_row_costs_its_updates_times_the_operations_of_its_network() -> None:
    config = compose_campaign("clr_resnet20_short")
    rows = {cost.name: cost for cost in campaign_costs(config)}
    assert len(rows) == 3
    cost = rows["clr/cifar10_resnet20_clr"]
    assert cost.runs == 3
    assert cost.updates == 1282  # 1/50 of 64,124, rounded down
    assert cost.images == 1282 * 128
    assert cost.tested == 10 * 10_000
    assert cost.flop == cost.images * TRAINING + cost.tested * TESTING


def test_resized_images_are_counted_at_their_new_size() -> None:
    digits = compose_run(["experiment=digits/fixed"])  # 8 px, resized to 24
    assert digits.dataset.image_size == 24
    layers = [8 * 25 * 24 * 24, 8 * 8 * 25 * 12 * 12, 8 * 16 * 25 * 6 * 6, 16 * 3 * 3 * 10]
    _, testing = flop_per_image(digits, DATASETS["digits"].size)
    assert testing == 2 * sum(layers)


def test_range_test_is_a_row_of_its_own() -> None:
    config = compose_campaign("super_convergence_short")
    *_, cost = campaign_costs(config)
    assert cost.name == "range test cifar10_caffe_resnet20"
    assert (cost.runs, cost.updates, cost.images) == (1, 400, 50_000)
    assert cost.tested == 40 * 5_000  # points, each on a tenth of the training images


def test_batches_in_several_passes_count_every_image() -> None:
    config = compose_campaign("super_convergence_short")
    cost, *_ = campaign_costs(config)
    assert (cost.updates, cost.images) == (250, 250 * 125)


def test_dropped_blocks_cost_nothing_and_leave_callers_stream_alone() -> None:
    import torch

    size = DATASETS["cifar10"].size
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    plain = compose_run(["experiment=clr/cifar10_resnet110_lr_0.1"])
    train, test = flop_per_image(plain, size)
    dropping = compose_run(["experiment=clr/cifar10_sd110_lr_0.1"])
    less, same = flop_per_image(dropping, size)
    assert same == test
    assert 0.6 < less / train < 0.9  # three quarters of the blocks on average
    assert torch.equal(torch.rand(1), expected)


def test_command_says_it_in_a_table_and_the_hours_where_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    costs.main(["clr_resnet20_short", "0.5"])
    first, titles, _rule, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("campaign clr_resnet20_short: ")
    assert titles.split() == ["row", "runs", "updates", "images", "tested", "TFLOP", "hours"]
    assert len(rows) == 4
    total = 9 * (1282 * 128 * TRAINING + 100_000 * TESTING) / 1e12
    assert rows[-1].split()[-2:] == [f"{total:,.1f}", f"{total / 0.5 / 3600:.2f}"]
    costs.main(["clr_resnet20_short"])
    assert "hours" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["clr_resnet20_shrt"], "no option 'clr_resnet20_shrt'; did you mean"),
        (["quick", "fast"], "TFLOP/s must be a positive number, got fast"),
        (["quick", "-1"], "TFLOP/s must be a positive number, got -1"),
        (["quick", "1", "2"], "needs at most a campaign and TFLOP/s, got quick 1 2"),
    ],
)
def test_mistake_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        costs.main(arguments)
    assert said in capsys.readouterr().err


def test_derived_rows_are_made_of_the_rows_that_campaigns_name() -> None:
    found = costs.derived_rows()
    assert found["baselines/hgd_fbcsp_4_125hz"] == []
    assert found["sgdr/eeg_sgdr_both_rates"] == ["sgdr/eeg_sgdr_lr_0.025", "sgdr/eeg_sgdr_lr_0.05"]
    written = json.loads((PAPER / "costs.json").read_text())
    assert {name for name, cost in written.items() if "trains" in cost} <= set(found)
    assert all(rest in written for cost in written.values() for rest in cost.get("trains", []))


def test_every_subject_is_a_run_and_a_crop_costs_less_than_its_trial() -> None:
    config = compose_campaign("eeg_small")
    by_name = {cost.name: cost for cost in campaign_costs(config)}
    cost = by_name["sgdr/eegbci_sgdr_lr_0.05"]
    assert (cost.runs, cost.updates, cost.images, cost.tested) == (27, 300, 4500, 15 * 15)
    high_gamma = compose_run(["dataset=high_gamma", "model=eeg_deep4"])
    train, test = flop_per_image(high_gamma, DATASETS["high_gamma"].size)
    assert (
        2.5 < train / (test / 2) < 3.1
    )  # two crops of a trial in evaluation, one forward pass each


def test_store_costs_bytes_of_the_rows_that_windows_touch() -> None:
    size = DATASETS["imagenet"].size
    assert size is not None
    alexnet = compose_run(["dataset=imagenet_caffe", "model=torchvision", *SHORT])
    cost = run_cost(alexnet, runs=1)
    assert cost.bytes_stored == (1_281_167 + 50_000) * 256 * 256 * 3
    assert cost.images == 20 * 4
    assert cost.bytes_read == (cost.images + cost.tested) * 227 * 256 * 3
    lines = costs.table([cost], tera_flop_per_s=1.0)
    assert lines[0].split()[-4:] == ["TFLOP", "GB", "read", "hours"]
    assert lines[-1] == "bytes are those of a raw store, which has 261.7 GB"


def test_measured_hours_are_those_of_the_slower_of_the_two() -> None:
    rows = [
        run_cost(compose_run([f"dataset={name}", *SHORT]), runs=1)
        for name in ("digits", "imagenet16")
    ]
    hours, lines = costs.measured(rows, seconds=0.1)
    assert all("images/s of arithmetic" in line and line.endswith("binds") for line in lines)
    assert all("of input, random images; " in line for line in lines)
    assert len(lines) == 2
    assert all(value > 0 for value in hours.values())


SHORT = ["training.length=20 steps", "training.batch_size=4", "training.evaluations=1"]
