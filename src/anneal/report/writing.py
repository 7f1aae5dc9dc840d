"""Writer of the report: read everything, render everything, then write."""

from dataclasses import replace
from pathlib import Path

from anneal.claims.files import load_claims, load_deviations, load_links, load_planned, load_titles
from anneal.io.files import write_if_changed
from anneal.io.text import renew_block
from anneal.report.content import Content, ReportExtras, make_content
from anneal.report.costs import load_costs
from anneal.report.markdown import FIGURES, draw_figures, render_markdown
from anneal.report.page import PageSources, render_page, unpacked
from anneal.report.paper_figures import load_paper_figures, redraw
from anneal.report.readme import readme_table, reproduce_table
from anneal.results.store import load_all_results


def load_content(*, results: Path, paper: Path) -> Content:
    """Read the content of the report: committed results, claims, deviations and figures.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    content = make_content(
        load_all_results(results),
        load_claims(paper / "claims"),
        load_deviations(paper / "deviations.yaml"),
        ReportExtras(
            titles=load_titles(paper / "references.bib"),
            links=load_links(paper / "links.json"),
        ),
    )
    figures = redraw(load_paper_figures(paper), content, paper=paper)
    planned = paper / "planned.yaml"
    entries = load_planned(planned) if planned.is_file() else ()
    lacks = {name: entry.lacks for entry in entries for name in entry.experiments}
    return replace(content, figures=figures, costs=load_costs(paper), planned=lacks)


def render_texts(content: Content, *, paper: Path, readme: Path) -> dict[Path, str]:
    """Return ``report.md``, ``report.html`` and, where it is there, README, without writing them.

    Args:
        content: what to say.
        paper: the folder of the templates.
        readme: the file with the two verdict marks; without them it is unchanged.
    """
    texts = {
        paper / "report.md": render_markdown(
            content, template=(paper / "report.md.j2").read_text()
        ),
        paper / "report.html": _unless_same(
            paper / "report.html", render_page(content, PageSources.read(paper))
        ),
    }
    if readme.is_file():
        text = readme.read_text()
        for name, body in (
            ("verdicts", readme_table(content)),
            ("reproduce", reproduce_table(content)),
        ):
            text = renew_block(text, name=name, body=body, where=readme.name)
        texts[readme] = text
    return texts


def _unless_same(path: Path, page: str) -> str:
    """Return the page that is there if it says the same, packed by another zlib."""
    there = path.read_text() if path.is_file() else ""
    try:
        return there if unpacked(there) == unpacked(page) else page
    except (ValueError, OSError, EOFError):  # it is broken
        return page


def write_report(content: Content, *, paper: Path, readme: Path) -> list[str]:
    """Write the report, its figures and README's verdict table.

    Unchanged files are not touched; figures that are no longer shown are removed.

    Returns:
        What was written or removed, for the person at the terminal.
    """
    # render everything before writing: an error leaves the report unchanged
    texts = {paper / FIGURES / name: svg for name, svg in draw_figures(content).items()}
    texts |= render_texts(content, paper=paper, readme=readme)
    changed = [str(path) for path, text in texts.items() if write_if_changed(path, text)]
    for figure in sorted((paper / FIGURES).glob("*.svg")):
        if figure not in texts:
            figure.unlink()
            changed.append(f"{figure} (removed)")
    return changed
