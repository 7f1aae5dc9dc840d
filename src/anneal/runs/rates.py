"""Rates of this machine for an experiment: images a second of arithmetic and of input, measured.

Arithmetic repeats updates on one batch; input makes batches and trains on none. The images are
those of the set's store; random ones where it is not here, or where the set is kept in memory.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from anneal.config.schema import ExperimentConfig
from anneal.config.strict import to_plain
from anneal.datasets import load_dataset
from anneal.datasets.archives import Paths
from anneal.datasets.image_data import ImageData, Images, Split
from anneal.datasets.imagenet.split import made_up_split
from anneal.datasets.registry import PublishedSize, find_dataset
from anneal.runs.hardware import decide
from anneal.runs.setup import assemble_setup

MADE_UP = 512  # images
UNTIMED = 1  # updates, and batches, before the clock starts


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Images a second that this machine keeps up.

    Args:
        arithmetic: in updates on one batch.
        input: in batches alone.
        made_up: the images were random.
    """

    arithmetic: float
    input: float
    made_up: bool

    @property
    def binding(self) -> str:
        """The lower of the two."""
        return "input" if self.input < self.arithmetic else "arithmetic"


def network_and_data(experiment: ExperimentConfig) -> str:
    """Return what decides about the rates: rows with the same text share them."""
    plain = to_plain(experiment)
    training = experiment.training
    return str((plain["model"], plain["dataset"], training.batch_size, plain["optimizer"]))


def measure_rates(
    experiment: ExperimentConfig, size: PublishedSize, *, seconds: float, paths: Paths
) -> Rates:
    """Measure both rates, each for half of the time and at least one update.

    Raises:
        ValueError: the experiment is of signals.
    """
    entry = find_dataset(experiment.dataset)
    if entry.has_signals:
        raise ValueError(f"{experiment.name}: --measure is for images, not for signals")
    with tempfile.TemporaryDirectory() as folder:
        data = _stored(experiment, paths) if entry.in_store else None
        made_up = data is None
        if data is None:
            data = _made_up(experiment, size, Path(folder), in_store=entry.in_store)
        settings = decide(experiment.hardware, architecture=experiment.model.architecture)
        plain = dataclasses.replace(experiment.fine_tuning, weights=None)
        setup = assemble_setup(dataclasses.replace(experiment, fine_tuning=plain), data, settings)
        learner = setup.learner(0)
        batches, batch = learner.batches, learner.batches(0)
        inputs = _rate(lambda number: len(batches(number)[1]), seconds / 2)
        constant = dataclasses.replace(learner, batches=_Constant(batch), accumulation=1)

        def update(number: int) -> int:
            constant.update(number).item()  # waits for the device
            return len(batch[1])

        return Rates(arithmetic=_rate(update, seconds / 2), input=inputs, made_up=made_up)


class _Constant:
    """One batch, whatever its number."""

    def __init__(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        self._batch = batch

    def __call__(self, _index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._batch


def _stored(experiment: ExperimentConfig, paths: Paths) -> ImageData | None:
    try:
        return load_dataset(experiment.dataset, paths)
    except ValueError:
        return None  # no store: one is made up


def _made_up(
    experiment: ExperimentConfig, size: PublishedSize, folder: Path, *, in_store: bool
) -> ImageData:
    num_images = max(MADE_UP, experiment.training.batch_size * (experiment.dataset.files or 1))
    labels = torch.arange(num_images) % size.classes
    split: Images
    if in_store:
        split = made_up_split(folder, side=size.shape[1], labels=labels)
    else:
        split = Split(torch.randint(256, (num_images, *size.shape), dtype=torch.uint8), labels)
    names = tuple(map(str, range(size.classes)))
    return ImageData("made up", split, split, names, {}, crop=experiment.dataset.crop)


def _rate(work: Callable[[int], int], seconds: float) -> float:
    """Return the images a second that ``work`` does; it gets a number and returns its images."""
    for number in range(UNTIMED):
        work(number)
    done, number, began = 0, UNTIMED, time.perf_counter()
    while not done or time.perf_counter() - began < seconds:
        done += work(number)
        number += 1
    return done / (time.perf_counter() - began)
