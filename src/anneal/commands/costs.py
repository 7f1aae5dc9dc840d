"""Cost of the rows of a campaign, before anything runs.

``anneal costs [campaign] [TFLOP/s]``; without a name, the campaign of params.yaml. Says
for each row its updates, the images that it trains on and tests, and its floating-point operations:
those of convolutions and matrix products, a multiplication and an addition being two, counted on
the network itself; of sets in a store also the bytes. With the speed that your machine keeps up (a
tenth to a half of what its maker says), also the hours. ``anneal costs [campaign] --measure``
trains for a minute: the hours are those of this machine, and it says what binds, arithmetic or
input.
``anneal costs --claims`` writes the same of every row that claims name into
paper/costs.json, which the report reads. Needs neither data nor a GPU; the sizes are those of the
published sets.
"""

import math
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from anneal.claims.files import load_claims
from anneal.config.compose import compose_campaign, compose_run, load_campaign
from anneal.config.folders import conf_folder, require_repository
from anneal.config.options import all_rows
from anneal.config.paths import Paths
from anneal.datasets.registry import find_dataset
from anneal.io.files import json_text, read_yaml, write_if_changed
from anneal.io.terminal import command, say
from anneal.io.text import Alignment, text_table
from anneal.runs.costs import TERA, Cost, campaign_costs, flop_per_image, run_cost
from anneal.runs.layout import PAPER
from anneal.runs.subjects import subjects_of

MEASURE = "--measure"
MEASURED_SECONDS = 60.0
GIGA = 1e9


def table(
    costs: list[Cost], *, tera_flop_per_s: float | None, hours: Mapping[str, float] | None = None
) -> list[str]:
    """Return the costs as lines, one for each row and one for all.

    Args:
        costs: of one run of each row.
        tera_flop_per_s: to count hours with; None: none are shown.
        hours: of one run of each row, where they were measured.
    """
    if tera_flop_per_s:
        hours = {c.name: c.flop / TERA / tera_flop_per_s / 3600 for c in costs}
    stored = any(c.bytes_stored for c in costs)
    titles = ["row", "runs", "updates", "images", "tested", "TFLOP"]
    titles += ["GB read"] * stored + ["hours"] * bool(hours)
    rows = [_cells(c.name, c.runs, [c], [1], hours, stored=stored) for c in costs]
    counts = [c.runs for c in costs]
    rows.append(_cells("all runs", sum(counts), costs, counts, hours, stored=stored))
    sides: list[Alignment] = ["right"] * len(titles)
    sides[0] = "left"
    lines = text_table(titles, rows, sides=sides)
    if stored:
        largest = max(c.bytes_stored for c in costs)
        lines.append(f"bytes are those of a raw store, which has {largest / GIGA:,.1f} GB")
    return lines


def _cells(
    name: str,
    runs: int,
    costs: list[Cost],
    counts: list[int],
    hours: Mapping[str, float] | None,
    *,
    stored: bool,
) -> list[str]:
    """Return the cells of one line: sums over rows, each as often as it runs."""

    def total(of: Callable[[Cost], float]) -> float:
        return sum(count * of(cost) for cost, count in zip(costs, counts, strict=True))

    cells = [name, str(runs)]
    cells += [f"{total(attrgetter(key)):,}" for key in ("updates", "images", "tested")]
    cells.append(f"{total(lambda c: c.flop) / TERA:,.1f}")
    if stored:
        cells.append(f"{total(lambda c: c.bytes_read) / GIGA:,.1f}")
    if hours:
        cells.append(f"{total(lambda c: hours[c.name]):.2f}")
    return cells


def measured(costs: list[Cost], *, seconds: float) -> tuple[dict[str, float], list[str]]:
    """Measure this machine; return the hours of one run of each row, and what was measured.

    Batches are made while the network trains, so the slower of the two decides.
    """
    from anneal.runs.rates import measure_rates, network_and_data

    kinds = {network_and_data(c.experiment): c for c in reversed(costs)}
    rates, lines = {}, []
    for kind, cost in reversed(kinds.items()):
        size = find_dataset(cost.experiment.dataset).size
        assert size is not None  # its cost is known
        found = measure_rates(
            cost.experiment, size, seconds=seconds / len(kinds), paths=Paths.from_environment()
        )
        rates[kind] = found
        origin = ", random images" if found.made_up else ""
        lines.append(
            f"{cost.name}: {found.arithmetic:,.0f} images/s of arithmetic, {found.input:,.0f} of "
            f"input{origin}; {found.binding} binds"
        )
    hours = {}
    for cost in costs:
        found = rates[network_and_data(cost.experiment)]
        size = find_dataset(cost.experiment.dataset).size
        assert size is not None
        train, _ = flop_per_image(cost.experiment, size)
        arithmetic = cost.flop / (train * found.arithmetic)
        hours[cost.name] = max(arithmetic, (cost.images + cost.tested) / found.input) / 3600
    return hours, lines


def claim_cost(cost: Cost) -> dict[str, int | bool]:
    """Return a row's entry of ``paper/costs.json``."""
    found: dict[str, int | bool] = {"updates": cost.updates, "flop": round(cost.flop)}
    if subjects := subjects_of(cost.experiment):  # each of them is a run
        found["subjects"] = len(subjects)
    if find_dataset(cost.experiment.dataset).in_store:  # images that only their owner gives
        found["needs_data"] = True
    return found


def derived_rows() -> dict[str, list[str]]:
    """Return, by row that trains nothing of its own, the rows whose runs it is made of."""
    found: dict[str, list[str]] = {}
    for path in (conf_folder() / "campaign").glob("*.yaml"):
        campaign = read_yaml(path)["campaign"]
        found |= {name: [] for name in campaign.get("references", {})}
        found |= {
            name: [parts["first"], parts["second"]]
            for name, parts in campaign.get("ensembles", {}).items()
        }
    return found


def write_claim_costs() -> None:
    """Write updates and operations of one run of each experiment that claims name."""
    require_repository("the claims")
    names = {name for claim in load_claims(PAPER / "claims") for name in claim.experiments}
    found: dict[str, Mapping[str, Any]] = {
        name: {"trains": rows} for name, rows in derived_rows().items() if name in names
    }
    names |= {name for of_one in found.values() for name in of_one["trains"]}
    for name in names & all_rows().keys():
        found[name] = claim_cost(run_cost(compose_run([f"experiment={name}"]), runs=1))
    path = PAPER / "costs.json"
    write_if_changed(path, json_text(dict(sorted(found.items()))))
    say(f"{path}: {len(found)} of {len(names)} experiments that claims name")


@command(free=True)
def main(arguments: list[str]) -> None:
    """Say what each row of a campaign costs."""
    if len(arguments) > 2:
        raise ValueError(f"needs at most a campaign and TFLOP/s, got {' '.join(arguments)}")
    if arguments == ["--claims"]:
        write_claim_costs()
        return
    measure = arguments[-1:] == [MEASURE]
    arguments = arguments[:-1] if measure else arguments
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
    costs, hours = campaign_costs(config), None
    found: list[str] = []
    if measure:
        hours, found = measured(costs, seconds=MEASURED_SECONDS)
    for line in [*table(costs, tera_flop_per_s=speed, hours=hours), *found]:
        say(f"  {line}")
