"""The command ``anneal``: one verb each, imported when it is asked for."""

import difflib
import sys
from importlib import import_module

from anneal.io.terminal import USER_ERROR, complain, say

VERBS = {  # verb -> (its module, one line of help)
    "run": ("anneal.commands.run", "train one run, or every combination of options (-m)"),
    "advise": ("anneal.commands.advise", "recommend bounds and a schedule for your data"),
    "compare": ("anneal.commands.compare", "compare two campaigns, commits or result folders"),
    "ensemble": ("anneal.commands.ensemble", "measure the snapshots of runs, alone and together"),
    "status": ("anneal.commands.status", "show what of a campaign is done, running and left"),
    "costs": ("anneal.commands.costs", "show what the rows of a campaign cost"),
    "plot": ("anneal.commands.plot", "draw a schedule before anything is trained"),
    "publish": ("anneal.report.wandb", "publish a campaign as a W&B report"),
    "rows": (
        "anneal.commands.rows",
        "show the rows of a paper's table, what each changes and costs",
    ),
    "params": ("anneal.config.compose", "compose conf/ into params.yaml"),
}


def main() -> None:
    """Hand the arguments to the verb that comes first, or list the verbs."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help", "help"):
        say(usage())
        return
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there is {', '.join(VERBS)}"
        complain(f"anneal has no verb '{verb}'; {hint}")
        sys.exit(USER_ERROR)
    import_module(VERBS[verb][0]).main(arguments)


def usage() -> str:
    """Return the help: every verb in a line."""
    lines = [f"  {verb:<10}{line}" for verb, (_, line) in VERBS.items()]
    return "\n".join(
        ["usage: anneal <verb> ...", "", *lines, "", "`anneal <verb> --help` says more of each."]
    )
