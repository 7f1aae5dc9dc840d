"""Cost of the runs of a campaign, before anything is trained.

Floating-point operations are those of convolutions and matrix products, a multiplication and an
addition being two, counted on the network itself.
"""

import json
import math
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from anneal.config.compose import compose_experiments
from anneal.config.durations import Clock, to_steps
from anneal.config.options import place_of_experiment
from anneal.config.schema import CampaignConfig, ExperimentConfig
from anneal.config.strict import to_plain
from anneal.datasets.registry import DATASETS, PublishedSize, find_dataset
from anneal.runs.plan import check_plan, steps_per_epoch_of
from anneal.runs.setup import build_network
from anneal.runs.subjects import of_each_subject
from anneal.training.loop import evenly_spread

TERA = 1e12
BATCH = 2  # images in the pass that is counted: batch normalisation needs more than one
_COUNTED: dict[
    tuple[str, int | None, PublishedSize], tuple[float, float]
] = {}  # many rows share a network


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one row: how many runs, and what each of them takes.

    Args:
        updates: of one run.
        images: that one run trains on, repetitions counted.
        tested: images that one run is tested on.
        flop: floating-point operations of one run.
        bytes_read: from a raw store, by one run; 0 for a set that is kept in memory.
        bytes_stored: of that store; 0 likewise.
        experiment: the row.
    """

    name: str
    runs: int
    updates: int
    images: int
    tested: int
    flop: float
    bytes_read: int
    bytes_stored: int
    experiment: ExperimentConfig


def campaign_costs(config: CampaignConfig) -> list[Cost]:
    """Return what each row of a campaign costs, its range tests last.

    Raises:
        ValueError: a row is wrong, or its images are of no published size; names the file.
    """
    rows, tests = config.campaign.experiments, config.campaign.range_tests
    swept = {name: test.experiment for name, test in tests.items()}
    composed = compose_experiments(dict.fromkeys([*rows, *swept.values()]), config)
    found = [run_cost(composed[name], runs=len(config.seeds_of(name))) for name in rows]
    return found + [
        range_test_cost(composed[row], name=f"range test {name}") for name, row in swept.items()
    ]


def run_cost(experiment: ExperimentConfig, *, runs: int) -> Cost:
    """Return what the runs of one experiment cost."""
    size = _size(experiment)
    plan = check_plan(experiment, where=place_of_experiment(experiment.name))
    training = experiment.training
    images = plan.total_steps * training.batch_size * training.accumulation
    tested = len(evenly_spread(training.evaluations, plan.total_steps)) * size.test
    train, test = flop_per_image(experiment, size)
    return Cost(
        name=experiment.name,
        runs=runs * len(of_each_subject(experiment)),
        updates=plan.total_steps,
        images=images,
        tested=tested,
        flop=images * train + tested * test,
        experiment=experiment,
        **_bytes(experiment, size, images + tested),
    )


def range_test_cost(experiment: ExperimentConfig, *, name: str) -> Cost:
    """Return what a range test costs; each of its seeds is a run."""
    size, config = _size(experiment), experiment.range_test
    batch = experiment.training.batch_size * experiment.training.accumulation
    held_out = math.ceil(config.held_out_fraction * size.train)
    per_epoch = steps_per_epoch_of(experiment, size.train - held_out)
    updates = to_steps(config.length, Clock(steps_per_epoch=per_epoch, images_per_step=batch))
    tested = config.points * held_out
    train, test = flop_per_image(experiment, size)
    return Cost(
        name=name,
        runs=len(config.seeds),
        updates=updates,
        images=updates * batch,
        tested=tested,
        flop=updates * batch * train + tested * test,
        experiment=experiment,
        **_bytes(experiment, size, updates * batch + tested),
    )


def _bytes(experiment: ExperimentConfig, size: PublishedSize, images: int) -> dict[str, int]:
    """Return the bytes that a raw store has, and those of the rows of pixels that are read."""
    if not find_dataset(experiment.dataset).in_store:
        return {"bytes_read": 0, "bytes_stored": 0}
    channels, height, width = size.shape
    rows = experiment.dataset.crop or height
    return {
        "bytes_read": images * channels * rows * width,
        "bytes_stored": (size.train + size.test) * channels * height * width,
    }


def _size(experiment: ExperimentConfig) -> PublishedSize:
    size = find_dataset(experiment.dataset).size
    if size is None:
        published = ", ".join(name for name, entry in DATASETS.items() if entry.size)
        raise ValueError(
            f"{place_of_experiment(experiment.name)}: dataset.source must be of a published size "
            f"({published}), got {experiment.dataset.source}"
        )
    return size


def flop_per_image(experiment: ExperimentConfig, size: PublishedSize) -> tuple[float, float]:
    """Return the operations of a training pass, forward and back, and of a testing pass.

    Where a signal is cropped, a training pass sees a crop and a testing pass the whole trial.
    """
    signal = experiment.dataset.signal
    crop_samples = None if signal is None else signal.crop_samples
    model = to_plain(experiment.model) | {"name": ""}
    key = json.dumps(model, sort_keys=True), crop_samples or _side(experiment), size
    if key not in _COUNTED:
        _COUNTED[key] = _count(experiment, size, crop_samples)
    return _COUNTED[key]


def _side(experiment: ExperimentConfig) -> int | None:
    """Return the side of what the network sees, in pixels; None: that of the published images."""
    return experiment.dataset.crop or experiment.dataset.image_size


def _count(
    experiment: ExperimentConfig, size: PublishedSize, crop_samples: int | None
) -> tuple[float, float]:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # shapes alone: no memory
        torch.manual_seed(0)
        side = _side(experiment)
        shape = size.shape if side is None else (size.shape[0], side, side)
        network = build_network(experiment, shape=shape, num_classes=size.classes)
        images, labels = torch.empty(BATCH, *shape), torch.zeros(BATCH, dtype=torch.long)
        own_loss = getattr(network, "training_loss", None)
        with FlopCounterMode(display=False) as training:
            seen = images[..., :crop_samples]
            (own_loss(seen, labels) if own_loss else network(seen).sum()).backward()
        network.eval()
        with FlopCounterMode(display=False) as testing, torch.no_grad():
            network(images)
    return training.get_total_flops() / BATCH, testing.get_total_flops() / BATCH
