"""Write a page a paper: its rows with their claims, the command that runs each, and the cost."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from anneal.claims.files import load_claims, load_planned
from anneal.claims.schema import Claim, ValueClaim
from anneal.claims.words import ARXIV, PAPERS
from anneal.config.options import options
from anneal.config.tables import load_rows
from anneal.io.files import read_yaml
from anneal.report.costs import load_costs

ROOT = Path(__file__).resolve().parents[2]
PETA = 1e15


@dataclass(frozen=True, kw_only=True)
class RowCost:
    """Cost of one run of a row: updates, and operations in units of 10^15."""

    updates: int
    peta_flop: float


def committed_costs() -> dict[str, RowCost]:
    """Read the cost of one run of each row that claims name and that trains."""
    return {
        row: RowCost(updates=cost["updates"], peta_flop=cost["flop"] / PETA)
        for row, cost in load_costs(ROOT / "paper").items()
        if "trains" not in cost
    }


def campaigns_by_row() -> dict[str, list[str]]:
    """Return each row with the campaigns that list it."""
    found: dict[str, list[str]] = {}
    for name in options("campaign"):
        content = read_yaml(ROOT / "conf" / "campaign" / f"{name}.yaml")
        for row in content["campaign"]["experiments"]:
            found.setdefault(row, []).append(name)
    return found


def places(claims: Iterable[Claim]) -> dict[str, dict[str, list[Claim]]]:
    """Group claims by their table or figure, and there by the row that each names first."""
    grouped: dict[str, dict[str, list[Claim]]] = {}
    for claim in claims:
        rows = grouped.setdefault(claim.source.at, {})
        rows.setdefault(claim.experiments[0], []).append(claim)
    return grouped


def paper_page(
    title: str,
    claims: Iterable[Claim],
    *,
    planned: Mapping[str, str],
    campaigns: Mapping[str, list[str]],
    exists: Container[str],
    cost: Callable[[str], RowCost],
) -> str:
    """Return the Markdown of one paper's page.

    Args:
        title: the page's heading.
        claims: of this paper, in the order of their file.
        planned: each row that is not written yet, with what it needs.
        campaigns: each row with the campaigns that list it.
        exists: the rows that can be run.
        cost: of one run of a row.
    """
    claims = [*claims]
    rows = {row for claim in claims for row in claim.experiments}
    names = sorted({name for row in rows for name in campaigns.get(row, ())})
    lines = [f"# {title}", ""]
    lines += [
        "A row is one experiment. `anneal run` trains one seed of it; cost is of one run.",
        "",
    ]
    if names:
        lines += ["Whole tables run as campaigns, with all their seeds:", "", "```bash"]
        lines += [f"dvc exp run -S campaign={name}" for name in names]
        lines += ["```", ""]
    for place, found in places(claims).items():
        lines += [f"## {place[:1].upper()}{place[1:]}", ""]
        for row, about in found.items():
            lines += [*row_lines(row, about, planned=planned, exists=exists, cost=cost), ""]
    return "\n".join(lines)


def row_lines(
    row: str,
    claims: Iterable[Claim],
    *,
    planned: Mapping[str, str],
    exists: Container[str],
    cost: Callable[[str], RowCost],
) -> list[str]:
    """Return the lines about one row of a table: its claims, its command, its cost."""
    lines = [f"**`{row}`**", ""]
    for claim in claims:
        tolerance = f" (tolerance {claim.tolerance:g})" if isinstance(claim, ValueClaim) else ""
        other = [f"`{name}`" for name in claim.experiments if name != row]
        against = f", against {', '.join(other)}" if other else ""
        lines.append(f"- {escaped(claim.text)}{tolerance}{against}")
    if row in planned:
        return [*lines, "", f"Not written yet. It needs: {escaped(planned[row].rstrip('.'))}."]
    if row not in exists:
        return [*lines, "", "For reference: no experiment trains it."]
    spent = cost(row)
    command = f"anneal run experiment={row} seed=0"
    return [
        *lines,
        "",
        "```bash",
        command,
        "```",
        "",
        f"Cost: {spent.updates:,} updates, {spent.peta_flop:,.2f} PFLOP.",
    ]


def escaped(text: str) -> str:
    """Return text whose characters mean nothing to Markdown."""
    for character in "*_<[":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of each paper to the site."""
    claims = load_claims(ROOT / "paper" / "claims")
    planned = {
        row: entry.needs
        for entry in load_planned(ROOT / "paper" / "planned.yaml")
        for row in entry.experiments
    }
    campaigns, rows = campaigns_by_row(), load_rows(ROOT / "conf")
    costs = committed_costs()
    for paper, name in PAPERS.items():
        page = paper_page(
            f"{name} ({ARXIV[paper]})" if paper in ARXIV else name,
            [claim for claim in claims if claim.id.startswith(f"{paper}/")],
            planned=planned,
            campaigns=campaigns,
            exists=rows,
            cost=costs.__getitem__,
        )
        files.append(File.generated(config, f"reproduce/{paper}.md", content=page))
    return files
