"""README's block of results: the answer, a picture, how far each paper is, the first claims."""

from anneal.claims.words import total_words, verdicts_overview
from anneal.io.text import escape_markdown
from anneal.report.answer import answer_lines
from anneal.report.content import Content
from anneal.report.counts import headlines_words, judged, of_role, shown_first
from anneal.report.forest import counted_claims, forest_rows
from anneal.report.markdown import FIGURES, FIRST, HEADLINES, strips_table


def readme_table(content: Content) -> str:
    """Return README's block; without runs it says how many headline claims wait for one."""
    shown = shown_first(content, most=FIRST)
    parts = [
        "\n".join(f"- **{lead}** {escape_markdown(words)}" for lead, words in answer_lines(content))
    ]
    if forest_rows(shown, content.evidence):
        about = "Our results on the scale of each claim's tolerance; the paper's number is at 0"
        picture = f"![{about}](paper/{FIGURES}/{HEADLINES})"
        parts.append(f"[{picture}](paper/report.md)".replace("[![", "[!["))
    if shown:
        parts.append(verdicts_overview(shown))
        more = len(judged(counted_claims(content))) - len(shown)
        rest = f"; {more} more in [the report](paper/report.md)" if more > 0 else ""
        parts.append(f"Headline claims first, then cells of the tables{rest}.")
    parts += [
        headlines_words(content),
        strips_table(content),
        total_words(of_role(content.all_judgements(), "headline", "detail")),
    ]
    return "\n\n".join(part for part in parts if part)
