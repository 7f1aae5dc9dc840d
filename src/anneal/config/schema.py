"""Configuration schema: frozen dataclasses.

No code behind this module sees YAML or Hydra. ``anneal.config.strict`` parses plain data into these
classes; its names are exported here too, since they are used together.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from anneal.config.durations import Duration
from anneal.config.signals import SignalConfig
from anneal.config.snapshots import SNAPSHOT_WORDS, is_snapshot_rule
from anneal.config.strict import (
    FRACTION,
    NOT_NEGATIVE,
    PART,
    POSITIVE,
    SHARE,
    SOME_TIME,
    Rest,
    Rule,
    configuration_hash,
    one_of,
    only,
    parse,
    to_plain,
)

__all__ = [
    "FRACTION",
    "NOT_NEGATIVE",
    "PART",
    "POSITIVE",
    "SHARE",
    "SOME_TIME",
    "Campaign",
    "CampaignConfig",
    "CampaignExperiment",
    "CampaignRangeTest",
    "DatasetConfig",
    "ExperimentConfig",
    "FineTuningConfig",
    "HardwareConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RangeTestConfig",
    "Rest",
    "Rule",
    "SchedulerConfig",
    "SignalConfig",
    "TrackingConfig",
    "TrainingConfig",
    "configuration_hash",
    "one_of",
    "only",
    "parse",
    "to_plain",
]

ENOUGH_POINTS = Rule("must be at least 5", lambda v: v >= 5)
SEEDS = Rule(
    "must be one or more different whole numbers from 0 to 2**32 - 1",
    lambda v: 0 < len(v) == len(set(v)) and all(0 <= s < 2**32 for s in v),
)

KEPT = Rule(SNAPSHOT_WORDS, is_snapshot_rule)
SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
WALL_TIME = Rule(
    "must be a time such as 90 seconds or 10 minutes",
    lambda v: re.fullmatch(r"\d*[1-9]\d* (second|minute|hour)s?", v) is not None,
)


def check_seed(seed: object, *, where: str) -> int:
    """Return the seed of a run.

    Raises:
        ValueError: it is not a whole number from 0 to 2**32 - 1; names the file.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"{where}: seed must be a whole number from 0 to 2**32 - 1, got {seed!r}")
    return seed


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Images and their preprocessing (``conf/dataset``)."""

    name: str
    source: str  # a key of datasets.registry.DATASETS
    dataset_class: str | None  # torchvision: the name of the class, e.g. FashionMNIST
    folder: str | None  # imagefolder: the folder with the classes, or with train/ and val/
    image_size: Annotated[int | None, POSITIVE]  # side in px after resizing; None: as stored
    test_fraction: Annotated[float | None, PART]  # without test images: a seeded split
    split_seed: Annotated[int, NOT_NEGATIVE]
    memory_gib: Annotated[float, POSITIVE]  # above this, images are read from disk by a loader
    scale: Annotated[float, POSITIVE]  # value of a white pixel: 255 (raw, as in Caffe) or 1
    subtract: Annotated[str, one_of("nothing", "mean_image", "channel_mean")]  # of training images
    divide: Annotated[str, one_of("nothing", "channel_std", "overall_std")]
    crop_padding: Annotated[int, NOT_NEGATIVE]  # px on each side before a random crop; 0: no crop
    crop_fill: Annotated[str, one_of("zero", "reflect")]
    mirror: bool  # flip left-right with probability 1/2
    order: Annotated[str, one_of("stored", "shuffled")]  # stored: as Caffe reads its LMDB
    drop_last: bool  # drop the last, partial batch of an epoch
    first_images: Annotated[int | None, POSITIVE] = None  # number to train on; None: all
    mirrored_copies: bool = False  # an epoch has each image and its mirror image
    test_folder: str | None = None  # imagefolder with val/ and test/: the one measured on
    full_pixel: Annotated[float | None, POSITIVE] = None  # imagefolder of 16 bits: value of white
    crop: Annotated[int | None, POSITIVE] = None  # side of a window: random; in tests the centre
    files: Annotated[int | None, POSITIVE] = None  # shuffled inside, in order; None: one
    files_hold: Annotated[str | None, only("classes", null="mixed")] = None
    scaled_decoding: Annotated[bool | None, only(True, null="no")] = None  # JPEGs decoded smaller
    resize_filter: Annotated[str | None, one_of("bilinear", "box")] = None  # of a store
    channel_order: Annotated[str | None, only("bgr", null="rgb")] = None  # of a store
    subset: Annotated[bool | None, only(True, null="no")] = None  # a store of other counts
    signal: SignalConfig | None = None  # EEG: recordings in place of images


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Network (``conf/model``)."""

    name: str
    library: Annotated[str, one_of("timm", "torchvision")]  # ours are registered with timm
    architecture: str
    arguments: Mapping[str, Any]  # of the constructor
    small_images: bool  # 3x3 stride-1 stem and no max pooling instead of the 224 px stem


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig:
    """Where the weights start, and which of them are trained at which rate."""

    weights: str | None = None  # a file; or "library": downloaded by timm or torchvision
    freeze: bool = False  # train the head alone; batch normalisation keeps its statistics
    layer_decay: Annotated[float, SHARE] = 1.0  # factor of the rate from a layer to the one before


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer (``conf/optimizer``); the scheduler sets its learning rate."""

    name: str  # a key of runs.optimizers.OPTIMIZERS
    weight_decay: Annotated[float, NOT_NEGATIVE]  # torch's convention: adds weight_decay * w
    arguments: Annotated[Mapping[str, Any], Rest]  # of this optimizer: momentum, nesterov, ...


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Schedule (``conf/scheduler``): a function of ``anneal.schedules`` and its arguments.

    An argument in updates is a duration under its name without ``_steps``: ``half_cycle: 4 epochs``
    is ``half_cycle_steps``.
    """

    name: str  # the function: a key of schedules.SCHEDULES
    momentum: Mapping[str, Any] | None  # a second schedule of the same form, for the momentum
    arguments: Annotated[Mapping[str, Any], Rest]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Length, batches, evaluations and snapshots of a run."""

    batch_size: Annotated[int, POSITIVE]  # images in one forward pass
    accumulation: Annotated[int, POSITIVE]  # forward passes in one update
    length: Annotated[Duration, SOME_TIME]  # of the run at full budget
    evaluations: Annotated[int, POSITIVE]  # on the test images, evenly spread, the last at the end
    log_lines: Annotated[int, POSITIVE]  # of the history, evenly spread, the last at the end
    label_smoothing: Annotated[float, FRACTION]
    snapshots: Annotated[str, KEPT]  # which weights are saved; changes no number


@dataclass(frozen=True, kw_only=True)
class RangeTestConfig:
    """Sweep of the range test (``conf/range_test``)."""

    name: str
    sweep: Annotated[str, one_of("linear", "exponential")]
    first_lr: Annotated[float, NOT_NEGATIVE]
    last_lr: Annotated[float, POSITIVE]
    length: Annotated[Duration, SOME_TIME]
    points: Annotated[int, ENOUGH_POINTS]  # evaluations, evenly spread
    held_out_fraction: Annotated[float, PART]  # of the training images; never test images
    seeds: Annotated[tuple[int, ...], SEEDS]
    rule: Annotated[str, one_of("smith", "minimum", "steepest", "valley")]


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """Device and numerics (``conf/hardware``); ``auto`` reads the table of measurements."""

    name: str
    device: Annotated[str, one_of("auto", "cpu", "cuda", "mps")]
    precision: Annotated[str, one_of("auto", "float32", "tf32", "bf16")]  # tf32: on CUDA
    memory_format: Annotated[str, one_of("auto", "contiguous", "channels_last")]
    compile: Annotated[str, one_of("auto", "on", "off")]
    threads: Annotated[int | None, POSITIVE]  # None: one for each core
    kernels: Annotated[str, one_of("none", "cpu")] = "none"  # cpu: extensions/cpu_kernels
    processes: Annotated[int, POSITIVE] = 1  # that share the parts of an update
    patience: Annotated[str, WALL_TIME] = "10 minutes"  # that one of them waits for another
    parts: Annotated[str, one_of("apart", "together")] = "apart"  # together: in one forward pass
    inputs: Annotated[str, one_of("stepwise", "gathered")] = "stepwise"  # gathered: in one gather
    capture: Annotated[str, one_of("none", "graph")] = "none"  # graph: updates as a CUDA graph
    abreast: Annotated[int | None, POSITIVE] = 1  # seeds in one process; None: as many as pay off

    @property
    def patience_seconds(self) -> float:
        """Patience in seconds."""
        number, unit = self.patience.split()
        return int(number) * SECONDS[unit.removesuffix("s")]


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Tracking in Weights & Biases (``conf/tracking``); the record is on disk in any case."""

    name: str
    mode: Annotated[str, one_of("off", "auto", "offline", "online")]  # auto: online with a key
    project: str
    entity: str | None


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One row of a paper's table, ready to train."""

    name: str  # <paper>/<row>, a row of conf/table or a file of conf/experiment
    title: str  # of this row in the report
    paper: str | None  # place of the row: "1506.01186v6, Table 1"
    dataset: DatasetConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    training: TrainingConfig
    range_test: RangeTestConfig
    bounds: Annotated[str, one_of("given", "range_test")]
    hardware: HardwareConfig
    tracking: TrackingConfig
    budget_fraction: Annotated[float, SHARE]
    fine_tuning: FineTuningConfig = FineTuningConfig()


@dataclass(frozen=True, kw_only=True)
class CampaignExperiment:
    """Entry of one experiment of a campaign: the values that DVC needs and cannot derive."""

    dataset: str
    range_test: str  # "given", or the range test that gives the bounds
    num_seeds: Annotated[int | None, POSITIVE] = None  # number of seeds to use; None: all


@dataclass(frozen=True, kw_only=True)
class CampaignRangeTest:
    """Entry of one range test of a campaign."""

    dataset: str
    experiment: str  # its dataset, model, optimizer, batch size and range_test define the test


@dataclass(frozen=True, kw_only=True)
class CampaignEnsemble:
    """Entry of one ensemble across two experiments: their snapshots are averaged together."""

    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Experiments x seeds x a budget fraction (``conf/campaign``)."""

    name: str
    title: str
    rerun_committed: bool  # train committed seeds again (a demonstration), or skip them
    datasets: tuple[str, ...]
    range_tests: Mapping[str, CampaignRangeTest]
    experiments: Mapping[str, CampaignExperiment]
    references: Mapping[str, str] = field(default_factory=dict)  # data set decoded by FBCSP
    ensembles: Mapping[str, CampaignEnsemble] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CampaignConfig:
    """Root of ``params.yaml``, with exactly these keys."""

    campaign: Campaign
    seeds: Annotated[tuple[int, ...], SEEDS]
    budget_fraction: Annotated[float, SHARE]
    hardware: HardwareConfig
    tracking: TrackingConfig

    def seeds_of(self, experiment: str) -> tuple[int, ...]:
        """Return the seeds of one experiment of the campaign."""
        return self.seeds[: self.campaign.experiments[experiment].num_seeds]
