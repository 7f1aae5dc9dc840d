"""What a stage reads before it works: the experiment, its data, its bounds, its plan (edge)."""

import csv
from dataclasses import dataclass
from pathlib import Path

from anneal.builders import Workshop, open_workshop
from anneal.config import ExperimentConfig
from anneal.datasets import Paths, load_dataset
from anneal.hardware import decide
from anneal.layout import CAMPAIGN_FILE, EXPERIMENTS, RESULTS, identity_file
from anneal.parsing import parse
from anneal.plans import Bounds, Plan, plan_run
from anneal.yaml_files import read_json, read_yaml


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """One experiment of a campaign as ``compose`` wrote it.

    Args:
        path: the resolved file, for messages.
        seeds: of the campaign.
    """

    path: Path
    experiment: ExperimentConfig
    seeds: tuple[int, ...]


def load_experiment(campaign: str, name: str) -> Loaded:
    """Read ``experiments/<campaign>/<name>.yaml``.

    Raises:
        ValueError: missing or wrong; names the file, the key and the rule.
    """
    path = EXPERIMENTS / campaign / f"{name}.yaml"
    content = read_yaml(path)
    experiment = parse(
        ExperimentConfig, content["configuration"], where=str(path), key="configuration"
    )
    return Loaded(path=path, experiment=experiment, seeds=tuple(content["seeds"]))


def load_bounds(path: Path) -> Bounds:
    """Read the bounds that a range test suggests.

    Raises:
        ValueError: it abstained; says why.
    """
    found = read_json(path)
    if found["base_lr"] is None or found["max_lr"] is None:
        raise ValueError(f"{path}: the range test gives no bounds: {found['reason']}")
    return Bounds(
        name=found["name"],
        rule=found["rule"],
        base_lr=found["base_lr"],
        max_lr=found["max_lr"],
        reason=found["reason"],
    )


def open_experiment(experiment: ExperimentConfig, paths: Paths | None = None) -> Workshop:
    """Load an experiment's images and decide how this machine computes."""
    data = load_dataset(experiment.dataset, paths or Paths.from_environment())
    settings = decide(experiment.hardware, architecture=experiment.model.architecture)
    return open_workshop(experiment, data, settings)


def plan_experiment(loaded: Loaded, bounds: Bounds | None) -> tuple[Plan, Workshop]:
    """Load what one experiment of a campaign needs, and plan it.

    Raises:
        ValueError: the images are not those that ``download`` identified.
    """
    workshop = open_experiment(loaded.experiment)
    identity = workshop.data.identity
    file = identity_file(loaded.experiment.dataset.name)
    if file.is_file() and read_json(file) != identity:
        raise ValueError(
            f"{file} describes other images than those found now: run the download stage again"
        )
    plan = plan_run(loaded.experiment, identity, bounds=bounds, where=str(loaded.path))
    return plan, workshop


def committed_seeds(campaign: str, experiment: str, configuration_hash: str) -> set[int]:
    """Return the seeds that results/ already holds under this configuration.

    None are returned for a campaign that says ``rerun_committed: true``.
    """
    rows = RESULTS / campaign / "runs.csv"
    described = read_yaml(EXPERIMENTS / campaign / CAMPAIGN_FILE)
    if described["rerun_committed"] or not rows.is_file():
        return set()
    wanted = (experiment, configuration_hash)
    with rows.open(newline="") as file:
        return {
            int(row["seed"])
            for row in csv.DictReader(file)
            if (row["experiment"], row["configuration_hash"]) == wanted
        }
