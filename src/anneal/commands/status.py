"""Progress of a campaign: finished, running, failed and remaining runs, with the time left.

``anneal status [campaign]``; without a name, the campaign of params.yaml. Needs no torch. What
``anneal grid`` is running is shown with its rate, and what failed with its last line.
"""

from anneal.config.compose import compose_campaign, load_campaign
from anneal.config.folders import require_repository
from anneal.io.terminal import command, say
from anneal.runs.campaign_runs import campaign_runs
from anneal.runs.status import run_status, summary_lines


@command(free=True)
def main(arguments: list[str]) -> None:
    """Say of a campaign what is done, running and left, and how long the rest will take."""
    if len(arguments) > 1:
        raise ValueError(f"needs at most the name of one campaign, got {' '.join(arguments)}")
    require_repository("anneal status")
    config = compose_campaign(arguments[0]) if arguments else load_campaign()
    runs = [run_status(run) for run in campaign_runs(config)]
    width = max(len(r.experiment) for r in runs)
    say(f"campaign {config.campaign.name}: {config.campaign.title}")
    for experiment in dict.fromkeys(r.experiment for r in runs):
        parts = [f"seed {r.seed} {r.words}" for r in runs if r.experiment == experiment]
        say(f"  {experiment:<{width}}  {', '.join(parts)}")
    for line in summary_lines(runs):
        say(line)
