"""The command ``anneal`` and its verbs, each imported on use.

``--help`` prints the docstring of a verb's module without importing it, which would take seconds.
"""

import ast
import difflib
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from anneal.commands.run_help import run_options
from anneal.config.folders import own_folder_first
from anneal.io.terminal import USER_ERROR, command, complain, say

VERBS = {  # verb -> (its module, one line of help)
    "run": ("anneal.commands.run", "train one run, or every combination of options (-m)"),
    "grid": ("anneal.commands.grid", "train a campaign side by side on many devices or cores"),
    "reproduce": ("anneal.commands.reproduce", "reproduce a campaign in a copy, and compare"),
    "advise": ("anneal.commands.advise", "recommend bounds and a schedule for your data"),
    "compare": ("anneal.commands.compare", "compare two campaigns, commits or result folders"),
    "explain": ("anneal.commands.explain", "explain why two runs differ, and from which update"),
    "ensemble": ("anneal.commands.ensemble", "evaluate snapshots of runs, alone and as ensembles"),
    "status": ("anneal.commands.status", "show finished, running and remaining runs of a campaign"),
    "costs": ("anneal.commands.costs", "show what the rows of a campaign cost"),
    "plot": ("anneal.commands.plot", "draw a schedule before anything is trained"),
    "rows": ("anneal.commands.rows", "show the rows of a paper's table: changes, budget, cost"),
    "prepare": ("anneal.commands.prepare", "decode and resize ImageNet once, into a store"),
    "publish": ("anneal.commands.publish", "publish a campaign as a W&B report"),
    "params": ("anneal.commands.params", "compose conf/ into params.yaml"),
    "completion": ("anneal.commands.completion", "print the completion script of a shell"),
}
HELP = {"-h", "--help"}


def main() -> None:
    """Run the verb that is the first argument, or list the verbs."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in (*HELP, "help"):
        say(usage())
        return
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there is {', '.join(VERBS)}"
        complain(f"anneal has no verb '{verb}'; {hint}")
        sys.exit(USER_ERROR)
    if not HELP.isdisjoint(arguments):
        show_help([verb, *(word for word in arguments if word not in HELP)])
        return
    try:
        import_module(VERBS[verb][0]).main(arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "anneal").split(".")[0]
        if missing == "anneal" or "--traceback" in arguments:
            raise
        complain(f"`anneal {verb}` needs {missing}: in a clone, pip install '.[pipeline]'")
        sys.exit(USER_ERROR)


def usage() -> str:
    """Return the help: one line for each verb."""
    width = max(map(len, VERBS)) + 2
    lines = [f"  {verb:<{width}}{line}" for verb, (_, line) in VERBS.items()]
    return "\n".join(
        ["usage: anneal <verb> ...", "", *lines, "", "`anneal <verb> --help` shows its options."]
    )


@command(free=True)
def show_help(arguments: list[str]) -> None:
    """Print the docstring of a verb's module; for ``run`` also its options."""
    verb, *others = arguments
    spec = find_spec(VERBS[verb][0])
    assert spec is not None
    assert spec.origin is not None
    say(ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "")
    if verb == "run":
        with own_folder_first(others):
            say(f"\n{run_options()}")
