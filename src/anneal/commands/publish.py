"""Publish a campaign in Weights & Biases: upload its runs and write a report.

``anneal publish <campaign> [--dry-run] [--json]``

Uploads offline runs and the forest plot, saves the report and writes its address to
``paper/links.json``. Publishing again updates the same report. ``--dry-run`` lists the actions and
what is missing; ``--json`` prints the report. Neither needs a network or an API key.
"""

import json

from anneal.config.folders import require_repository
from anneal.io.terminal import command, say
from anneal.io.text import did_you_mean
from anneal.report.wandb import draft_report, publish, summary

_OPTIONS = ("--dry-run", "--json", "--help", "--traceback")


@command(free=True)
def main(arguments: list[str]) -> None:
    """Publish a campaign's report: anneal publish quick."""
    options = {a for a in arguments if a.startswith("-")}
    names = [a for a in arguments if not a.startswith("-")]
    for option in options - {"--dry-run", "--json"}:
        raise ValueError(f"unknown option {option!r}{did_you_mean(option, _OPTIONS)}")
    if len(names) != 1:
        raise ValueError(f"needs the name of one campaign, got {' '.join(names) or 'nothing'}")
    require_repository("anneal publish")
    draft = draft_report(names[0])
    if "--json" in options:
        say(json.dumps(draft.spec(), indent=2))
        return
    for line in summary(draft):
        say(line)
    missing = draft.missing()
    if "--dry-run" in options:
        for words in missing:
            say(f"missing: {words}")
        return
    if missing:
        raise ValueError(f"not published: {'; '.join(missing)}")
    say(publish(draft).url)
