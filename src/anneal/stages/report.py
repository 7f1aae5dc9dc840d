"""Stage ``report``: committed results and claims -> ``paper/report.md`` and its figures (edge).

``python -m anneal.stages.report``
"""

import dataclasses
from pathlib import Path

from anneal.command_line import command, say
from anneal.layout import RESULTS
from anneal.report.content import make_content
from anneal.report.markdown import write_report
from anneal.report.paper_figures import load_paper_figures, redraw
from anneal.report.sources import load_claims, load_deviations
from anneal.results_files import load_all_results

PAPER = Path("paper")
README = Path("README.md")


@command()
def main(arguments: list[str]) -> None:
    """Write the report from ``results/`` and ``paper/`` alone: python -m anneal.stages.report."""
    if arguments:
        raise ValueError(f"report takes no arguments, got {arguments}")
    content = make_content(
        load_all_results(RESULTS),
        load_claims(PAPER / "claims"),
        load_deviations(PAPER / "deviations.yaml"),
    )
    figures = redraw(load_paper_figures(PAPER), content, paper=PAPER)
    content = dataclasses.replace(content, figures=figures)
    changed = write_report(content, paper=PAPER, readme=README)
    say(f"{PAPER / 'report.md'}: {', '.join(changed) or 'nothing new'}")


if __name__ == "__main__":
    main()
