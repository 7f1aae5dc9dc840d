"""Queue of a campaign: which runs are to be trained, in which order, by which command."""

import math
from collections.abc import Callable, Sequence

from anneal.datasets.registry import find_dataset
from anneal.runs.campaign_runs import CampaignRun
from anneal.runs.code_digest import code_digest, code_of_run, sources_of
from anneal.runs.costs import run_cost
from anneal.runs.directory import RunDirectory
from anneal.runs.forks import StageCall
from anneal.runs.hardware import decide
from anneal.runs.status import ENDED, run_status

STAGE = "anneal.commands.stages.train"


def ended_here(runs: Sequence[CampaignRun]) -> Callable[[CampaignRun], bool]:
    """Return what tells whether the training stage would not train a run on this machine."""
    codes = {}
    for run in runs:
        if run.experiment not in codes:
            settings = decide(run.config.hardware, architecture=run.config.model.architecture)
            codes[run.experiment] = code_of_run(settings.numerics)

    def is_ended(run: CampaignRun) -> bool:
        if run.committed or run.without_bounds or run.configuration_hash is None:
            return run.committed or run.without_bounds
        directory = RunDirectory(
            run.path, configuration_hash=run.configuration_hash, code=codes[run.experiment]
        )
        return directory.result() is not None

    return is_ended


def ended_somewhere(run: CampaignRun) -> bool:
    """Tell whether a run ended on any machine, under the sources that are here."""
    if run.committed or run.without_bounds or run.configuration_hash is None:
        return run.committed or run.without_bounds
    directory = RunDirectory(run.path, configuration_hash=run.configuration_hash)
    result = directory.result()
    return result is not None and sources_of(str(result["code"])) == code_digest()


def costliest_first(runs: Sequence[CampaignRun]) -> list[CampaignRun]:
    """Return runs by what is left of their cost; those of unknown cost come first."""
    return sorted(runs, key=cost_left, reverse=True)


def cost_left(run: CampaignRun) -> float:
    """Return the floating-point operations that a run still needs; infinite where unknown."""
    if find_dataset(run.config.dataset).size is None:
        return math.inf
    status = run_status(run)  # what ended, and is asked about, is trained from its start
    made = 0.0 if status.state in ENDED else status.updates / run.total_steps
    return run_cost(run.config, runs=1).flop * (1 - made)


def arguments_of(run: CampaignRun) -> list[str]:
    """Return what the training stage takes to train one run."""
    return [run.campaign, run.experiment, run.range_test, str(run.seed)]


def call_of(run: CampaignRun) -> StageCall:
    """Return the stage that trains one run, as ``anneal grid`` starts it."""
    return StageCall(module=STAGE, arguments=arguments_of(run), log=run.log)
