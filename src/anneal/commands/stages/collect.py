"""Stage ``collect``: merge evaluations into the committed results.

``python -m anneal.commands.stages.collect <campaign>``
"""

from pathlib import Path

from anneal.claims.files import load_claims
from anneal.claims.store import save_verdicts
from anneal.claims.verdict import judge_all
from anneal.io.terminal import command, say
from anneal.results.campaign import merge
from anneal.results.record import read_measured
from anneal.results.store import load_results, save_results
from anneal.runs.layout import RESULTS

CLAIMS = Path("paper/claims")


@command("campaign")
def main(arguments: list[str]) -> None:
    """Merge the evaluations of a campaign into ``results/<campaign>/``."""
    if len(arguments) != 1:
        raise ValueError(f"collect takes the name of one campaign, got {arguments}")
    campaign, claims, folder = arguments[0], load_claims(CLAIMS), RESULTS / arguments[0]
    measured = read_measured(Path(), campaign)
    results = merge(load_results(folder), measured)
    evidence = results.evidence()
    judged = judge_all(claims, evidence)
    own = [found for found in judged if not evidence.keys().isdisjoint(found.claim.experiments)]
    save_results(folder, results)
    save_verdicts(folder, own)
    say(f"{folder}: {len(measured.runs)} runs collected, {len(results.runs)} in all")


if __name__ == "__main__":
    main()
