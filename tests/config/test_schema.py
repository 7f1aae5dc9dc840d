"""The border where YAML becomes a dataclass: strict, and back again without loss."""

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from anneal.config import schema as config
from anneal.config.durations import Duration
from anneal.config.schema import (
    CampaignConfig,
    DatasetConfig,
    ExperimentConfig,
    HardwareConfig,
    OptimizerConfig,
    RangeTestConfig,
    SchedulerConfig,
    TrainingConfig,
)
from anneal.config.strict import POSITIVE, Rest, configuration_hash, parse, to_plain
from anneal.io.text import did_you_mean

WHERE = "conf/x.yaml"


def set_at(plain: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Set one key of nested plain data, by its dotted path."""
    *above, last = path.split(".")
    node = plain
    for part in above:
        node = node[part]
    node[last] = value
    return plain


def complaint(plain: object, kind: type = ExperimentConfig) -> str:
    with pytest.raises(ValueError, match=rf"^{WHERE}: ") as refused:
        parse(kind, plain, where=WHERE)
    said = str(refused.value)
    assert "\n" not in said
    return said.removeprefix(f"{WHERE}: ")


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("budget_fracton", "budget_fraction"),
        ("training.batch_sise", "batch_size"),
        ("dataset.image_sizes", "image_size"),
        ("hardware.precison", "precision"),
        ("range_test.point", "points"),
    ],
)
def test_unknown_key_is_named_with_its_path_and_the_nearest_spelling(
    plain: dict[str, Any], path: str, nearest: str
) -> None:
    assert complaint(set_at(plain, path, 1)) == f"unknown key '{path}'; did you mean '{nearest}'?"


def test_unknown_key_like_no_other_is_answered_with_all_there_are(plain: dict[str, Any]) -> None:
    said = complaint(set_at(plain, "training.zzz", 1))
    assert said.startswith("unknown key 'training.zzz'; there is accumulation, batch_size, ")


def test_key_that_is_no_text_is_unknown_too(plain: dict[str, Any]) -> None:
    """YAML reads the key `on` as true."""
    plain[True] = 1  # type: ignore[index]
    assert complaint(plain).startswith("unknown key 'True'")


# Keys with a default, at which they are left out of the hash: a configuration without them counts.
OPTIONAL = {
    "dataset.first_images": None,
    "dataset.mirrored_copies": False,
    "hardware.kernels": "none",
    "hardware.processes": 1,
    "hardware.patience": "10 minutes",
    "hardware.parts": "apart",
    "hardware.inputs": "stepwise",
    "hardware.capture": "none",
    "hardware.abreast": 1,
    "fine_tuning.weights": None,
    "fine_tuning.freeze": False,
    "fine_tuning.layer_decay": 1.0,
}
OF_SOME = (  # shown where they count
    "dataset.signal",
    "dataset.test_folder",
    "dataset.full_pixel",
    "dataset.crop",
    "dataset.files",
    "dataset.files_hold",
    "dataset.scaled_decoding",
    "dataset.resize_filter",
    "dataset.channel_order",
    "dataset.subset",
)


def all_fields() -> list[str]:
    """Return the dotted path of every field of an experiment, sections and what they hold."""
    found = []
    for name, hint in typing.get_type_hints(ExperimentConfig).items():
        found.append(name)
        if dataclasses.is_dataclass(hint):
            hints = typing.get_type_hints(hint, include_extras=True)
            found += [f"{name}.{f}" for f, h in hints.items() if Rest not in typing.get_args(h)]
    return found


@pytest.mark.parametrize(
    "path", [path for path in all_fields() if path not in (*OPTIONAL, *OF_SOME, "fine_tuning")]
)
def test_every_key_must_be_there(plain: dict[str, Any], path: str) -> None:
    *above, last = path.split(".")
    node = plain[above[0]] if above else plain
    del node[last]
    assert complaint(plain) == f"missing key {path}"


@pytest.mark.parametrize(("path", "default"), OPTIONAL.items())
def test_key_with_a_default_may_be_left_out_of_an_experiment(
    plain: dict[str, Any], path: str, default: object
) -> None:
    section, key = path.split(".")
    assert plain[section].pop(key) == default, "conf/ shows the default"
    assert key not in to_plain(parse(ExperimentConfig, plain, where=WHERE)).get(section, {})


def test_all_missing_keys_are_named_at_once(plain: dict[str, Any]) -> None:
    del plain["training"]["length"], plain["training"]["log_lines"]
    assert complaint(plain) == "missing keys training.length, training.log_lines"


@pytest.mark.parametrize("section", [None, [], "text", 3])
def test_section_must_be_a_mapping(plain: dict[str, Any], section: object) -> None:
    said = complaint(set_at(plain, "training", section))
    assert said == f"training must be a mapping, got {section!r}"
    assert complaint(section) == f"the whole file must be a mapping, got {section!r}"


# --- types ----------------------------------------------------------------------------------------

WRONG_TYPES = [
    *((path, value, "a whole number") for path in ("training.batch_size", "dataset.split_seed")
      for value in (True, False, 1.0, 1.5, "1", None, [1])),
    *(("dataset.image_size", value, "a whole number") for value in (True, 24.0, "24")),
    *((path, value, "a finite number") for path in ("dataset.scale", "budget_fraction")
      for value in (True, "1", None, math.nan, math.inf, -math.inf, [1.0])),
    *(("dataset.mirror", value, "true or false") for value in (0, 1, "true", None)),
    *((path, value, "some text") for path in ("name", "model.architecture", "tracking.project")
      for value in (1, None, True, "", ["x"])),
    ("paper", 1506.01186, "some text"),
    ("model.arguments", [], "a mapping"),
    ("model.arguments", None, "a mapping"),
    ("scheduler.momentum", "one_cycle_momentum", "a mapping"),
    ("range_test.seeds", 0, "a list"),
    ("range_test.seeds", "0", "a list"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "kind"), WRONG_TYPES)
def test_value_of_the_wrong_type_is_refused(
    plain: dict[str, Any], path: str, value: object, kind: str
) -> None:
    assert complaint(set_at(plain, path, value)) == f"{path} must be {kind}, got {value!r}"


def test_number_beyond_any_float_is_refused(plain: dict[str, Any]) -> None:
    said = complaint(set_at(plain, "dataset.scale", 10**400))
    assert said.startswith("dataset.scale must be a finite number, got 1000")
    assert len(said) < 130


def test_whole_number_will_do_where_a_number_is_asked_for(plain: dict[str, Any]) -> None:
    scale = parse(ExperimentConfig, set_at(plain, "dataset.scale", 255), where=WHERE).dataset.scale
    assert (scale, type(scale)) == (255.0, float)


def test_item_of_a_list_is_named_by_its_place(plain: dict[str, Any]) -> None:
    said = complaint(set_at(plain, "range_test.seeds", [0, "1"]))
    assert said == "range_test.seeds[1] must be a whole number, got '1'"


@pytest.mark.parametrize("value", ["fast", "-4 epochs", 4, "4 epoks"])
def test_duration_is_read_at_the_border(plain: dict[str, Any], value: object) -> None:
    said = complaint(set_at(plain, "training.length", value))
    assert said.startswith("training.length must be a duration: ")
    assert said.endswith(f"got {value!r}")


# --- ranges ---------------------------------------------------------------------------------------

WRONG_VALUES = [
    ("budget_fraction", 0, "must be in (0, 1]"),
    ("budget_fraction", 1.01, "must be in (0, 1]"),
    ("budget_fraction", -0.5, "must be in (0, 1]"),
    ("dataset.full_pixel", 0.0, "must be positive"),
    ("dataset.crop", 0, "must be positive"),
    ("dataset.files", 0, "must be positive"),
    ("dataset.files_hold", "mixed", "must be classes, or null for mixed"),
    ("dataset.resize_filter", "cubic", "must be one of bilinear, box"),
    ("dataset.channel_order", "rgb", "must be bgr, or null for rgb"),
    ("dataset.subset", False, "must be true, or null for no"),
    ("dataset.scaled_decoding", False, "must be true, or null for no"),
    ("training.batch_size", 0, "must be positive"),
    ("training.accumulation", -1, "must be positive"),
    ("training.evaluations", 0, "must be positive"),
    ("training.log_lines", 0, "must be positive"),
    ("training.label_smoothing", 1.0, "must be in [0, 1)"),
    ("training.length", "0 steps", "must be longer than 0"),
    ("training.snapshots", "all", "must be none, cycle_ends, last <number of cycles> or every "
     "<duration> ('last 3', 'every 0.2 run')"),
    ("dataset.crop_padding", -1, "must not be negative"),
    ("dataset.image_size", 0, "must be positive"),
    ("dataset.memory_gib", 0.0, "must be positive"),
    ("dataset.test_fraction", 1.0, "must be in (0, 1)"),
    ("dataset.test_fraction", 0.0, "must be in (0, 1)"),
    ("dataset.split_seed", -1, "must not be negative"),
    ("dataset.scale", 0.0, "must be positive"),
    ("dataset.crop_fill", "mean", "must be one of zero, reflect"),
    ("dataset.divide", "std", "must be one of nothing, channel_std, overall_std"),
    ("dataset.first_images", 0, "must be positive"),
    ("dataset.order", "random", "must be one of stored, shuffled"),
    ("dataset.subtract", "mean", "must be one of nothing, mean_image, channel_mean"),
    ("optimizer.weight_decay", -0.1, "must not be negative"),
    ("model.library", "keras", "must be one of timm, torchvision"),
    ("bounds", "found", "must be one of given, range_test"),
    ("range_test.points", 4, "must be at least 5"),
    ("range_test.first_lr", -0.1, "must not be negative"),
    ("range_test.last_lr", 0.0, "must be positive"),
    ("range_test.seeds", [], "must be one or more different whole numbers from 0 to 2**32 - 1"),
    ("range_test.seeds", [1, 1], "must be one or more different whole numbers from 0 to 2**32 - 1"),
    ("range_test.seeds", [-1], "must be one or more different whole numbers from 0 to 2**32 - 1"),
    ("range_test.seeds", [2**32], "must be one or more different whole numbers from 0 to 2**32 - "
     "1"),
    ("range_test.held_out_fraction", 1.0, "must be in (0, 1)"),
    ("range_test.sweep", "cubic", "must be one of linear, exponential"),
    ("hardware.memory_format", "nhwc", "must be one of auto, contiguous, channels_last"),
    ("range_test.rule", "smiths", "must be one of smith, minimum, steepest, valley"),
    ("hardware.device", "gpu", "must be one of auto, cpu, cuda, mps"),
    ("hardware.precision", "fp16", "must be one of auto, float32, tf32, bf16"),
    ("hardware.compile", "yes", "must be one of auto, on, off"),
    ("hardware.threads", 0, "must be positive"),
    ("hardware.kernels", "gpu", "must be one of none, cpu"),
    ("hardware.processes", 0, "must be positive"),
    ("hardware.patience", "soon", "must be a time such as 90 seconds or 10 minutes"),
    ("hardware.patience", "0 minutes", "must be a time such as 90 seconds or 10 minutes"),
    ("hardware.parts", "abreast", "must be one of apart, together"),
    ("hardware.inputs", "fast", "must be one of stepwise, gathered"),
    ("hardware.capture", "yes", "must be one of none, graph"),
    ("hardware.abreast", 0, "must be positive"),
    ("tracking.mode", "wandb", "must be one of off, auto, offline, online"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "rule"), WRONG_VALUES)
def test_value_out_of_range_is_refused_with_the_rule(
    plain: dict[str, Any], path: str, value: object, rule: str
) -> None:
    assert complaint(set_at(plain, path, value)) == f"{path} {rule}, got {value!r}"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("budget_fraction", 1),
        ("budget_fraction", 1e-6),
        ("training.label_smoothing", 0.0),
        ("training.label_smoothing", 0.999),
        ("dataset.crop_padding", 0),
        ("dataset.image_size", None),
        ("dataset.test_fraction", 0.001),
        ("range_test.points", 5),
        ("range_test.seeds", [2**32 - 1, 0]),
        ("hardware.threads", 1),
        ("paper", None),
    ],
)
def test_ends_of_a_range_that_belong_to_it_are_taken(
    plain: dict[str, Any], path: str, value: object
) -> None:
    parsed = to_plain(parse(ExperimentConfig, set_at(plain, path, value), where=WHERE))
    for part in path.split("."):
        parsed = parsed[part]
    assert parsed == value


def test_every_range_in_the_configuration_is_tested_here() -> None:
    """A rule that no test breaks may as well not be there."""
    sections = [DatasetConfig, TrainingConfig, RangeTestConfig, HardwareConfig, OptimizerConfig]
    ruled = {
        name
        for section in sections
        for name, hint in typing.get_type_hints(section, include_extras=True).items()
        if typing.get_origin(hint) is Annotated and Rest not in typing.get_args(hint)
    }
    broken = {path.split(".")[-1] for path, _, _ in WRONG_VALUES}
    assert ruled - broken == set()


# --- mappings that take what no field names -------------------------------------------------------


def test_rest_takes_the_keys_that_no_field_names() -> None:
    section = {"name": "triangular", "momentum": None, "base_lr": 0.1, "half_cycle": "4 epochs"}
    parsed = parse(SchedulerConfig, section, where=WHERE)
    assert parsed.arguments == {"base_lr": 0.1, "half_cycle": "4 epochs"}
    assert to_plain(parsed) == section


def test_name_of_the_rest_is_a_key_like_any_other() -> None:
    section = {"name": "sgd", "weight_decay": 0.0, "arguments": {"momentum": 0.9}}
    parsed = parse(OptimizerConfig, section, where=WHERE)
    assert parsed.arguments == {"arguments": {"momentum": 0.9}}
    assert to_plain(parsed) == section


@pytest.mark.parametrize(
    ("value", "place", "rule"),
    [
        (math.nan, "scheduler.stages[0].lr", "must be finite, got nan"),
        (math.inf, "scheduler.stages[0].lr", "must be finite, got inf"),
        ({1, 2}, "scheduler.stages[0].lr", "must be plain data, got set"),
        (Duration(1.0, "steps"), "scheduler.stages[0].lr", "must be plain data, got Duration"),
    ],
)
def test_what_is_deep_in_the_rest_is_plain_and_finite(
    plain: dict[str, Any], value: object, place: str, rule: str
) -> None:
    plain["scheduler"]["stages"] = [{"lr": value}]
    assert complaint(plain) == f"{place} {rule}"


def test_rest_is_a_copy(plain: dict[str, Any]) -> None:
    plain["scheduler"]["milestones"] = [1, 2]
    parsed = parse(ExperimentConfig, plain, where=WHERE)
    plain["scheduler"]["milestones"].append(3)
    assert parsed.scheduler.arguments["milestones"] == [1, 2]


def test_nested_mappings_of_dataclasses_name_the_whole_path() -> None:
    with pytest.raises(ValueError, match=WHERE) as refused:
        parse(
            config.Campaign,
            {
                "name": "x",
                "title": "x",
                "rerun_committed": False,
                "datasets": ["digits"],
                "range_tests": {},
                "experiments": {"clr/row": {"dataset": "digits", "range_tset": "given"}},
            },
            where=WHERE,
            key="campaign",
        )
    assert str(refused.value) == (
        f"{WHERE}: unknown key 'campaign.experiments.clr/row.range_tset'; "
        "did you mean 'range_test'?"
    )


# --- keys that may be left out --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WithDefault:
    batch_size: int
    cycles: Annotated[int | None, POSITIVE] = None


@pytest.mark.parametrize(
    ("section", "cycles", "back"),
    [
        ({"batch_size": 1}, None, {"batch_size": 1}),
        ({"batch_size": 1, "cycles": None}, None, {"batch_size": 1}),
        ({"batch_size": 1, "cycles": 3}, 3, {"batch_size": 1, "cycles": 3}),
    ],
)
def test_key_with_a_default_may_be_left_out_and_changes_no_hash_there(
    section: dict[str, Any], cycles: int | None, back: dict[str, Any]
) -> None:
    parsed = parse(WithDefault, section, where=WHERE)
    assert parsed.cycles == cycles
    assert to_plain(parsed) == back


def test_key_with_a_default_is_checked_as_any_other() -> None:
    assert complaint({"batch_size": 1, "cycles": 0}, WithDefault) == (
        "cycles must be positive, got 0"
    )
    said = complaint({"batch_size": 1, "cycle": 3}, WithDefault)
    assert said == "unknown key 'cycle'; did you mean 'cycles'?"
    assert complaint({"cycles": 3}, WithDefault) == "missing key batch_size"


# --- there and back -------------------------------------------------------------------------------


def test_configuration_survives_the_way_to_plain_data_and_back(
    experiment: ExperimentConfig,
) -> None:
    there = to_plain(experiment)
    assert parse(ExperimentConfig, there, where=WHERE) == experiment
    assert parse(ExperimentConfig, json.loads(json.dumps(there)), where=WHERE) == experiment


def test_what_was_composed_is_what_comes_back(
    plain: dict[str, Any], experiment: ExperimentConfig
) -> None:
    for path in OPTIONAL:
        section, key = path.split(".")
        del plain[section][key]
    del plain["fine_tuning"]  # all of it at its defaults
    assert to_plain(experiment) == plain


@pytest.mark.parametrize("length", ["1234567 steps", "0.333333333333 epochs", "100000001 images"])
def test_long_lengths_survive_the_way_back(plain: dict[str, Any], length: str) -> None:
    """They once came back with six digits."""
    parsed = parse(ExperimentConfig, set_at(plain, "training.length", length), where=WHERE)
    assert to_plain(parsed)["training"]["length"] == length
    assert parse(ExperimentConfig, to_plain(parsed), where=WHERE) == parsed


def test_campaign_survives_the_way_there_and_back(repository: Any) -> None:
    import yaml

    plain = yaml.safe_load((repository / "params.yaml").read_text())
    campaign = parse(CampaignConfig, plain, where="params.yaml")
    for key in (
        "kernels",
        "processes",
        "patience",
        "parts",
        "inputs",
        "capture",
        "abreast",
    ):  # at their defaults they are left out
        assert plain["hardware"].pop(key) == OPTIONAL[f"hardware.{key}"]
    for key in ("references", "ensembles"):
        assert plain["campaign"].pop(key) == {}
    assert to_plain(campaign) == plain
    assert parse(CampaignConfig, to_plain(campaign), where="params.yaml") == campaign


def test_configuration_is_frozen(experiment: ExperimentConfig) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.name = "other"  # type: ignore[misc]


# --- small parts ----------------------------------------------------------------------------------


def test_optional_value_with_a_rule_may_be_absent_and_not_wrong() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Section:
        size: Annotated[int | None, POSITIVE]
        rest: Annotated[Mapping[str, Any], Rest]

    assert parse(Section, {"size": None}, where=WHERE) == Section(size=None, rest={})
    assert complaint({"size": -1}, Section) == "size must be positive, got -1"


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("triangluar", ["triangular", "hann"], "; did you mean 'triangular'?"),
        ("cosin", ["cosine", "cosines", "x"], "; did you mean 'cosine' or 'cosines'?"),
        ("q", ["b", "a"], "; there is a, b"),
        ("q", [], "; there is nothing"),
    ],
)
def test_nearest_names_are_offered_or_all_of_them(name: str, known: list[str], said: str) -> None:
    assert did_you_mean(name, known) == said


def test_hash_sees_values_types_and_nesting_and_not_the_order_of_keys() -> None:
    one = {"a": {"x": 1, "y": [1, 2]}, "b": None}
    assert configuration_hash(one) == configuration_hash({"b": None, "a": {"y": [1, 2], "x": 1}})
    others = [
        {"a": {"x": 1, "y": [2, 1]}, "b": None},
        {"a": {"x": True, "y": [1, 2]}, "b": None},
        {"a": {"x": "1", "y": [1, 2]}, "b": None},
        {"a": {"x": 1, "y": [1, 2]}, "b": False},
        {"a": {"x": 1, "y": [1, 2]}},
    ]
    hashes = {configuration_hash(plain) for plain in [one, *others]}
    assert len(hashes) == 1 + len(others)
    assert {len(h) for h in hashes} == {12}


def test_hash_of_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        configuration_hash({"a": math.nan})
