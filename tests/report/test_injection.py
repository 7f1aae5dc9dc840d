"""Text of claims, titles and names cannot become code, in any form of the report."""

import html.parser
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from tests.report.showcase import INJECTED

from anneal.claims.words import verdicts_overview
from anneal.report.wandb_view import answer_words, numbers_table
from anneal.report.writing import load_content
from anneal.results.campaign import MeasuredExperiment


class Elements(html.parser.HTMLParser):
    """The elements of a page with what could run code."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.running: list[str] = []
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name.startswith("on") or re.match(r"\s*(javascript|data:text)", value or "", re.I):
                self.running.append(f"{tag} {name}={value}")
        if tag in ("iframe", "object", "embed", "base"):
            self.running.append(tag)


def test_page_has_no_element_of_hostile_text(injected: Path) -> None:
    page = (injected / "paper/report.html").read_text()
    assert "window.injected" in page, "the text itself is shown"
    found = Elements(page)
    assert found.running == []
    assert found.scripts == 4


def test_markdown_has_no_element_of_hostile_text(injected: Path) -> None:
    text = (injected / "paper/report.md").read_text()
    assert "window.injected" in text
    found = Elements(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert found.running == []
    assert found.scripts == 0


def test_markdown_for_wandb_has_no_element_of_hostile_text(injected: Path) -> None:
    content = load_content(results=injected / "results", paper=injected / "paper")
    (section,) = content.sections
    blocks = [answer_words(content), verdicts_overview(content.all_judgements())]
    text = "\n\n".join([*blocks, numbers_table(section)])
    found = Elements(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert found.running == []
    assert found.scripts == 0


@pytest.mark.parametrize("name", ["<script>", "a`b", "=1+1", "../x", "a b", "x/", INJECTED])
def test_name_of_an_experiment_with_other_signs_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="an experiment's name must have letters, digits"):
        MeasuredExperiment(
            name=name, title="", paper=None, configuration_hash="", budget_fraction=1.0,
            total_steps=1, full_total_steps=1, schedule={}, momentum_schedule=None,
            range_test=None, about={},
        )  # fmt: skip
