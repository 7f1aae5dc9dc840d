"""Compose ``params.yaml`` from ``conf/``; run it after every edit of ``conf/``.

``anneal params [campaign=<name>] [<key>=<value>...]``

Composes ``conf/config.yaml`` and writes ``params.yaml`` exactly as ``dvc exp run`` would. An
invalid configuration is an error and leaves the file unchanged.
"""

from anneal.config.compose import PARAMS, write_params
from anneal.config.folders import require_repository
from anneal.io.terminal import command, say


@command(free=True)
def main(arguments: list[str]) -> None:
    """Check ``conf/config.yaml`` with its overrides and write ``params.yaml``."""
    require_repository("anneal params")
    campaign = write_params(arguments)
    say(
        f"{PARAMS}: campaign {campaign.campaign.name}, {len(campaign.campaign.experiments)} "
        f"experiments, seeds {', '.join(map(str, campaign.seeds))}"
    )
