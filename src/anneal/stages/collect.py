"""Stage ``collect``: what was evaluated, merged into the committed results (edge).

``python -m anneal.stages.collect <campaign>``
"""

from pathlib import Path

from anneal.command_line import command, say
from anneal.judging import judge_all
from anneal.layout import RESULTS
from anneal.measured import read_measured
from anneal.report.sources import load_claims
from anneal.results import merge
from anneal.results_files import load_results, save_results

CLAIMS = Path("paper/claims")


@command("campaign")
def main(arguments: list[str]) -> None:
    """Merge a campaign's evaluations into ``results/<campaign>/``: python -m ... <campaign>."""
    if len(arguments) != 1:
        raise ValueError(f"collect takes the name of one campaign, got {arguments}")
    campaign, claims, folder = arguments[0], load_claims(CLAIMS), RESULTS / arguments[0]
    measured = read_measured(Path(), campaign)
    results = merge(load_results(folder), measured)
    evidence = results.evidence()
    judged = judge_all(claims, evidence)
    own = [found for found in judged if not evidence.keys().isdisjoint(found.claim.experiments)]
    save_results(folder, results, own)
    say(f"{folder}: {len(measured.runs)} runs collected, {len(results.runs)} in all")


if __name__ == "__main__":
    main()
