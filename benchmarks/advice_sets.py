"""Declared comparisons of advised schedules, and the images and weights that they need.

Written before the runs: settings, seeds, tolerance and the two schedules to compare with.
"""

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from anneal.config.compose import compose_run
from anneal.config.paths import Paths
from anneal.datasets import load_dataset
from anneal.io.terminal import say
from anneal.models.layers import head_names
from anneal.runs.code_digest import code_of_run
from anneal.runs.directory import RunDirectory
from anneal.runs.layout import MULTIRUN, REPLACED, seed_folder
from anneal.runs.plan import plan_run
from anneal.runs.run import SeedRun, train_run, usual_observers
from anneal.runs.setup import load_setup

TEST_SEEDS = (10, 11, 12, 13, 14)  # none of them chose the schedule: the trials have 0, 1 and 2
TOLERANCE_PCT = 0.5  # points of test accuracy: within them two schedules are equally good
DEFAULT_LR = 0.001  # of torch's SGD and AdamW alike
PREPARED = Path("data/advice")
CLASSES = 10  # of CIFAR-100: the first by name
SMALL = 100  # training images a class of the small subset
WEIGHTS = PREPARED / "caffe_cifar10.pt"
SMALL_BUDGET = (
    "hardware=cpu",
    "hardware.threads=1",
    "training.evaluations=2",
    "advise.seeds=[0,1,2]",
)
# the six that a budget in minutes tries first
SIX = "advise.candidates=[step_decay_max,linear,cosine,warmup_cosine,warmup_stable_decay,one_cycle]"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One question to ``anneal advise``, and what its answer is compared with on test images.

    Args:
        name: of its folder in ``results/advice``.
        words: images, network and optimizer, for the table.
        overrides: of ``anneal advise``.
        usual_lr: peak of the cosine to compare with.
        usual: where that rate is usual.
        prepare: makes images and weights; None if the readers download them.
    """

    name: str
    words: str
    overrides: tuple[str, ...]
    usual_lr: float
    usual: str
    prepare: Callable[[Path | None], None] | None = None

    @property
    def fine_tunes(self) -> bool:
        """Whether it starts from pretrained weights."""
        return any(override.startswith("fine_tuning.weights") for override in self.overrides)

    def declared(self) -> dict[str, Any]:
        """Return the settings as plain data: other ones are another comparison."""
        return {
            "words": self.words,
            "overrides": list(self.overrides),
            "test_seeds": list(TEST_SEEDS),
            "tolerance_pct": TOLERANCE_PCT,
            "default_lr": DEFAULT_LR,
            "usual_lr": self.usual_lr,
            "usual": self.usual,
        }


def write_classes(folder: Path, *, images_per_class: int | None) -> None:
    """Write ten classes of CIFAR-100 as a folder of images, with all their test images.

    Args:
        folder: gets ``train/<class>`` and ``val/<class>``; kept if it exists.
        images_per_class: for training, in stored order; None: all 500.
    """
    if folder.is_dir():
        return
    config = compose_run(["dataset=cifar100"]).dataset
    data = load_dataset(config, Paths.from_environment())
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for split, images, most in (
        ("train", data.train, images_per_class),
        ("val", data.test, None),
    ):
        for label, name in enumerate(data.class_names[:CLASSES]):
            place = unfinished / split / name
            place.mkdir(parents=True)
            indices = torch.nonzero(images.labels == label)[:most, 0]
            pixels = images.take(indices)[0].permute(0, 2, 3, 1).numpy()
            for index, of_one in zip(indices.tolist(), pixels, strict=True):
                Image.fromarray(of_one).save(place / f"{index:05d}.png")
    unfinished.rename(folder)


def pretrain() -> None:
    """Train Caffe's network on CIFAR-10, write its weights but the head; nothing if they exist."""
    if WEIGHTS.is_file():
        return
    experiment = dataclasses.replace(compose_run(PRETRAINING), name="advice/pretraining")
    setup = load_setup(experiment, Paths.from_environment())
    plan = plan_run(experiment, setup.data.identity, bounds=None, where="conf/run.yaml")
    directory = RunDirectory(
        seed_folder(MULTIRUN / plan.configuration_hash, 0),
        configuration_hash=plan.configuration_hash,
        code=code_of_run(setup.settings.numerics),
    )
    run = SeedRun(plan=plan, setup=setup, seed=0, directory=directory, replaced=MULTIRUN / REPLACED)
    with run.held():
        result = train_run(run, usual_observers(run, job_type="multirun"))
    say(f"CIFAR-10: {result['test_accuracy_pct@final']:.2f} % test accuracy")
    state = directory.read_snapshot(plan.total_steps)  # weights_only
    head = head_names(setup.build())
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: value for name, value in state.items() if name not in head}, WEIGHTS)


def _many(_folder: Path | None) -> None:
    write_classes(PREPARED / "cifar100", images_per_class=None)


def _few(_folder: Path | None) -> None:
    write_classes(PREPARED / "cifar100_few", images_per_class=SMALL)
    pretrain()


def _photos(folder: Path | None) -> None:
    """Copy the user's folder, so that no path of this machine is in the record.

    Raises:
        ValueError: there is neither a copy nor a folder.
    """
    copy = PREPARED / "ants_bees"
    if not copy.is_dir():
        if folder is None or not (folder / "train").is_dir():
            raise ValueError(f"--folder must be a folder with train/ and val/, got {folder}")
        for split in ("train", "val"):
            shutil.copytree(folder / split, copy / split)
    pretrain()


PRETRAINING = [
    "dataset=cifar10_caffe",
    "dataset.order=shuffled",
    "model=caffe_cifar",
    "optimizer=sgd",
    "scheduler=one_cycle",
    "training.batch_size=100",
    "training.length=600 steps",
    "training.evaluations=2",
    "training.snapshots=every 1.0 run",
    "hardware=cpu",
    "hardware.threads=1",
    "tracking=off",
]
RAW = ("dataset.test_fraction=null", "dataset.scale=255", "dataset.divide=nothing")
TUNING = (
    *RAW,
    "dataset=imagefolder",
    "model=caffe_cifar",
    "optimizer=adamw",
    f"fine_tuning.weights={WEIGHTS}",
    "advise.candidates=[constant,linear,cosine,warmup_cosine,warmup_stable_decay]",
    *SMALL_BUDGET,
)
CIFAR100_FEW = (
    f"dataset.folder={PREPARED}/cifar100_few",
    "dataset.image_size=32",
    "dataset.crop_padding=4",
    "training.batch_size=32",
    "training.length=100 steps",
    "budget_fraction=0.5",
    "range_test.length=120 steps",
)
ANTS_BEES = (
    f"dataset.folder={PREPARED}/ants_bees",
    "dataset.image_size=32",
    "dataset.crop_padding=4",
    "training.batch_size=16",
    "training.length=60 steps",
    "range_test.length=90 steps",
    "range_test.held_out_fraction=0.4",
    "range_test.rule=minimum",  # smith abstained: 24 held-out photos are too few for it
)
HEAD = ("fine_tuning.freeze=true",)
DECAY = ("fine_tuning.layer_decay=0.75",)

COMPARISONS = (
    Comparison(
        name="digits",
        words="digits (1,437 images), Caffe's CIFAR-10 network, SGD",
        overrides=(
            "dataset=digits",
            "dataset.image_size=16",
            "optimizer=sgd",
            "budget_fraction=0.3",
            SIX,
            *SMALL_BUDGET,
        ),
        usual_lr=0.001,
        usual="of the network's own solver",
    ),
    Comparison(
        name="mnist",
        words="MNIST (6,000 images), Caffe's LeNet, AdamW",
        overrides=(
            "dataset=mnist",
            "dataset.first_images=6000",
            "dataset.order=shuffled",
            "model=caffe_lenet",
            "optimizer=adamw",
            "training.batch_size=64",
            "training.length=2 epochs",
            "range_test.length=150 steps",
            "budget_fraction=0.5",
            SIX,
            *SMALL_BUDGET,
            "training.evaluations=1",  # of 10,000 test images
        ),
        usual_lr=0.001,
        usual="AdamW's default",
    ),
    Comparison(
        name="cifar100",
        words="ten classes of CIFAR-100 (5,000 images of 16 px), ResNet-20, SGD",
        overrides=(
            "dataset=imagefolder",
            f"dataset.folder={PREPARED}/cifar100",
            "dataset.test_fraction=null",
            "dataset.image_size=16",
            "dataset.crop_padding=2",
            "model=cifar_resnet20",
            "optimizer=sgd",
            "training.batch_size=50",
            "training.length=3 epochs",
            "range_test.length=210 steps",
            "budget_fraction=0.25",
            SIX,
            *SMALL_BUDGET,
        ),
        usual_lr=0.1,
        usual="of the network's paper",
        prepare=_many,
    ),
    Comparison(
        name="tuned_cifar100_head",
        words="CIFAR-100 (1,000 images), head alone",
        overrides=(*TUNING, *CIFAR100_FEW, *HEAD),
        usual_lr=0.001,
        usual="for a new head",
        prepare=_few,
    ),
    Comparison(
        name="tuned_cifar100_decay",
        words="CIFAR-100 (1,000 images), layer-wise decay 0.75",
        overrides=(*TUNING, *CIFAR100_FEW, *DECAY),
        usual_lr=0.0001,
        usual="for fine-tuning",
        prepare=_few,
    ),
    Comparison(
        name="tuned_ants_bees_head",
        words="ants and bees (60 images), head alone",
        overrides=(*TUNING, *ANTS_BEES, *HEAD),
        usual_lr=0.001,
        usual="for a new head",
        prepare=_photos,
    ),
    Comparison(
        name="tuned_ants_bees_decay",
        words="ants and bees (60 images), layer-wise decay 0.75",
        overrides=(*TUNING, *ANTS_BEES, *DECAY),
        usual_lr=0.0001,
        usual="for fine-tuning",
        prepare=_photos,
    ),
)
