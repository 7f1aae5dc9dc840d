"""Runs of a campaign: every seed of every experiment, and where it is trained."""

from dataclasses import dataclass
from pathlib import Path

from anneal.config.compose import compose_experiments
from anneal.config.options import place_of_experiment
from anneal.config.schema import CampaignConfig, ExperimentConfig
from anneal.datasets.identity import identity_of
from anneal.io.files import read_json
from anneal.runs.committed import read_run_rows
from anneal.runs.inputs import NoBoundsError, load_bounds
from anneal.runs.layout import (
    GRID,
    RANGE_TESTS,
    RESULTS,
    RUNS,
    SUGGESTION,
    identity_file,
    seed_folder,
)
from anneal.runs.plan import check_plan, plan_run
from anneal.runs.subjects import of_each_subject


@dataclass(frozen=True, kw_only=True)
class CampaignRun:
    """One seed of one experiment of a campaign.

    Args:
        config: its experiment as the campaign runs it.
        range_test: the name of the range test that it takes its bounds from, or ``given``.
        total_steps: updates to be made.
        configuration_hash: None before images and bounds are known.
        committed: results/ has it, and the campaign does not train it again.
        without_bounds: its range test gave none, so that it is not trained.
    """

    campaign: str
    experiment: str
    seed: int
    config: ExperimentConfig
    range_test: str
    total_steps: int
    configuration_hash: str | None
    committed: bool
    without_bounds: bool

    @property
    def name(self) -> str:
        """What the terminal calls it."""
        return f"{self.experiment} seed {self.seed}"

    @property
    def path(self) -> Path:
        """Its run directory."""
        return seed_folder(RUNS / self.campaign / self.experiment, self.seed)

    @property
    def log(self) -> Path:
        """The file that takes what its processes say when ``anneal grid`` starts them."""
        return self._in_grid(".log")

    @property
    def attempt(self) -> Path:
        """The record of its last attempt by ``anneal grid``: its failure, its job of SLURM."""
        return self._in_grid(".json")

    def _in_grid(self, suffix: str) -> Path:
        folder = RUNS / self.campaign / GRID / self.experiment
        return folder / f"{self.path.name}{suffix}"


def campaign_runs(config: CampaignConfig) -> list[CampaignRun]:
    """Return every run of a campaign, in its order."""
    name = config.campaign.name
    found = []
    composed = compose_experiments(config.campaign.experiments, config)
    for experiment, entry in config.campaign.experiments.items():
        for part in of_each_subject(composed[experiment]):
            total_steps, configuration_hash, without_bounds = _expected(part, config, experiment)
            committed: set[int] = set()
            if not config.campaign.rerun_committed:
                committed = _committed(name, part.name, configuration_hash, total_steps)
            found += [
                CampaignRun(
                    campaign=name,
                    experiment=part.name,
                    seed=seed,
                    config=part,
                    range_test=entry.range_test,
                    total_steps=total_steps,
                    configuration_hash=configuration_hash,
                    committed=seed in committed,
                    without_bounds=without_bounds,
                )
                for seed in config.seeds_of(experiment)
            ]
    return found


def _expected(
    experiment: ExperimentConfig, config: CampaignConfig, name: str
) -> tuple[int, str | None, bool]:
    """Return a run's updates, its configuration hash, and whether its range test gave no bounds.

    Before images and bounds are known the hash is None, and lengths in epochs are judged as
    ``check_plan`` does.
    """
    where = place_of_experiment(name)
    identity = identity_file(experiment.dataset.name)
    range_test = config.campaign.experiments[name].range_test
    suggestion = RANGE_TESTS / config.campaign.name / range_test / SUGGESTION
    if identity.is_file() and suggestion.is_file():
        try:
            bounds = load_bounds(suggestion)
        except NoBoundsError:
            return check_plan(experiment, where=where).total_steps, None, True
        plan = plan_run(
            experiment,
            identity_of(experiment.dataset, read_json(identity)),
            bounds=bounds,
            where=where,
        )
        return plan.total_steps, plan.configuration_hash, False
    return check_plan(experiment, where=where).total_steps, None, False


def _committed(
    campaign: str, experiment: str, configuration_hash: str | None, total_steps: int
) -> set[int]:
    """Return the seeds in results/ of this configuration, or of this length where it is unknown."""

    def is_this(row: dict[str, str]) -> bool:
        if configuration_hash is not None:
            return row["configuration_hash"] == configuration_hash
        return int(row["updates"]) == total_steps or row["status"] == "diverged"

    rows = [row for row in read_run_rows(RESULTS / campaign) if row["experiment"] == experiment]
    return {int(row["seed"]) for row in rows if is_this(row)}
