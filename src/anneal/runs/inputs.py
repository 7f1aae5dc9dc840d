"""Inputs of the train stage, read from disk without torch."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from anneal.config.schema import ExperimentConfig
from anneal.config.strict import parse
from anneal.io.files import read_json, read_yaml, read_yaml_mapping
from anneal.runs.layout import CAMPAIGN_FILE, EXPERIMENTS, RANGE_TESTS, SUGGESTION
from anneal.runs.plan import Bounds
from anneal.runs.subjects import find_subject, of_each_subject, split_name


class NoBoundsError(ValueError):
    """A range test abstained; a campaign continues without its experiments."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """One resolved experiment of a campaign.

    Args:
        path: its file, for messages.
        seeds: of the campaign.
    """

    path: Path
    experiment: ExperimentConfig
    seeds: tuple[int, ...]

    def of_each_subject(self) -> "list[Loaded]":
        """Return the experiment of each of its subjects; itself alone where it is one set."""
        return [
            dataclasses.replace(self, experiment=part) for part in of_each_subject(self.experiment)
        ]


def load_experiment(campaign: str, name: str) -> Loaded:
    """Read ``experiments/<campaign>/<name>.yaml``, or one subject of it.

    Raises:
        ValueError: the file is missing or invalid; names it, the key and the rule.
    """
    whole, subject = split_name(name)
    if subject is not None:
        loaded = load_experiment(campaign, whole)
        return dataclasses.replace(loaded, experiment=find_subject(loaded.experiment, subject))
    path = EXPERIMENTS / campaign / f"{name}.yaml"
    content = read_yaml(path)
    experiment = parse(
        ExperimentConfig, content["configuration"], where=str(path), key="configuration"
    )
    return Loaded(path=path, experiment=experiment, seeds=tuple(content["seeds"]))


def load_range_test(campaign: str, name: str) -> Bounds | None:
    """Read the bounds of the range test that a campaign's experiment, or subject, takes them from.

    Raises:
        NoBoundsError: it abstained; gives the reason.
        ValueError: the campaign was not composed, or has no such experiment; names the file.
    """
    path = EXPERIMENTS / campaign / CAMPAIGN_FILE
    whole, _ = split_name(name)
    try:
        range_test = read_yaml_mapping(path)["experiments"][whole]["range_test"]
    except (KeyError, TypeError):
        raise ValueError(f"{path}: experiments has no {whole} with its range_test") from None
    return load_bounds(RANGE_TESTS / campaign / range_test / SUGGESTION)


def load_bounds(path: Path) -> Bounds | None:
    """Read the suggested bounds of a range test; None if there is no range test.

    Raises:
        NoBoundsError: it abstained; gives the reason.
    """
    found = read_json(path)
    if found["rule"] is None:
        return None
    if found["base_lr"] is None or found["max_lr"] is None:
        raise NoBoundsError(f"{path}: the range test gives no bounds: {found['reason']}")
    return Bounds(
        name=found["name"],
        rule=found["rule"],
        base_lr=found["base_lr"],
        max_lr=found["max_lr"],
        reason=found["reason"],
    )
