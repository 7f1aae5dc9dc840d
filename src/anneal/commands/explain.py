"""Explain why two runs differ: settings, code, machine, and the update at which they part.

``anneal explain <RUN_A> <RUN_B> [--json]``

A run is a run directory (``runs/quick/digits/fixed/seed-0``, ``multirun/<hash>/seed-0``) or a
committed run of ``results/`` (``clr_cifar10/clr/cifar10_triangular2/seed-0``). Compared are
configuration, schedule, code, data, machine, versions and settings, then the histories. A committed
run has a thinned history and no schedule, code or data.
"""

import json

from anneal.io.terminal import command, say
from anneal.io.text import did_you_mean
from anneal.results.explain import describe_explanation, explain, explanation_lines, read_run_of


@command(free=True)
def main(arguments: list[str]) -> None:
    """Explain two runs: anneal explain multirun/<hash>/seed-0 runs/quick/digits/fixed/seed-0."""
    runs = [word for word in arguments if not word.startswith("-")]
    for option in arguments:
        if option.startswith("-") and option != "--json":
            known = ("--json", "--help", "--traceback")
            raise ValueError(f"unknown option {option!r}{did_you_mean(option, known)}")
    if len(runs) != 2:
        raise ValueError(f"needs two runs, got {' '.join(runs) or 'nothing'}")
    before, after = map(read_run_of, runs)
    found = explain(before, after)
    if "--json" in arguments:
        say(json.dumps(describe_explanation(found), indent=2, allow_nan=False, default=str))
    else:
        for line in explanation_lines(found):
            say(line)
