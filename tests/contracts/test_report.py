"""README, report.md and report.html say what results/ and the claims say now."""

import subprocess
import sys

from anneal.report.writing import load_content, render_texts


def test_committed_report_is_what_the_committed_results_give(repository):
    paper, readme = repository / "paper", repository / "README.md"
    content = load_content(results=repository / "results", paper=paper)
    texts = render_texts(content, paper=paper, readme=readme)
    assert set(texts) == {paper / "report.md", paper / "report.html", readme}
    stale = [path.name for path, text in texts.items() if path.read_bytes() != text.encode()]
    assert stale == [], "run `make report`"


def test_page_is_written_without_torch():
    code = "import sys, anneal.commands.stages.report; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
