"""Evaluation of what was trained side by side, and its record in DVC."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from anneal.config.schema import CampaignConfig
from anneal.io.terminal import say
from anneal.runs.campaign_runs import CampaignRun
from anneal.runs.code_digest import source_times
from anneal.runs.forks import StageCall
from anneal.runs.layout import GRID, RUNS
from anneal.runs.pool import run_side_by_side
from anneal.runs.reproduce import run_dvc
from anneal.runs.status import RunStatus
from anneal.runs.subjects import split_name
from anneal.runs.workers import Worker

EVALUATE = "anneal.commands.stages.evaluate"


def trained_whole(todo: Sequence[CampaignRun], failed: Sequence[RunStatus]) -> list[str]:
    """Return the experiments that were trained just now, and of which no run failed."""
    without = {split_name(status.experiment)[0] for status in failed}
    trained = dict.fromkeys(split_name(run.experiment)[0] for run in todo)
    return [name for name in trained if name not in without]


def evaluate_side_by_side(
    config: CampaignConfig,
    names: Sequence[str],
    workers: Sequence[Worker],
    *,
    sources: Mapping[Path, int],
) -> None:
    """Evaluate experiments, and have DVC take the outputs as those of its stages.

    ``dvc repro`` would start both stages of each experiment, one after another. It does where
    sources have changed: ``dvc commit`` would record these with outputs that others made.

    Args:
        config: of the campaign.
        names: of the experiments, every run of which has ended.
        workers: that evaluate.
        sources: ``source_times`` when they were imported.
    """
    if not names:
        return
    campaign = config.campaign
    calls = [
        StageCall(
            module=EVALUATE,
            arguments=[campaign.name, name, campaign.experiments[name].range_test],
            log=RUNS / campaign.name / GRID / f"{name}.evaluate.log",
        )
        for name in names
    ]
    say(f"evaluating {len(names)} experiment{'s' * (len(names) > 1)}")
    run_side_by_side(calls, workers)
    if source_times() != sources:
        say("sources have changed since the start: DVC runs the stages again")
        return
    stages = [f"{stage}@{name}" for name in names for stage in ("train", "evaluate")]
    run_dvc(["commit", "--quiet", "--force", *stages])
