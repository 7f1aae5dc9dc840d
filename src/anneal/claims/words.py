"""Wording of claims and verdicts, alone and in tables."""

from collections.abc import Sequence

from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.claims.verdict import Judgement
from anneal.io.text import NOTHING, escape_markdown, markdown_table
from anneal.results.metrics import find_metric
from anneal.results.words import fraction_words, interval_words


def paper_words(claim: Claim) -> str:
    """Return the paper's number of a claim with its unit."""
    metric = find_metric(claim.metric)
    unit = f" {metric.unit}" if metric.unit else ""
    if isinstance(claim, ValueClaim):
        return f"{claim.value:g}{unit} ± {claim.tolerance:g}"
    if isinstance(claim, OrderClaim):
        bound = (
            f"better by more than {claim.margin:g}"
            if claim.margin >= 0
            else f"not worse by more than {-claim.margin:g}"
        )
        if claim.values is None:
            return f"{bound}{unit} (no number printed)"
        first, second = claim.values
        return f"{first:g} against {second:g}{unit}, {bound}"
    target = f"{claim.target:g}{unit}"
    if claim.target_tolerance:
        give = claim.target_tolerance if not metric.higher_is_better else -claim.target_tolerance
        target += f" (judged at {claim.target + give:g}{unit})"
    return f"{claim.ratio:.3g} ± {claim.tolerance:g} of the updates to {target}"


def ours_words(judgement: Judgement) -> str:
    """Return our number of a claim, in the same terms as the paper's."""
    claim, ours = judgement.claim, judgement.ours
    metric = find_metric(claim.metric)
    if isinstance(claim, SpeedClaim):
        return interval_words(ours, decimals=2, unit="of the updates")
    if isinstance(claim, OrderClaim):
        unit = "points" if metric.unit == "%" else metric.unit
        words = interval_words(ours, decimals=metric.decimals, unit=unit)
        return words if ours is None else f"difference {words}"
    return interval_words(ours, decimals=metric.decimals, unit=metric.unit)


def verdict_words(judgement: Judgement) -> str:
    """Return the verdict, or the label where there can be none."""
    return judgement.verdict or judgement.label or NOTHING


def verdicts_table(judgements: Sequence[Judgement]) -> str:
    """Return the table that holds the paper's numbers against ours, one claim a row."""
    header = ["claim", "the paper", "ours", "n", "verdict"]
    rows = []
    for found in judgements:
        source = found.claim.source
        where = f"{source.paper}, {source.at} ({source.confidence})"
        budget = found.budget_fraction if found.label else None
        to_budget = "" if budget is None else f" to {fraction_words(budget)}"
        beside = found.like_paper.words if found.like_paper else ""
        rows.append(
            [
                f"{escape_markdown(found.claim.text)}<br>{escape_markdown(where)}",
                escape_markdown(f"{paper_words(found.claim)} ({found.claim.statistic})"),
                escape_markdown(ours_words(found))
                + f"<br>{escape_markdown(beside)}" * bool(beside),
                _count_words(found.n, found.num_diverged),
                f"**{verdict_words(found)}**{to_budget}: {escape_markdown(found.reason)}",
            ]
        )
    return markdown_table(header, rows, sides=["left", "left", "left", "right", "left"])


def verdicts_overview(judgements: Sequence[Judgement]) -> str:
    """Return the shorter table for a README: claim, both numbers, n, verdict."""
    header = ["claim", "the paper", "ours", "n", "verdict"]
    rows = [
        [
            escape_markdown(found.claim.text),
            escape_markdown(paper_words(found.claim)),
            escape_markdown(ours_words(found)),
            _count_words(found.n, found.num_diverged),
            _verdict_with_budget(found),
        ]
        for found in judgements
    ]
    return markdown_table(header, rows, sides=["left", "left", "left", "right", "left"])


def _verdict_with_budget(judgement: Judgement) -> str:
    if judgement.label and judgement.budget_fraction:
        return f"{judgement.label}, {fraction_words(judgement.budget_fraction)}: no verdict"
    return verdict_words(judgement)


def _count_words(n: int, num_diverged: int) -> str:
    return f"{n} (+{num_diverged} diverged)" if num_diverged else str(n)
