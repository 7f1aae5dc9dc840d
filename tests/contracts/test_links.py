"""Links between files of the repository lead somewhere."""

import re
from pathlib import Path

import pytest

from anneal.claims.words import PAPERS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "paper/report.md",
    ROOT / "extensions/cpu_kernels/README.md",
]
MADE = {f"{paper}.md" for paper in PAPERS}


def broken(page: Path) -> list[str]:
    """Return the targets of a page's links that are not there; ``make docs`` makes some."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    files = {t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)}
    made = MADE if page.parent.name == "reproduce" else set()
    return sorted(f for f in files - made if not (page.parent / f.replace("\\", "")).exists())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    assert broken(page) == []


def test_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](page.md), [b](gone.md#x), [c](https://x.org), [d](#here), `[e](f.md)`")
    assert broken(page) == ["gone.md"]
