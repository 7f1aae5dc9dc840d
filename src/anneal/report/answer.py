"""Summary: whether CLR's CIFAR-10 claims hold, which schedule to use, which headlines hold.

All of it comes from judgements and runs. The rows that it compares are those that claims
name, of one data set, network and optimizer, with runs enough for an interval.
"""

import itertools
from collections.abc import Sequence

from anneal.claims.verdict import FAVOURABLE, Judgement
from anneal.claims.words import finding_words, paper_name
from anneal.report.content import Content, ReportRow
from anneal.report.counts import judged, of_role
from anneal.results.statistics import FEWEST_RUNS

PAPER, ROWS = "clr", "clr/cifar10_"  # the question: this paper, on these of its rows
QUESTION = "Does CLR do on CIFAR-10 what its abstract says?"


def answer_lines(content: Content) -> tuple[tuple[str, str], ...]:
    """Return the lines of the summary, each with its heading; none without runs."""
    about = [
        found
        for found in content.judgements.get(PAPER, ())
        if found.claim.experiments[0].startswith(ROWS)
    ]
    lines = _about_clr(judged(of_role(about, "headline")), judged(of_role(about, "detail")))
    headlines = judged(of_role(content.all_judgements(), "headline"))
    if headlines and (schedule := _schedule_words(content)):
        lines.append(("Which schedule?", schedule))
    named = len({found.claim.paper for found in headlines}) > 1
    agree, differ, undecided = (_sentences(side, named=named) for side in _sides(headlines))
    if agree:
        lines.append(("It holds:", agree))
    if differ:
        lines.append(("It does not hold:", differ))
    if undecided:
        lines.append(("Too close to call:", undecided))
    return tuple(lines)


def _about_clr(
    headlines: Sequence[Judgement], details: Sequence[Judgement]
) -> list[tuple[str, str]]:
    """Return the question with its answer in numbers; nothing without a judged claim."""
    if not headlines:
        return []
    agree, differ, undecided = _sides(headlines)
    counts = (
        f"{len(agree)} of {len(headlines)} claims that were run "
        f"hold{'s' * (len(agree) == 1)}, {len(differ)} do{'es' * (len(differ) == 1)} not, "
        f"{len(undecided)} {'is' if len(undecided) == 1 else 'are'} too close to call."
    )
    return [(QUESTION, f"{_short_answer(agree, differ)} {counts}{_details_words(details)}")]


Sides = tuple[list[Judgement], list[Judgement], list[Judgement]]


def _sides(judgements: Sequence[Judgement]) -> Sides:
    """Return the claims that agree, that differ, and that are undecided."""
    agree = [found for found in judgements if found.verdict in FAVOURABLE]
    undecided = [found for found in judgements if found.verdict == "too close to call"]
    differ = [found for found in judgements if found not in agree and found not in undecided]
    return agree, differ, undecided


def _short_answer(agree: Sequence[Judgement], differ: Sequence[Judgement]) -> str:
    if agree and differ:
        return "In part."
    if agree or differ:
        return "Yes, so far." if agree else "No, so far."
    return "Not settled."


def _sentences(judgements: Sequence[Judgement], *, named: bool) -> str:
    """Return the claims with what was measured, each paper's after its name where it is asked."""
    words = []
    for paper, those in itertools.groupby(judgements, lambda found: found.claim.paper):
        said = "; ".join(f"{found.claim.text} ({finding_words(found)})" for found in those)
        words.append(f"{paper_name(paper)}: {said}." if named else f"{said}.")
    return " ".join(words)


def _details_words(details: Sequence[Judgement]) -> str:
    if not details:
        return ""
    agree, differ, undecided = map(len, _sides(details))
    return (
        f" Of {len(details)} single cells and sentences {agree} agree{'s' * (agree == 1)}, "
        f"{differ} differ{'s' * (differ == 1)}, {undecided} "
        f"{'is' if undecided == 1 else 'are'} too close to call."
    )


def _schedule_words(content: Content) -> str:
    """Return the best schedule for each length of training, and what the shorter one costs."""
    named = {
        name
        for found in content.judgements.get(PAPER, ())
        for name in found.claim.experiments
        if name.startswith(ROWS)
    }
    groups = [
        [row for row in rows if row.experiment.name in named and _is_measured(row)]
        for section in content.sections
        if section.budget_fraction == 1
        for rows in section.groups.values()
    ]
    rows = max(groups, key=len, default=[])
    best: dict[int, ReportRow] = {}
    for row in rows:
        length = row.experiment.total_steps
        if length not in best or _mean(row) > _mean(best[length]):
            best[length] = row
    if not best:
        return ""
    lengths = sorted(best)
    # a longer run that is no better is no answer to "which one would I use?"
    useful = [
        n
        for i, n in enumerate(lengths)
        if all(_mean(best[n]) > _mean(best[m]) for m in lengths[:i])
    ]
    words = "; ".join(
        f"for {n:,} updates {_title(best[n])}: {_mean(best[n]):.2f} % "
        f"({best[n].final.n} runs{_tried(rows, n)})"  # type: ignore[union-attr]
        for n in useful
    )
    words = words[0].upper() + words[1:]
    short, long = useful[0], useful[-1]
    if short == long:
        return f"{words}."
    gap = _mean(best[long]) - _mean(best[short])
    part = f"{100 * short / long:.0f} % of the updates"
    return f"{words}. The short run's mean is {gap:.2f} points below, in {part}."


def _is_measured(row: ReportRow) -> bool:
    return row.final is not None and row.final.n >= FEWEST_RUNS


def _mean(row: ReportRow) -> float:
    return row.final.mean if row.final else 0.0


def _title(row: ReportRow) -> str:
    return row.experiment.title


def _tried(rows: Sequence[ReportRow], length: int) -> str:
    """Return which others of the same length are below it."""
    same = sorted((r for r in rows if r.experiment.total_steps == length), key=_mean)[:-1]
    others = ", ".join(f"{_title(row)} {_mean(row):.2f}" for row in reversed(same))
    return f"; {others}" if others else ""
