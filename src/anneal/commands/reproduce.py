"""Reproduce the campaign of params.yaml in a copy of this folder, and compare.

  anneal reproduce

Copies what Git tracks here, as it is now, to ``local/reproduce`` (ignored by Git), runs
``anneal grid`` there and prints a table: each experiment as committed and as measured on this
machine. Results, figures and the report of this machine stay in the copy; no committed file
changes. The same command again continues the copy, and trains again what has changed since. W&B
is off unless ``WANDB_MODE`` says otherwise.
"""

import os
import sys
import time

from anneal.commands.compare import METRIC
from anneal.config.compose import load_campaign
from anneal.config.folders import require_repository
from anneal.config.paths import Paths
from anneal.io.git import copy_tree
from anneal.io.terminal import command, say
from anneal.io.text import duration_words
from anneal.results.compare import compare
from anneal.results.compare_sources import read_side
from anneal.results.compare_words import answer_lines
from anneal.runs.layout import PAPER, REPRODUCTION, RESULTS
from anneal.runs.reproduce import run_stoppable

DEFAULTS = {  # of the environment, where it says nothing
    "WANDB_MODE": "disabled",
    "OMP_WAIT_POLICY": "passive",  # threads that spin keep a busy machine from everything else
}


@command()
def main(_arguments: list[str]) -> None:
    """Run a campaign in a copy, and compare its results with the committed ones."""
    began = time.monotonic()
    require_repository("anneal reproduce")
    config = load_campaign()
    name = config.campaign.name
    committed, here = RESULTS / name, REPRODUCTION / RESULTS / name
    before = read_side(str(committed))  # refused before anything is run
    copy_tree(REPRODUCTION, without=committed)
    environment = DEFAULTS | os.environ | {"PYTHONPATH": "src"}
    if (archives := Paths.from_environment().archives) is not None:
        environment["ANNEAL_ARCHIVES"] = str(archives.resolve())
    status = run_stoppable(
        [sys.executable, "-m", "anneal", "grid"],
        environment=environment,
        folder=REPRODUCTION,
    )
    if status:
        sys.exit(status)  # it said why
    found = compare(before.cells, read_side(str(here)).cells, metric=METRIC)
    for line in answer_lines(found):
        say(line)
    say(f"Set-up apart, that took {duration_words(time.monotonic() - began)}. Next:")
    say(f"  {REPRODUCTION / PAPER / 'report.html'}: the report with this machine's results")
    say(f"  anneal compare {committed} {here}: what changed")
