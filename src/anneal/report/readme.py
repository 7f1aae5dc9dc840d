"""README's blocks: results (answer, picture, first claims) and costs."""

from anneal.claims.words import total_words, verdicts_overview
from anneal.io.text import Alignment, escape_markdown, markdown_table, number
from anneal.report.answer import answer_lines
from anneal.report.content import Content
from anneal.report.counts import headlines_words, judged, of_role, shown_first
from anneal.report.forest import counted_claims, forest_rows
from anneal.report.markdown import FIGURES, FIRST, HEADLINES
from anneal.results.metrics import Run


def readme_table(content: Content) -> str:
    """Return README's block; without runs it says how many headline claims wait for one."""
    shown = shown_first(content, most=FIRST)
    parts = [
        "\n".join(f"- **{lead}** {escape_markdown(words)}" for lead, words in answer_lines(content))
    ]
    if forest_rows(shown, content.evidence):
        about = "Our results on the scale of each claim's tolerance; the paper's number is at 0"
        picture = f"![{about}](paper/{FIGURES}/{HEADLINES})"
        parts.append(f"[{picture}](paper/report.md)")
    if shown:
        parts.append(verdicts_overview(shown))
        more = len(judged(counted_claims(content))) - len(shown)
        rest = f"; {more} more in [the report](paper/report.md)" if more > 0 else ""
        parts.append(f"Headline claims first, then cells of the tables{rest}.")
    parts += [
        headlines_words(content),
        total_words(of_role(content.all_judgements(), "headline", "detail")),
    ]
    return "\n\n".join(part for part in parts if part)


def reproduce_table(content: Content) -> str:
    """Return the cost table of campaigns with runs: command, runs, updates, measured hours."""
    rows = []
    for section in content.sections:
        runs = section.runs
        seconds = [float(run.environment["seconds"]) for run in runs if _is_timed(run)]
        if not seconds:
            continue
        machines = dict.fromkeys(run.environment.get("device", "") for run in runs)
        rows.append(
            (
                sum(seconds),
                [
                    f"`dvc exp run -S campaign={section.name}`",
                    escape_markdown(section.title),
                    str(len(runs)),
                    number(sum(run.updates for run in runs)),
                    f"{sum(seconds) / 3600:.2g}",
                    escape_markdown(", ".join(filter(None, machines))),
                ],
            )
        )
    header = ["command", "what", "runs", "updates", "hours, all runs", "measured on"]
    sides: list[Alignment] = ["left", "left", "right", "right", "right", "left"]
    return markdown_table(header, [cells for _, cells in sorted(rows)], sides=sides)


def _is_timed(run: Run) -> bool:
    return bool(run.environment.get("seconds"))
