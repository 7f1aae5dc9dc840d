"""Stage ``report``: committed results and claims -> ``paper/report.md`` and ``.html``.

``python -m anneal.commands.stages.report``
"""

from pathlib import Path

from anneal.io.terminal import command, say
from anneal.report.writing import load_content, write_report
from anneal.runs.layout import PAPER, RESULTS

README = Path("README.md")


@command()
def main(arguments: list[str]) -> None:
    """Write the report from ``results/`` and ``paper/``."""
    if arguments:
        raise ValueError(f"report takes no arguments, got {arguments}")
    content = load_content(results=RESULTS, paper=PAPER)
    changed = write_report(content, paper=PAPER, readme=README)
    say(f"{PAPER / 'report.md'}, {PAPER / 'report.html'}: {', '.join(changed) or 'nothing new'}")


if __name__ == "__main__":
    main()
