"""Compare two campaigns, commits or result folders.

``anneal compare <A> <B> [--metric test_accuracy_pct@final] [--json]``

A side is a campaign (``quick``), a campaign at a commit (``quick@HEAD~1``), a folder such as
``results/<campaign>``, or the folder of a multirun (``multirun``). Differences are B - A.
"""

import json
import shutil
import sys
from collections.abc import Sequence

from anneal.io.terminal import command, say
from anneal.io.text import did_you_mean
from anneal.results.compare import compare
from anneal.results.compare_sources import read_side
from anneal.results.compare_words import comparison_lines, describe_comparison
from anneal.results.metrics import find_metric

_OPTIONS = ("--metric", "--json", "--help", "--traceback")
METRIC = "test_accuracy_pct@final"
WIDE = 200  # columns, if the output is not a terminal


@command(free=True)
def main(arguments: list[str]) -> None:
    """Compare two sides: anneal compare quick@HEAD~1 quick."""
    asked, metric, as_json = parse_arguments(arguments)
    find_metric(metric)  # before anything is read
    before, after = map(read_side, asked)
    found = compare(before.cells, after.cells, metric=metric)
    if as_json:
        say(json.dumps(describe_comparison(found, before, after), indent=2, allow_nan=False))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
        for line in comparison_lines(found, before, after, names=asked, width=width):
            say(line)


def parse_arguments(arguments: Sequence[str]) -> tuple[list[str], str, bool]:
    """Return the two sides, the metric and whether to print JSON.

    >>> parse_arguments(["quick@HEAD~1", "quick", "--metric=test_loss@final", "--json"])
    (['quick@HEAD~1', 'quick'], 'test_loss@final', True)

    Raises:
        ValueError: an option is unknown, or the number of sides is not two.
    """
    sides, metric, as_json = [], METRIC, False
    left = list(arguments)
    while left:
        option, _, value = (word := left.pop(0)).partition("=")
        if option == "--json" and not value:
            as_json = True
        elif option == "--metric":
            if not value and not left:
                raise ValueError("--metric needs the name of a metric")
            metric = value or left.pop(0)
        elif option.startswith("-"):
            raise ValueError(f"unknown option {word!r}{did_you_mean(option, _OPTIONS)}")
        else:
            sides.append(word)
    if len(sides) != 2:
        raise ValueError(f"needs two sides to compare, got {' '.join(sides) or 'nothing'}")
    return sides, metric, as_json
