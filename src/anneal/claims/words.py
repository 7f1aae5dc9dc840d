"""Tables and the words in them: numbers with their intervals, schedules, budgets (PURE)."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.claims.verdict import Judgement
from anneal.results.metrics import Metric, find_metric
from anneal.results.statistics import Interval

Side = Literal["left", "right"]

VERDICTS_BEGIN = "<!-- verdicts:begin -->"
VERDICTS_END = "<!-- verdicts:end -->"

NOTHING = "\N{EN DASH}"  # a cell without content
_RULES: dict[Side, str] = {"left": ":---", "right": "---:"}


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, sides: Sequence[Side] | None = None
) -> str:
    r"""Return a Markdown table; what is written in a cell can not break it.

    Cells may hold Markdown (links, emphasis); text from elsewhere goes through
    :func:`escape_markdown` first. A bar or a line break inside a cell would end it, so both are
    written so that they do not.

    >>> print(markdown_table(["a", "b"], [["x|y", "1"]], sides=["left", "right"]))
    | a | b |
    | :--- | ---: |
    | x\|y | 1 |

    Raises:
        ValueError: a row is not as long as the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row must have {len(header)} cells, got {len(row)}: {list(row)}")
    rules = [_RULES[side] for side in sides or ["left"] * len(header)]
    lines = [list(header), rules, *map(list, rows)]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    r"""Return the lines of a table for a terminal: a rule below the header, columns aligned.

    >>> print("\n".join(text_table(["n", "mean"], [["12", "3"]])))
    n   mean
    --  ----
    12  3
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (header, rule, *rows)
    ]


def _cell(text: str) -> str:
    unbroken = re.sub(r"\s*[\r\n]+\s*", " ", text).strip()
    return re.sub(r"(?<!\\)\|", r"\\|", unbroken)


def escape_markdown(text: str) -> str:
    r"""Return text that Markdown shows as it is.

    >>> escape_markdown("exp_range *both* <b>")
    'exp\\_range \\*both\\* &lt;b&gt;'
    """
    marked = re.sub(r"([\\`*_\[\]#|])", r"\\\1", text)
    return marked.replace("<", "&lt;").replace(">", "&gt;")


def number(value: float) -> str:
    """Return a number as people write it: thousands apart, no needless digits.

    >>> number(25000), number(0.00001), number(0.1234567)
    ('25,000', '1e-05', '0.12346')
    """
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.5g}"


def interval_words(interval: Interval | None, *, decimals: int, unit: str = "") -> str:
    """Return ``mean ± half-width [low, high] unit``; a single run has no interval, and says so.

    >>> from anneal.results.statistics import mean_interval
    >>> interval_words(mean_interval([81.0, 82.0, 83.0]), decimals=2, unit="%")
    '82.00 ± 2.48 [79.52, 84.48] %'
    >>> interval_words(mean_interval([81.0]), decimals=2, unit="%")
    '81.00 % (one run)'
    """
    if interval is None:
        return NOTHING
    behind = f" {unit}" if unit else ""
    mean = f"{interval.mean:.{decimals}f}"
    if interval.low is None or interval.high is None:
        return f"{mean}{behind} (one run)"
    ends = f"[{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"
    if interval.method.endswith("logarithms"):
        return f"{mean} {ends}{behind}"
    return f"{mean} ± {interval.half_width:.{decimals}f} {ends}{behind}"


def mean_words(interval: Interval | None, *, metric: Metric) -> str:
    """Return ``mean ± half-width`` alone, for where the ends have no room."""
    if interval is None:
        return NOTHING
    mean = f"{interval.mean:.{metric.decimals}f}"
    if interval.half_width is None:
        return mean
    return f"{mean} ± {interval.half_width:.{metric.decimals}f}"


def fraction_words(fraction: float) -> str:
    """Return a budget as a person says it.

    >>> fraction_words(0.01), fraction_words(1.0), fraction_words(0.0103)
    ('1/100', 'full', '1.03 %')

    Raises:
        ValueError: it does not lie in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"budget_fraction must lie in (0, 1], got {fraction}")
    if fraction == 1:
        return "full"
    exact = Fraction(fraction).limit_denominator(10_000)
    near = exact.numerator == 1 and abs(float(exact) - fraction) < 1e-9
    return f"1/{exact.denominator:,}" if near else f"{100 * fraction:g} %"


def budget_words(fraction: float) -> str:
    """Return the label of a budget.

    >>> budget_words(0.1)
    "scaled-down: 1/10 of the paper's updates"
    """
    if fraction_words(fraction) == "full":
        return "the paper's number of updates"
    return f"scaled-down: {fraction_words(fraction)} of the paper's updates"


def schedule_words(description: Mapping[str, Any]) -> str:
    """Return a schedule's description in a few words.

    >>> schedule_words({"name": "hann", "arguments": {"max_lr": 0.006, "half_cycle_steps": 9}})
    'hann(max_lr 0.006, half_cycle_steps 9)'
    >>> one = {"name": "constant", "arguments": {"lr": 0.1}}
    >>> schedule_words({"name": "staged", "arguments": {"stages": [[0, one], [60, one]]}})
    'constant(lr 0.1), from update 60 constant(lr 0.1)'
    """
    return ", ".join(stage_words(description))


def stage_words(description: Mapping[str, Any]) -> list[str]:
    """Return a schedule's description stage by stage; most have a single one.

    >>> one, two = ({"name": "constant", "arguments": {"lr": lr}} for lr in (0.1, 0.01))
    >>> stage_words({"name": "staged", "arguments": {"stages": [[0, one], [60, two]]}})
    ['constant(lr 0.1)', 'from update 60 constant(lr 0.01)']
    """
    name = str(description.get("name", "a schedule"))
    arguments = description.get("arguments")
    if not isinstance(arguments, Mapping):
        arguments = {key: value for key, value in description.items() if key != "name"}
    stages = arguments.get("stages")
    if name == "staged" and isinstance(stages, Sequence):
        return [
            (f"from update {number(first)} " if first else "") + schedule_words(stage)
            for first, stage in stages
        ]
    inside = ", ".join(f"{key} {_argument_words(value)}" for key, value in arguments.items())
    return [f"{name}({inside})" if inside else name]


def _argument_words(value: object) -> str:
    if isinstance(value, Mapping):
        return schedule_words(value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " / ".join(_argument_words(item) for item in value)
    return str(value)


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


def renew_block(text: str, *, body: str, where: str) -> str:
    r"""Return ``text`` with what stands between the two verdict marks replaced by ``body``.

    >>> marked = f"a\n{VERDICTS_BEGIN}\nold\n{VERDICTS_END}\nb\n"
    >>> renew_block(marked, body="new", where="README.md") == marked.replace("old", "new")
    True

    Returns:
        The text unchanged when it holds neither mark.

    Raises:
        ValueError: one mark without the other, one of them twice, or both the wrong way round.
    """
    counts = text.count(VERDICTS_BEGIN), text.count(VERDICTS_END)
    if counts == (0, 0):
        return text
    begin, end = text.find(VERDICTS_BEGIN), text.find(VERDICTS_END)
    if counts != (1, 1) or begin > end:
        raise ValueError(
            f"{where}: must hold {VERDICTS_BEGIN} and {VERDICTS_END} once each and in this order"
        )
    return f"{text[:begin]}{VERDICTS_BEGIN}\n{body.strip()}\n{text[end:]}"
