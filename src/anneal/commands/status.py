"""Progress of a campaign: finished, running and remaining runs, with the time left.

``anneal status [campaign]``; without a name, the campaign of params.yaml. Needs no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anneal.config.compose import compose_campaign, compose_experiment, load_campaign
from anneal.config.folders import require_repository
from anneal.config.options import place_of
from anneal.config.schema import CampaignConfig, ExperimentConfig
from anneal.io.files import read_json, read_yaml
from anneal.io.terminal import command, say
from anneal.io.text import duration_words
from anneal.runs.committed import read_run_rows
from anneal.runs.directory import ENVIRONMENT, PLAN, RESULT, TIMING, is_held, read_lines
from anneal.runs.inputs import NoBoundsError, load_bounds
from anneal.runs.layout import RANGE_TESTS, RESULTS, RUNS, SUGGESTION, identity_file, seed_folder
from anneal.runs.plan import check_plan, plan_run

ENDED = ("done", "diverged", "committed")


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One seed of one experiment.

    Args:
        state: done, diverged, committed (in results/), running, stopped, or left.
        updates: made so far.
        total_steps: to be made.
        seconds_per_update: as measured here; None before the first measurement.
    """

    experiment: str
    seed: int
    state: str
    updates: int
    total_steps: int
    seconds_per_update: float | None


def campaign_status(config: CampaignConfig) -> list[RunStatus]:
    """Return the status of each run of a campaign, in its order."""
    name = config.campaign.name
    found = []
    for experiment in config.campaign.experiments:
        composed = compose_experiment(experiment, config)
        total_steps, configuration_hash = _expected(composed, config, experiment)
        committed: set[int] = set()
        if not config.campaign.rerun_committed:
            committed = _committed(name, experiment, configuration_hash, total_steps)
        found += [
            _run_status(
                seed_folder(RUNS / name / experiment, seed),
                experiment=experiment,
                seed=seed,
                total_steps=total_steps,
                configuration_hash=configuration_hash,
                is_committed=seed in committed,
            )
            for seed in config.seeds_of(experiment)
        ]
    return found


def _expected(
    experiment: ExperimentConfig, config: CampaignConfig, name: str
) -> tuple[int, str | None]:
    """Return a run's updates and its configuration hash; None before images and bounds are known.

    Without them lengths in epochs are judged as ``check_plan`` does.
    """
    where = place_of(name)
    identity = identity_file(experiment.dataset.name)
    range_test = config.campaign.experiments[name].range_test
    suggestion = RANGE_TESTS / config.campaign.name / range_test / SUGGESTION
    if identity.is_file() and suggestion.is_file():
        try:
            bounds = load_bounds(suggestion)
        except NoBoundsError:
            return check_plan(experiment, where=where).total_steps, None
        plan = plan_run(experiment, read_json(identity), bounds=bounds, where=where)
        return plan.total_steps, plan.configuration_hash
    return check_plan(experiment, where=where).total_steps, None


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


def _run_status(
    path: Path,
    *,
    experiment: str,
    seed: int,
    total_steps: int,
    configuration_hash: str | None,
    is_committed: bool,
) -> RunStatus:
    state, updates, pace = "committed" if is_committed else "left", 0, None
    plan = read_yaml(path / PLAN) if (path / PLAN).is_file() else None
    if plan is not None and (
        plan["configuration_hash"] == configuration_hash
        if configuration_hash is not None
        else plan["total_steps"] == total_steps
    ):
        lines = read_lines(path / TIMING)
        updates = int(lines[-1]["update"]) if lines else 0
        pace = _pace(path, lines)
        state = "running" if is_held(path) else "stopped"
        if (path / RESULT).is_file():
            ended = read_json(path / RESULT)
            state = "done" if ended["status"] == "finished" else str(ended["status"])
    return RunStatus(
        experiment=experiment,
        seed=seed,
        state=state,
        updates=updates,
        total_steps=total_steps,
        seconds_per_update=pace,
    )


def _pace(path: Path, lines: list[dict[str, float]]) -> float | None:
    """Return the seconds per update of the last start, from its own first update on."""
    if not lines or not (path / ENVIRONMENT).is_file():
        return None
    made = lines[-1]["update"] - read_json(path / ENVIRONMENT)[-1]["from_update"]
    return lines[-1]["seconds"] / made if made > 0 else None


def seconds_left(runs: Sequence[RunStatus]) -> float | None:
    """Estimate the seconds that all unended runs still need, one after another.

    An experiment that has not run yet goes at the pace of the others' median. None when nothing
    was measured.
    """
    paces = sorted(r.seconds_per_update for r in runs if r.seconds_per_update is not None)
    if not paces:
        return None
    own = {r.experiment: r.seconds_per_update for r in runs if r.seconds_per_update is not None}
    return sum(
        (r.total_steps - r.updates) * own.get(r.experiment, paces[len(paces) // 2])
        for r in runs
        if r.state not in ENDED
    )


@command(free=True)
def main(arguments: list[str]) -> None:
    """Say of a campaign what is done, running and left, and how long the rest will take."""
    if len(arguments) > 1:
        raise ValueError(f"needs at most the name of one campaign, got {' '.join(arguments)}")
    require_repository("anneal status")
    config = compose_campaign(arguments[0]) if arguments else load_campaign()
    runs = campaign_status(config)
    width = max(len(r.experiment) for r in runs)
    say(f"campaign {config.campaign.name}: {config.campaign.title}")
    for experiment in config.campaign.experiments:
        mine = [r for r in runs if r.experiment == experiment]
        parts = []
        for r in mine:
            part = f"seed {r.seed} {r.state}"
            if r.state in ("running", "stopped"):
                part += f" at {r.updates} of {r.total_steps}"
            parts.append(part)
        say(f"  {experiment:<{width}}  {', '.join(parts)}")
    left = [r for r in runs if r.state not in ENDED]
    line = f"{len(runs) - len(left)} of {len(runs)} runs ended"
    if left:
        seconds = seconds_left(runs)
        line += f", about {duration_words(seconds)} left" if seconds else ", no pace measured yet"
    say(line)
