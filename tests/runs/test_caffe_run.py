"""A run as its configuration builds it against Caffe's loops and solver, in plain numpy."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.test_caffe_cifar import cifar10_full

from anneal.config.compose import compose_run
from anneal.datasets.image_data import ImageData, Split
from anneal.runs.hardware import Settings
from anneal.runs.plan import plan_run
from anneal.runs.setup import assemble_setup
from anneal.training.scheduled_lr import ScheduledLR

RTOL = 1e-7  # measured: 2e-9 of the largest weight after 7 updates; logits are read in float32
# of cifar10_full_train_test.prototxt; what is not named here is (1, 1)
MULTIPLIERS = {
    "conv1.bias": (2, 1),
    "conv2.bias": (2, 1),
    "ip1.weight": (1, 250),
    "ip1.bias": (2, 0),
}
EAGER = Settings(
    device="cpu", precision="float32", memory_format="contiguous", compile=False, threads=1
)
NUM_IMAGES, BATCH, UPDATES = 250, 100, 7


def images_and_labels(num_images: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (num_images, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(10, (num_images,), generator=generator))


def test_clr_run_makes_the_updates_of_caffes_loops(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw pixels minus the mean image, batches of 100 in stored order, multipliers, changing rate.

    In float64, from weights at which the normalisation layers matter.
    """
    monkeypatch.chdir(repository)
    train = images_and_labels(NUM_IMAGES, seed=1)
    identity = {"splits": {"train": {"num_images": NUM_IMAGES}}}
    data = ImageData("small", train, images_and_labels(10, seed=2), tuple("abcdefghij"), identity)
    lengths = ["training.length=7 steps", "scheduler.half_cycle=2 steps"]
    experiment = compose_run(["experiment=clr/cifar10_triangular", *lengths])
    plan = plan_run(experiment, identity, bounds=None, where="x")
    setup = assemble_setup(experiment, data, EAGER)
    learner = setup.learner(seed=0)
    learner.model.double()
    with torch.no_grad():
        for name, parameter in learner.model.named_parameters():
            parameter.normal_(std=0.02 if "weight" in name else 1.0)
    weights = {n: p.detach().numpy().copy() for n, p in learner.model.named_parameters()}
    batches = learner.batches
    learner = dataclasses.replace(
        learner, batches=lambda index: (batches(index)[0].double(), batches(index)[1])
    )
    scheduled = ScheduledLR(learner.optimizer, plan.schedule)

    pixels = train.images.numpy()
    mean_image = pixels.mean(0, dtype=np.float64).astype(np.float32)
    velocity = {name: np.zeros_like(weight) for name, weight in weights.items()}
    rates = []
    for update in range(UPDATES):
        # data_reader.cpp goes round the LMDB: the third batch has the last 50 images and the first
        rows = np.arange(update * BATCH, (update + 1) * BATCH) % NUM_IMAGES
        x = (pixels[rows].astype(np.float32) - mean_image).astype(np.float64)
        expected_loss, _, gradients, _ = cifar10_full(weights, x, train.labels.numpy()[rows])
        rate = 0.001 + 0.005 * (1 - abs(update / 2 - 2 * (update // 4) - 1))  # CLR, section 3.1
        rates.append(rate)
        for name, weight in weights.items():
            lr_mult, decay_mult = MULTIPLIERS.get(name, (1, 1))
            decayed = gradients[name] + 0.004 * decay_mult * weight
            velocity[name] = 0.9 * velocity[name] + rate * lr_mult * decayed
            weights[name] = weight - velocity[name]

        loss = learner.update(update)
        scheduled.step()
        assert loss.item() == pytest.approx(expected_loss, rel=1e-6)
        for name, parameter in learner.model.named_parameters():
            atol = RTOL * np.abs(weights[name]).max()
            np.testing.assert_allclose(
                parameter.detach().numpy(), weights[name], rtol=0, atol=atol, err_msg=name
            )
    assert sorted(set(rates)) == pytest.approx([0.001, 0.0035, 0.006])


def test_run_on_the_first_images_subtracts_the_mean_image_of_all(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    train = images_and_labels(NUM_IMAGES, seed=1)
    data = ImageData("small", train, images_and_labels(10, seed=2), tuple("abcdefghij"), {})
    experiment = compose_run(["experiment=clr/cifar10_triangular", "dataset.first_images=20"])
    setup = assemble_setup(experiment, data, EAGER)
    assert len(setup.data.train) == 20
    assert setup.normalise.mean is not None
    assert torch.allclose(setup.normalise.mean, train.images.double().mean(0).float())
