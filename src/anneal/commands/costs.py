"""Cost of the rows of a campaign, before anything runs.

``anneal costs [campaign] [TFLOP/s]``; without a name, the campaign of params.yaml. Says
for each row its updates, the images that it trains on and tests, and its floating-point operations:
those of convolutions and matrix products, a multiplication and an addition being two, counted on
the network itself. With the speed that your machine keeps up (a tenth to a half of what its maker
says), also the hours. ``anneal costs --claims`` writes the same of every row that claims name into
paper/costs.json, which the report reads. Needs neither data nor a GPU; the sizes are those of the
published sets.
"""

import math

from anneal.claims.files import load_claims
from anneal.config.compose import compose_campaign, compose_run, load_campaign
from anneal.config.folders import require_repository
from anneal.config.options import all_rows
from anneal.io.files import json_text, write_if_changed
from anneal.io.terminal import command, say
from anneal.io.text import Alignment, text_table
from anneal.runs.costs import TERA, Cost, campaign_costs, run_cost
from anneal.runs.layout import PAPER


def table(costs: list[Cost], *, tera_flop_per_s: float | None) -> list[str]:
    """Return the costs as lines, one for each row and one for all, the hours where asked for."""
    titles = ["row", "runs", "updates", "images", "tested", "TFLOP", "hours"]
    rows = []
    for c in costs:
        tera = c.flop / TERA
        cells = [c.name, str(c.runs), f"{c.updates:,}", f"{c.images:,}", f"{c.tested:,}"]
        hours = f"{tera / tera_flop_per_s / 3600:.2f}" if tera_flop_per_s else ""
        rows.append([*cells, f"{tera:,.1f}", hours])
    runs = sum(c.runs for c in costs)
    total = sum(c.runs * c.flop for c in costs) / TERA
    hours = f"{total / tera_flop_per_s / 3600:.2f}" if tera_flop_per_s else ""
    images, tested = (sum(c.runs * getattr(c, k) for c in costs) for k in ("images", "tested"))
    updates = sum(c.runs * c.updates for c in costs)
    rows.append(
        [
            "all runs",
            str(runs),
            f"{updates:,}",
            f"{images:,}",
            f"{tested:,}",
            f"{total:,.1f}",
            hours,
        ]
    )
    shown = len(titles) if tera_flop_per_s else len(titles) - 1
    sides: list[Alignment] = ["right"] * shown
    sides[0] = "left"
    return text_table(titles[:shown], [row[:shown] for row in rows], sides=sides)


def write_claim_costs() -> None:
    """Write updates and operations of one run of each experiment that claims name."""
    require_repository("the claims")
    names = {name for claim in load_claims(PAPER / "claims") for name in claim.experiments}
    found = {}
    for name in sorted(names & all_rows().keys()):
        cost = run_cost(compose_run([f"experiment={name}"]), runs=1)
        found[name] = {"updates": cost.updates, "flop": round(cost.flop)}
    path = PAPER / "costs.json"
    write_if_changed(path, json_text(found))
    say(f"{path}: {len(found)} of {len(names)} experiments that claims name")


@command(free=True)
def main(arguments: list[str]) -> None:
    """Say what each row of a campaign costs."""
    if len(arguments) > 2:
        raise ValueError(f"needs at most a campaign and TFLOP/s, got {' '.join(arguments)}")
    if arguments == ["--claims"]:
        write_claim_costs()
        return
    speed = None
    if len(arguments) == 2:
        try:
            speed = float(arguments[1])
        except ValueError:
            speed = math.nan
        if not 0 < speed < math.inf:
            raise ValueError(f"TFLOP/s must be a positive number, got {arguments[1]}")
    if not arguments:
        require_repository("the campaign of params.yaml")
    config = compose_campaign(arguments[0]) if arguments else load_campaign()
    say(f"campaign {config.campaign.name}: {config.campaign.title}; of one run of each row:")
    for line in table(campaign_costs(config), tera_flop_per_s=speed):
        say(f"  {line}")
