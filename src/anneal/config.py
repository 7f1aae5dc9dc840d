"""Configuration as frozen dataclasses, and the strict reading of plain dicts into them (PURE).

YAML and Hydra stop at this border: nothing deeper sees either. A key that is unknown or missing, a
value of the wrong type or out of range is a ``ValueError`` that names the file, the key, the rule
and, for a misspelling, the nearest right spelling.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from anneal.durations import Duration, parse_duration

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """What a value must satisfy, in words and as a predicate."""

    words: str
    holds: Callable[[Any], bool]


class Rest:
    """Marks the one mapping that takes the keys which no other field names."""


POSITIVE = Rule("must be positive", lambda v: v > 0)
NOT_NEGATIVE = Rule("must not be negative", lambda v: v >= 0)
FRACTION = Rule("must lie in [0, 1)", lambda v: 0 <= v < 1)
PART = Rule("must lie in (0, 1)", lambda v: 0 < v < 1)
SHARE = Rule("must lie in (0, 1]", lambda v: 0 < v <= 1)
SOME_TIME = Rule("must be longer than nothing", lambda v: v.value > 0)
ENOUGH_POINTS = Rule("must be at least 5", lambda v: v >= 5)
SEEDS = Rule(
    "must be one or more different whole numbers from 0 to 2**32 - 1",
    lambda v: 0 < len(v) == len(set(v)) and all(0 <= s < 2**32 for s in v),
)


def _one_of(*names: str) -> Rule:
    return Rule(f"must be one of {', '.join(names)}", lambda v: v in names)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x' or 'y'?`` for a near miss, else the list of what there is.

    >>> did_you_mean("momentun", ["momentum", "lr"])
    "; did you mean 'momentum'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; there is {', '.join(names) or 'nothing'}"


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Which images, and what is done to them on the way in (``conf/dataset``)."""

    name: str
    source: Annotated[str, _one_of("digits", "cifar10", "cifar100", "torchvision", "imagefolder")]
    dataset_class: str | None  # torchvision: the name of the class, e.g. FashionMNIST
    folder: str | None  # imagefolder: the folder that holds the classes, or train/ and val/
    image_size: Annotated[int | None, POSITIVE]  # side in px after resizing; None: as stored
    test_fraction: Annotated[float | None, PART]  # imagefolder without val/: a seeded split
    split_seed: Annotated[int, NOT_NEGATIVE]
    memory_gib: Annotated[float, POSITIVE]  # above this, images are read from disk by a loader
    scale: Annotated[float, POSITIVE]  # what a full pixel becomes: 255 (raw, as Caffe) or 1
    subtract: Annotated[str, _one_of("nothing", "mean_image", "channel_mean")]  # of training images
    divide: Annotated[str, _one_of("nothing", "channel_std")]
    crop_padding: Annotated[int, NOT_NEGATIVE]  # px on each side before a random crop; 0: no crop
    crop_fill: Annotated[str, _one_of("zero", "reflect")]
    mirror: bool  # flip left-right with probability 1/2
    order: Annotated[str, _one_of("stored", "shuffled")]  # stored: as Caffe reads its LMDB
    drop_last: bool  # leave the last, partial batch of an epoch out


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network (``conf/model``)."""

    name: str
    library: Annotated[str, _one_of("timm", "torchvision")]  # ours are registered with timm
    architecture: str
    arguments: Mapping[str, Any]  # passed on to the constructor
    small_images: bool  # 3x3 stride-1 stem and no max pooling instead of the 224 px stem


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Which update rule (``conf/optimizer``); the rate itself comes from the scheduler."""

    name: str  # the rule: a key of plans.OPTIMIZERS
    weight_decay: Annotated[float, NOT_NEGATIVE]  # torch's convention: adds weight_decay * w
    arguments: Annotated[Mapping[str, Any], Rest]  # the rule's own: momentum, nesterov, ...


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Which schedule (``conf/scheduler``): a function of ``anneal.schedules`` and its arguments.

    Lengths in updates are written as durations under the argument's name without ``_steps``:
    ``half_cycle: 4 epochs`` is ``half_cycle_steps``.
    """

    name: str  # the function: a key of schedules.BUILDERS
    momentum: Mapping[str, Any] | None  # a second schedule of the same form, for the momentum
    arguments: Annotated[Mapping[str, Any], Rest]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, in which batches, and how often it is looked at."""

    batch_size: Annotated[int, POSITIVE]  # images in one forward pass
    accumulation: Annotated[int, POSITIVE]  # forward passes in one update
    length: Annotated[Duration, SOME_TIME]  # of the run at full budget
    evaluations: Annotated[int, POSITIVE]  # on the test images, evenly spread, the last at the end
    log_lines: Annotated[int, POSITIVE]  # of the history, evenly spread, the last at the end
    label_smoothing: Annotated[float, FRACTION]


@dataclass(frozen=True, kw_only=True)
class RangeTestConfig:
    """The sweep that finds the bounds (``conf/range_test``)."""

    name: str
    sweep: Annotated[str, _one_of("linear", "exponential")]
    first_lr: Annotated[float, NOT_NEGATIVE]
    last_lr: Annotated[float, POSITIVE]
    length: Annotated[Duration, SOME_TIME]
    points: Annotated[int, ENOUGH_POINTS]  # measured, evenly spread
    held_out_fraction: Annotated[float, PART]  # of the training images; never test images
    seeds: Annotated[tuple[int, ...], SEEDS]
    rule: Annotated[str, _one_of("smith", "minimum", "steepest", "valley")]


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """Where and how it computes (``conf/hardware``); ``auto`` reads the table of measurements."""

    name: str
    device: Annotated[str, _one_of("auto", "cpu", "cuda", "mps")]
    precision: Annotated[str, _one_of("auto", "float32", "bf16")]
    memory_format: Annotated[str, _one_of("auto", "contiguous", "channels_last")]
    compile: Annotated[str, _one_of("auto", "on", "off")]
    threads: Annotated[int | None, POSITIVE]  # None: one for each core


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where a view of the runs goes (``conf/tracking``); the record is on disk in any case."""

    name: str
    mode: Annotated[str, _one_of("off", "auto", "offline", "online")]  # auto: online with a key
    project: str
    entity: str | None


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One row of one table of one paper, ready to be trained."""

    name: str  # <paper>/<row>, the path below conf/experiment
    title: str  # what a reader of the report calls this row
    paper: str | None  # where the row stands: "1506.01186v6, Table 1"
    dataset: DatasetConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    training: TrainingConfig
    range_test: RangeTestConfig
    bounds: Annotated[str, _one_of("given", "range_test")]
    hardware: HardwareConfig
    tracking: TrackingConfig
    budget_fraction: Annotated[float, SHARE]


@dataclass(frozen=True, kw_only=True)
class CampaignExperiment:
    """What DVC must know of one experiment of a campaign, since it can derive nothing."""

    dataset: str
    range_test: str  # "given", or the range test that the experiment takes its bounds from


@dataclass(frozen=True, kw_only=True)
class CampaignRangeTest:
    """One range test of a campaign."""

    dataset: str
    experiment: str  # its dataset, model, optimizer, batch size and range_test are the ones tested


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Experiments x seeds x a budget fraction (``conf/campaign``)."""

    name: str
    title: str
    rerun_committed: bool  # train again what results/ already holds (a demonstration), or skip it
    datasets: tuple[str, ...]
    range_tests: Mapping[str, CampaignRangeTest]
    experiments: Mapping[str, CampaignExperiment]


@dataclass(frozen=True, kw_only=True)
class CampaignConfig:
    """The root of ``params.yaml``: these keys and no other."""

    campaign: Campaign
    seeds: Annotated[tuple[int, ...], SEEDS]
    budget_fraction: Annotated[float, SHARE]
    hardware: HardwareConfig
    tracking: TrackingConfig


def parse(cls: type[T], section: object, *, where: str, key: str = "") -> T:
    """Read a plain dict into a frozen dataclass, strictly.

    Args:
        cls: one of the dataclasses above.
        section: what YAML gave.
        where: the file that a person would edit, for the message.
        key: dotted path of ``section`` inside that file.

    Raises:
        ValueError: names ``where``, the key and the rule.
    """
    if not isinstance(section, Mapping):
        at = f"{where}: {key or 'the whole file'}"
        raise ValueError(f"{at} must be a mapping, got {_shown(section)}")
    hints = typing.get_type_hints(cls, include_extras=True)
    rest = _rest_field(hints)
    named = [name for name in hints if name != rest]
    unnamed = {str(name): section[name] for name in section if name not in named}
    if unnamed and rest is None:
        name = next(iter(unnamed))
        hint = did_you_mean(name, named)
        raise ValueError(f"{where}: unknown key '{_dotted(key, name)}'{hint}")
    missing = [_dotted(key, name) for name in named if name not in section]
    if missing:
        raise ValueError(f"{where}: missing key{'s' * (len(missing) > 1)} {', '.join(missing)}")
    values = {
        name: _convert(hints[name], section[name], where=where, key=_dotted(key, name))
        for name in named
    }
    if rest is not None:
        values[rest] = _plain(unnamed, where=where, key=key)
    return cls(**values)


def _rest_field(hints: Mapping[str, Any]) -> str | None:
    """Return the name of the field that is marked :class:`Rest`, if there is one."""
    marked = (n for n, h in hints.items() if Rest in typing.get_args(h)[1:])
    return next(marked, None)


def _convert(hint: Any, value: Any, *, where: str, key: str) -> Any:
    """Return ``value`` as the annotated type, or raise with the place and the rule."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)

    def refuse(kind: str) -> ValueError:
        return ValueError(f"{where}: {key} must be {kind}, got {_shown(value)}")

    if origin is Annotated:
        inner, rule = arguments
        converted = _convert(inner, value, where=where, key=key)
        if converted is not None and not rule.holds(converted):
            raise ValueError(f"{where}: {key} {rule.words}, got {_shown(value)}")
        return converted
    if origin is types.UnionType:  # only "X | None"
        if value is None:
            return None
        return _convert(arguments[0], value, where=where, key=key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise refuse("a list")
        return tuple(
            _convert(arguments[0], item, where=where, key=f"{key}[{i}]")
            for i, item in enumerate(value)
        )
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise refuse("a mapping")
        if arguments[1] is Any:
            return _plain(value, where=where, key=key)
        return {
            str(name): _convert(arguments[1], item, where=where, key=_dotted(key, str(name)))
            for name, item in value.items()
        }
    if dataclasses.is_dataclass(hint) and hint is not Duration:
        return parse(typing.cast(type, hint), value, where=where, key=key)
    if hint is Duration:
        try:
            return parse_duration(value)
        except ValueError as error:
            raise ValueError(f"{where}: {key} {error}") from None
    if hint is bool and not isinstance(value, bool):
        raise refuse("true or false")
    if hint is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise refuse("a whole number")
    if hint is float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise refuse("a finite number")
        return float(value)
    if hint is str and (not isinstance(value, str) or not value):
        raise refuse("some text")
    return value


def _plain(value: Any, *, where: str, key: str) -> Any:
    """Return a copy made of dicts, lists and scalars; refuse anything else and NaN."""
    if isinstance(value, Mapping):
        return {str(n): _plain(v, where=where, key=_dotted(key, str(n))) for n, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, where=where, key=f"{key}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {key} must be finite, got {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{where}: {key} must be plain data, got {type(value).__name__}")


def _dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def to_plain(config: object) -> Any:
    """Turn a parsed configuration back into what :func:`parse` reads: dicts, lists, scalars."""
    if isinstance(config, Duration):
        return str(config)
    if dataclasses.is_dataclass(config):
        plain = {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
        rest = _rest_field(typing.get_type_hints(type(config), include_extras=True))
        return plain if rest is None else plain | plain.pop(rest)
    if isinstance(config, Mapping):
        return {str(name): to_plain(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_plain(value) for value in config]
    return config


def configuration_hash(plain: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that change when anything in ``plain`` does.

    >>> configuration_hash({"a": 1, "b": 2}) == configuration_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
