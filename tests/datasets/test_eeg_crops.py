"""Batches of crops: functions of (seed, number), each crop a window of its trial."""

import dataclasses

import pytest
import torch

from anneal.config.signals import SignalConfig
from anneal.datasets.batches import EvaluationBatches, TrainingBatches, hold_out
from anneal.datasets.eeg.crops import CropBatches
from anneal.datasets.image_data import Split
from anneal.datasets.normalise import statistics_of

SAMPLES, CROP, OUTPUTS = 20, 12, 5
SIGNAL = SignalConfig(
    subjects=(1,), classes=("a", "b"), preprocessing=(), crop_samples=CROP, task="fists"
)


@pytest.fixture
def split() -> Split:
    """Trials that say where each of their samples is: 1000 * trial + 100 * channel + sample."""
    trials = torch.arange(9)[:, None, None] * 1000.0
    channels, samples = torch.arange(3)[:, None] * 100.0, torch.arange(SAMPLES) * 1.0
    return Split(trials + channels + samples, torch.arange(9) % 2)


@pytest.fixture
def make(configure, split):
    def build(seed: int = 0, crop: int | None = CROP) -> CropBatches:
        config = configure(source="eegbci", order="shuffled", signal=SIGNAL)
        trials = TrainingBatches(
            split,
            config=config,
            batch_size=4,
            seed=seed,
            device="cpu",
            normalise=statistics_of(split, config),
        )
        return CropBatches(trials, samples=SAMPLES, crop_samples=crop, outputs=OUTPUTS, seed=seed)

    return build


def test_crop_is_a_window_of_its_trial_the_same_for_all_channels(make):
    batches = make()
    for index in range(6):
        signals, labels = batches(index)
        trials = batches.indices_of(index)
        assert signals.shape == (len(trials), 3, CROP)
        starts = signals[:, 0, 0] - trials * 1000
        expected = (
            trials[:, None, None] * 1000.0
            + torch.arange(3)[:, None] * 100.0
            + starts[:, None, None]
            + torch.arange(CROP)
        )
        assert signals.equal(expected)
        assert labels.equal((trials % 2)[:, None].expand(-1, OUTPUTS))


def test_crops_are_a_function_of_seed_and_number(make):
    assert make()(7)[0].equal(make()(7)[0])
    batches = make()
    batches(0)
    assert batches(7)[0].equal(make()(7)[0])
    assert not make(seed=1).starts_of(7, 64).equal(make().starts_of(7, 64))
    assert not make().starts_of(8, 64).equal(make().starts_of(7, 64))


def test_every_start_is_drawn_and_equally_often(make):
    counts = torch.bincount(make().starts_of(0, 9000), minlength=SAMPLES - CROP + 1)
    assert len(counts) == 9
    assert ((counts - 1000).abs() < 150).all()  # five standard deviations of 30


def test_without_crops_a_trial_is_whole(make, split):
    signals, labels = make(crop=None)(0)
    assert signals.equal(split.images[make().indices_of(0)])
    assert labels.shape == (4, OUTPUTS)
    assert (make().steps_per_epoch, make().num_images) == (3, 9)


def test_evaluation_first_and_hold_out_are_those_of_images(configure, split):
    config = configure(source="eegbci", signal=SIGNAL)
    batches = EvaluationBatches(
        split, batch_size=4, device="cpu", normalise=statistics_of(split, config)
    )
    assert torch.cat([signals for signals, _ in batches]).equal(split.images)
    kept, aside = hold_out(split, fraction=0.3, seed=0)
    assert sorted([*kept.tolist(), *aside.tolist()]) == [*range(9)]
    assert split.first(2).images.equal(split.images[:2])
    assert split.image_shape == (3, SAMPLES)


def test_trial_is_not_scaled(configure, split):
    values = split.images - 500.5
    config = configure(source="eegbci", signal=SIGNAL)
    assert statistics_of(dataclasses.replace(split, images=values), config)(values).equal(values)
