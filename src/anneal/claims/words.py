"""Wording of claims and verdicts, alone and in tables."""

from collections.abc import Callable, Sequence

from anneal.claims.reasons import measured_words
from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.claims.verdict import RULE_SINCE, Judgement, Verdict
from anneal.io.text import escape_markdown, markdown_table
from anneal.results.metrics import find_metric
from anneal.results.statistics import Interval
from anneal.results.words import fraction_words, interval_words

SIGNS: dict[Verdict, str] = {  # in the order in which a reader meets them
    "reproduced": "✓",
    "lower": "✗",
    "higher": "✗",
    "not the paper's order": "✗",
    "not reproduced": "✗",
    "agrees so far": "(✓)",
    "differs so far": "(✗)",
    "too close to call": "≈",
    "one run": "",
    "shorter run": "",
    "not run": "",
}
PAPERS = {  # how the id of a claim begins -> the paper as people call it
    "clr": "CLR",
    "sgdr": "SGDR",
    "snapshot": "Snapshot Ensembles",
    "super_convergence": "Super-convergence",
    "one_cycle": "1cycle",
    "baselines": "Baselines that the papers quote",
}
ARXIV = {  # how the id of a claim begins -> the paper's number
    "clr": "1506.01186",
    "sgdr": "1608.03983",
    "snapshot": "1704.00109",
    "super_convergence": "1708.07120",
    "one_cycle": "1803.09820",
}
SETTLED = ("reproduced", "lower", "higher", "not the paper's order", "not reproduced")
UNJUDGED = ("one run", "shorter run", "not run")
ON_READING = "⑂ depends on the reading"


def paper_name(paper: str) -> str:
    """Return the common name of a paper.

    >>> paper_name("one_cycle"), paper_name("some_other")
    ('1cycle', 'some other')
    """
    return PAPERS.get(paper, paper.replace("_", " "))


def finding_words(judgement: Judgement) -> str:
    """Return what was measured beside the paper's number, or why it is nothing."""
    if judgement.ours is None or judgement.failure:
        return judgement.reason
    return measured_words(judgement.claim, judgement.ours.mean, judgement.n, has_unit=True)


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


def difference_words(judgement: Judgement) -> str:
    """Return our mean minus the paper's number, signed; empty without either."""
    claim, ours = judgement.claim, judgement.ours
    if ours is None or judgement.failure:
        return ""
    decimals = 2 if isinstance(claim, SpeedClaim) else find_metric(claim.metric).decimals
    paper = claim.paper_number
    return "" if paper is None else f"{ours.mean - paper:+.{decimals}f}"


def ours_words(judgement: Judgement) -> str:
    """Return our number of a claim, in the same terms as the paper's."""
    return judgement.failure or _interval_words(judgement.claim, judgement.ours)


def _interval_words(claim: Claim, ours: Interval | None) -> str:
    metric = find_metric(claim.metric)
    if isinstance(claim, SpeedClaim):
        return interval_words(ours, decimals=2, unit="of the updates")
    if isinstance(claim, OrderClaim):
        unit = "points" if metric.unit == "%" else metric.unit
        words = interval_words(ours, decimals=metric.decimals, unit=unit)
        return words if ours is None else f"difference {words}"
    return interval_words(ours, decimals=metric.decimals, unit=metric.unit)


def marked_verdict(judgement: Judgement) -> str:
    """Return the verdict with its sign, and whether another reading of the paper agrees."""
    words = f"{SIGNS[judgement.verdict]} {judgement.verdict}".strip()
    return words + f", {ON_READING}" * judgement.depends_on_reading


def readings_words(judgement: Judgement) -> str:
    """Return the verdicts under the claim's other readings, in a sentence; empty without any."""
    return "; ".join(
        f"read as {reading.experiment}: {_interval_words(judgement.claim, reading.ours)}, "
        f"{reading.verdict}"
        for reading in judgement.readings
    )


def total_words(judgements: Sequence[Judgement]) -> str:
    """Return how many verdicts there are, and for how many the rule came after the runs."""
    settled = [found for found in judgements if found.verdict in SETTLED]
    words = f"{len(settled)} verdict{'s' * (len(settled) != 1)} at 5 % a side"
    older = sum(found.is_post_hoc for found in settled)
    if not older:
        return f"{words}."
    return (
        f"{words}. The rule is of {RULE_SINCE:%Y-%m-%d} and was chosen with earlier runs in view: "
        f"for {older} of these verdicts it is post hoc."
    )


def verdicts_table(
    judgements: Sequence[Judgement], *, needed: Callable[[Judgement], str] = lambda _: ""
) -> str:
    """Return the table that holds the paper's numbers against ours, one claim a row.

    Args:
        judgements: in the order of the rows.
        needed: what a claim that was not run takes, in words.
    """
    header = ["claim", "the paper", "ours", "n", "verdict"]
    rows = []
    for found in judgements:
        source = found.claim.source
        where = f"{source.paper}, {source.at} ({source.confidence})"
        verdict = ", ".join(filter(None, [f"**{_verdict_with_budget(found)}**", needed(found)]))
        beside = [found.like_paper.words if found.like_paper else "", readings_words(found)]
        rows.append(
            [
                f"{escape_markdown(found.claim.text)}<br>{escape_markdown(where)}",
                escape_markdown(f"{paper_words(found.claim)} ({found.claim.statistic})"),
                escape_markdown(ours_words(found))
                + "".join(f"<br>{escape_markdown(words)}" for words in beside if words),
                _count_words(found.n, found.num_diverged),
                f"{verdict}: {escape_markdown(found.reason)}",
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
    if judgement.verdict == "shorter run" and judgement.budget_fraction:
        return f"shorter run ({fraction_words(judgement.budget_fraction)})"
    return marked_verdict(judgement)


def _count_words(n: int, num_diverged: int) -> str:
    return f"{n} (+{num_diverged} diverged)" if num_diverged else str(n)
