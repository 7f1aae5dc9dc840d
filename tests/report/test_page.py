import base64
import dataclasses
import gzip
import html
import itertools
import json
import re
from html.parser import HTMLParser

import pytest
from tests.report.showcase import FINALS, HOSTILE, showcase

from anneal.claims.files import load_links
from anneal.claims.schema import parse_claims
from anneal.claims.verdict import judge
from anneal.report.answer import QUESTION, answer_lines
from anneal.report.charts import make_charts
from anneal.report.content import (
    NOT_RUN,
    VERDICTS,
    by_paper,
)
from anneal.report.costs import left_words, what_is_left
from anneal.report.counts import by_verdict, judged, of_role, shown_first
from anneal.report.effort import Effort
from anneal.report.forest import counted_claims, draw_forest, forest_rows
from anneal.report.markdown import FIRST, render_markdown
from anneal.report.page import PageSources, packed, render_page, unpacked
from anneal.report.pictures import draw_claim
from anneal.report.writing import load_content, render_texts, write_report
from anneal.results.metrics import Evidence, Run

__all__ = ["showcase"]  # the fixture
MOST_BYTES = 2_000_000
VOID = {"meta", "link", "br", "input", "img", "hr", "base"}


class Page(HTMLParser):
    """A page as a list of elements, with the text of scripts and styles apart."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.append((self.open[-1], data))

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def content(showcase):
    return load_content(results=showcase / "results", paper=showcase / "paper")


@pytest.fixture(scope="module")
def text(showcase):
    return (showcase / "paper/report.html").read_text()


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def claims_shown(page):
    return [a for a in page.of("article") if a.get("class", "").split()[:1] == ["claim"]]


def test_same_results_give_the_same_bytes(showcase, content, text):
    sources = PageSources.read(showcase / "paper")
    assert render_page(content, sources) == text
    again = load_content(results=showcase / "results", paper=showcase / "paper")
    assert render_page(again, sources) == text
    assert make_charts.__wrapped__() == make_charts.__wrapped__()
    assert write_report(content, paper=showcase / "paper", readme=showcase / "README.md") == []


def test_every_tag_is_closed_and_every_id_is_there_once(page):
    assert page.open == []
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    inside = {a["href"][1:] for a in page.of("a") if a["href"].startswith("#")}
    assert inside <= set(ids)


def test_page_is_small_enough_and_holds_vega_once(text):
    assert len(text.encode()) < MOST_BYTES
    assert unpacked(text).count("window.vegaEmbed") == 1


def test_nothing_is_loaded_from_anywhere(page, text):
    loading = {"src", "srcset", "poster", "background", "action", "formaction", "data"}
    assert [e for e in page.elements if loading & e[1].keys()] == []
    assert [a["href"] for a in page.of("link")] == ["data:,"]
    assert not {"iframe", "object", "embed", "img", "base"} & {tag for tag, _ in page.elements}
    styles = "".join(data for tag, data in page.texts if tag == "style")
    assert not re.search(r"url\(|@import|@font-face", styles)
    (policy,) = [a["content"] for a in page.of("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_external_links_are_links_and_internal_ones_resolve(page, showcase):
    for address in [a["href"] for a in page.of("a")]:
        if address.startswith("https://"):
            assert address.startswith(("https://arxiv.org/abs/", "https://example.org/report"))
        elif not address.startswith("#"):
            assert (showcase / "paper" / address).exists(), address


def test_every_verdict_is_on_the_page_and_the_overview_counts_them(page, content):
    shown = [a["data-verdict"] for a in claims_shown(page)]
    assert len(shown) == len(content.all_judgements())
    assert len(set(shown)) >= 7
    assert set(shown) < set(VERDICTS)
    counted = [
        a
        for a in page.of("button")
        if a.get("class", "").startswith("count") and not a["data-paper"]
    ]
    assert {a["data-verdict"]: a["aria-label"].split()[0] for a in counted} == {
        verdict: str(shown.count(verdict))
        for verdict in VERDICTS
        if verdict in shown and verdict != NOT_RUN
    }


def test_each_claim_shows_ours_in_the_statistic_of_the_paper(text, content):
    spoken = [found for found in content.all_judgements() if found.like_paper]
    words = {found.claim.id: found.like_paper.words for found in spoken}
    assert sum(map(bool, words.values())) > 5
    assert text.count("<dt>As the paper counts</dt>") == sum(map(bool, words.values()))
    assert html.escape(words["clr/table1/cifar10/fixed"], quote=False).replace("'", "&#39;") in text


def test_overview_has_papers_with_runs_first_and_no_empty_column(showcase, content):
    not_run = [found for found in content.all_judgements() if found.verdict == NOT_RUN]
    spoken = [found for found in content.judgements["clr"] if found.verdict == "reproduced"]
    fewer = dataclasses.replace(
        content, judgements={"clr": tuple(spoken), "a": tuple(not_run), "b": tuple(not_run)}
    )
    assert [*by_verdict(fewer.all_judgements())] == ["reproduced", "not run"]
    unsorted = [*not_run, *spoken]
    assert [found.claim.id.split("/")[0] for found in (unsorted[0], unsorted[-1])] == [
        "sgdr",
        "clr",
    ]
    assert list(by_paper(unsorted)) == ["clr", "sgdr"]
    page = render_page(fewer, PageSources.read(showcase / "paper"))
    overview = page[page.index('class="matrix"') : page.index("</table>")]
    assert re.findall(r'<th scope="col">(.*?)</th>', overview) == [
        "paper, table", "reproduced", "claims",
    ]  # fmt: skip
    assert re.findall(r'<th scope="rowgroup">(.*?)</th>', overview) == ["CLR", "a", "b"]
    widths = [row.count("<td>") for row in overview.split("<tr")[2:]]
    assert set(widths) == {2}


def test_claim_leads_to_configuration_commit_environment_and_curves(text):
    start = text.index('id="claim-clr-table1-cifar10-fixed"')
    claim = text[start : text.index("</article>", start)]
    for words in (
        "../results/clr_cifar10/configurations/0123456789ab.yaml",
        "../results/clr_cifar10/curves/clr__cifar10_fixed.csv",
        "abcdef0123456789", "float32", "2.11.0", "12.3", "cpu", "81.30", "<svg", "1506.01186v6",
        "two standard deviations of the paper&#39;s single run",
    ):  # fmt: skip
        assert words in claim, words


def test_hostile_text_is_escaped_wherever_it_stands(text, page):
    assert HOSTILE not in text
    assert text.count("<script") == text.count("</script>") == 4
    assert page.of("img") == []
    assert ("h5", HOSTILE) in [
        (tag, data) for tag, data in page.texts if tag == "h5" and "broken" in data
    ]
    data = json.loads(_script(unpacked(text), "data-figures"))
    titles = [one["title"] for figure in data.values() for one in figure.get("experiments", ())]
    assert HOSTILE in titles


def _script(text, name):
    start = text.index(f'id="{name}">') + len(f'id="{name}">')
    return text[start : text.index("</script>", start)]


def test_page_packed_by_another_zlib_is_left_as_it_is(showcase, content, text):
    page = showcase / "paper/report.html"
    words = unpacked(text)
    start = words.index('id="library">') + len('id="library">')
    library = words[start : words.index("</script>", start)]
    other = base64.b64encode(gzip.compress(library.encode(), compresslevel=1, mtime=0)).decode()
    repacked = text.replace(packed(library), other)
    assert repacked != text
    page.write_text(repacked)
    try:
        texts = render_texts(content, paper=showcase / "paper", readme=showcase / "README.md")
        assert texts[page] == repacked
        page.write_text(repacked.replace("<h1>", "<h1>x"))
        texts = render_texts(content, paper=showcase / "paper", readme=showcase / "README.md")
        assert texts[page] == text
    finally:
        page.write_text(text)


def test_figures_hold_the_numbers_of_the_results(text):
    figures = json.loads(_script(unpacked(text), "data-figures"))
    curves = figures["clr_cifar10: digits, caffe_cifar"]
    assert curves["charts"] == ["accuracy", "best", "train_loss", "test_loss", "lr", "momentum"]
    by_name = {one["name"]: one for one in curves["experiments"]}
    for name, finals in FINALS.items():
        runs = {run["seed"]: run for run in by_name[name]["runs"]}
        assert runs.keys() == finals.keys()
        for seed, final in finals.items():
            assert runs[seed]["finished"] == (final is not None)
            updates, values = runs[seed]["series"]["accuracy"]
            assert len(updates) == len(values) > 10
            assert values[-1] == (60.0 if final is None else final)
    sweep = figures["short sweep digits"]
    assert [one["rule"] for one in sweep["rules"]] == ["smith", "valley"]
    assert set(sweep["columns"]["seed"]) == {0, 1, 2}
    ensembles = figures["short ensembles"]
    assert len(ensembles["rows"]) == 6
    assert ensembles["rows"][0] == ["sgdr/wrn", 2, 1, "0+1", 94.2]


def test_published_report_is_linked_and_only_to_the_web(showcase, text, tmp_path):
    assert 'href="https://example.org/report"' in text
    assert "(https://example.org/report), 2026-03-05" in (showcase / "paper/report.md").read_text()
    links = tmp_path / "links.json"
    assert load_links(links) == {}
    links.write_text('{"quick": {"url": "javascript:alert(1)", "published": "2026-03-05"}}')
    with pytest.raises(ValueError, match=r"links.json: campaign 'quick': url must be an address"):
        load_links(links)


def test_tables_are_headed_and_headings_are_in_order(page):
    tables = len(page.of("table"))
    assert tables == len(page.of("caption")) > 5
    assert [a for a in page.of("th") if a.get("scope") not in ("col", "row", "rowgroup")] == []
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert {"main", "header", "nav", "footer"} <= {tag for tag, _ in page.elements}
    assert [a["aria-live"] for a in page.of("p") if a.get("role") == "status"] == ["polite"]


def test_readme_shows_verdicts_in_papers_order_and_counts_headlines(showcase, content):
    readme = showcase / "README.md"
    readme.write_text("<!-- verdicts:begin -->\n<!-- verdicts:end -->\n")
    try:
        block = render_texts(content, paper=showcase / "paper", readme=readme)[readme]
    finally:
        readme.unlink()
    headlines = of_role(content.all_judgements(), "headline")
    assert f"{len(headlines)} headline claims of 1 paper, " in block
    text = (showcase / "paper/report.md").read_text()
    assert f"| CLR | {len(judged(headlines))} of {len(headlines)} | " in text
    assert "not run" not in block
    assert "row 7 of the table" not in block
    rows = [row for row in block.splitlines() if re.search(r"\| [0-9]+( \(.*)? \| [^|]+ \|$", row)]
    assert len(rows) == len(shown_first(content, most=FIRST)) > 4


def test_answer_says_what_holds_and_which_schedule_is_best_at_a_length(content):
    lines = dict(answer_lines(content))
    assert lines[QUESTION].startswith(("In part. ", "Yes, so far. ", "No, so far. "))
    best = max((sum(v.values()) / 3, name) for name, v in FINALS.items() if None not in v.values())
    assert f": {best[0]:.2f} % (3 runs" in lines["Which schedule?"]
    nothing = dataclasses.replace(content, judgements={}, sections=())
    assert answer_lines(nothing) == ()


def test_answer_names_the_papers_where_headlines_of_several_are_judged(content):
    one, *_ = judged(of_role(content.judgements["clr"], "headline"))
    assert "CLR: " not in " ".join(words for _, words in answer_lines(content))
    other = dataclasses.replace(
        one,
        verdict="reproduced",
        claim=dataclasses.replace(one.claim, id="one_cycle/table1/other", text="A cycle is better"),
    )
    both = dataclasses.replace(content, judgements={**content.judgements, "one_cycle": (other,)})
    lines = dict(answer_lines(both))
    assert "1cycle: A cycle is better (" in lines["It holds:"]
    assert "CLR: " in " ".join(lines.values())
    alone = dataclasses.replace(content, judgements={"one_cycle": (other,)})
    assert QUESTION not in dict(answer_lines(alone))
    assert dict(answer_lines(alone))["It holds:"].startswith("A cycle is better (")


def test_forest_has_room_for_runs_that_diverged(content):
    row = forest_rows(counted_claims(content), content.evidence)[0]
    said = f"2 of 3 runs of {row.found.claim.experiments[0]} diverged"
    found = dataclasses.replace(row.found, failure=said, reason=said)
    drawn = str(draw_forest([dataclasses.replace(row, found=found)]))
    assert ">2 of 3 runs diverged<" in drawn


def test_forest_has_room_for_a_long_label(content):
    row = forest_rows(counted_claims(content), content.evidence)[0]
    claim = dataclasses.replace(row.found.claim, id=f"clr/table1/{'x' * 80}", role="detail")
    long = dataclasses.replace(row, found=dataclasses.replace(row.found, claim=claim))
    ends = [
        float(re.search(r'<text x="([\d.]+)"[^>]*>Table', str(draw_forest([one])))[1])
        for one in (row, long)
    ]
    assert ends[1] >= 6.5 * len(long.label)
    assert ends[1] > ends[0]
    drawn = [str(draw_forest([one], is_narrow=True)) for one in (row, long)]
    assert ["textLength" in one for one in drawn] == [False, True]


def test_forest_puts_paper_at_0_and_end_of_tolerance_at_1(content):
    rows = {
        row.found.claim.id: row for row in forest_rows(counted_claims(content), content.evidence)
    }
    fixed = rows["clr/table1/cifar10/fixed"]
    claim = fixed.found.claim
    assert fixed.mean == pytest.approx((81.4 - claim.value) / claim.tolerance)
    assert sorted(fixed.runs) == pytest.approx(
        [(v - claim.value) / claim.tolerance for v in (81.3, 81.4, 81.5)]
    )
    assert fixed.low < fixed.mean < fixed.high
    assert not fixed.is_open
    order = rows["clr/table1/cifar10/triangular2_above_decay"]
    assert order.is_open
    assert order.mean > -1  # where it no longer holds
    inside = [
        row.found.verdict
        for row in rows.values()
        if row.low >= -1 and (row.high <= 1 or row.is_open)
    ]
    assert set(inside) <= {"reproduced", "agrees so far", "too close to call"}
    drawn = str(draw_forest(list(rows.values())))
    assert drawn.count('class="band"') == len(rows)
    assert "href" not in drawn


def test_what_is_left_counts_runs_to_three_and_takes_measured_hours(content):
    known = {
        "clr/hostile": {"updates": 10, "flop": 5e15},  # run twice
        "sgdr/row3": {"updates": 7, "flop": 1e15},  # never run
        "clr/cifar10_fixed": {"updates": 7, "flop": 1e15},  # settled or run three times
    }
    costly = dataclasses.replace(content, costs=known)
    hostile, rows = sorted(what_is_left(costly), key=lambda left: left.runs)
    assert (rows.table, rows.claims, rows.runs, rows.updates) == ("Table 2", 1, 3, 21)
    assert rows.flop == 3e15
    assert rows.hours == pytest.approx(3e15 / Effort(costly).usual_speed / 3600)
    assert (hostile.table, hostile.claims, hostile.runs, hostile.flop) == ("text", 1, 1, 5e15)
    assert hostile.hours == pytest.approx(12.3 / 3600)
    assert what_is_left(content) == ()


def test_what_is_left_counts_a_run_of_each_subject(content):
    known = {"sgdr/row3": {"updates": 7, "flop": 1e15, "subjects": 14}}  # never run
    (left,) = what_is_left(dataclasses.replace(content, costs=known))
    assert (left.claims, left.runs, left.updates, left.flop) == (1, 42, 42 * 7, 42e15)
    assert dataclasses.replace(left, flop=1.24e18).cells()[-2] == "1,240"


def test_what_is_left_counts_the_runs_that_a_row_is_made_of(content):
    known = {
        "clr/hostile": {"updates": 10, "flop": 5e15},  # run, which tells the speed
        "sgdr/row3": {"trains": ["sgdr/one", "sgdr/other"]},  # an ensemble
        "sgdr/one": {"updates": 7, "flop": 1e15},
        "sgdr/other": {"updates": 8, "flop": 1e15},
    }
    _, left = sorted(
        what_is_left(dataclasses.replace(content, costs=known)), key=lambda one: one.runs
    )
    assert (left.claims, left.runs, left.updates) == (1, 6, 3 * (7 + 8))
    not_run = next(j for j in content.all_judgements() if j.claim.experiments == ("sgdr/row3",))
    effort = Effort(dataclasses.replace(content, costs=known))
    assert effort.need(not_run).hours == pytest.approx(6e15 / effort.usual_speed / 3600)
    of_two = dataclasses.replace(not_run.claim, metric="test_error_pct@ensemble_2x3")
    across = dataclasses.replace(not_run, claim=of_two)
    assert effort.missing([across]) == {"sgdr/one": 3, "sgdr/other": 3}  # one of each for a seed
    decoder = Effort(dataclasses.replace(content, costs={"sgdr/row3": {"trains": []}}))
    assert decoder.need_words(not_run) == "can run here"


def test_row_that_never_ran_takes_its_hours_from_its_operations(content):
    hostile = next(
        r for s in content.sections for r in s.rows if r.experiment.name == "clr/hostile"
    )
    (updates, *_) = [run.updates for run in hostile.evidence.runs]
    known = {"clr/hostile": {"updates": 10, "flop": 5e12}, "sgdr/row3": {"updates": 7, "flop": 1e9}}
    effort = Effort(dataclasses.replace(content, costs=known))
    assert effort.usual_speed == pytest.approx(5e12 / 10 * updates / 12.3)
    assert effort.seconds("sgdr/row3") == pytest.approx(1e9 / effort.usual_speed)
    assert effort.seconds("clr/hostile") == pytest.approx(12.3)  # as it was measured
    assert effort.seconds("clr/unknown") is None


@pytest.mark.parametrize(
    ("flop", "planned", "words"),
    [
        (1e13, {}, "here in "),
        (1e20, {}, "needs a GPU ("),
        (None, {"sgdr/row3": "data"}, "no data"),
        (None, {"sgdr/row3": "code"}, "no row yet"),
        (None, {}, "for reference, no row"),
    ],
)
def test_claim_that_was_not_run_says_what_it_takes(content, showcase, flop, planned, words):
    costs = {"clr/hostile": {"updates": 10, "flop": 5e12}}
    costs |= {} if flop is None else {"sgdr/row3": {"updates": 7, "flop": flop}}
    told = dataclasses.replace(content, costs=costs, planned=planned)
    not_run = next(j for j in told.all_judgements() if j.claim.experiments == ("sgdr/row3",))
    assert Effort(told).need_words(not_run).startswith(words)
    judged = next(j for j in told.all_judgements() if j.verdict == "reproduced")
    assert Effort(told).need_words(judged) == ""
    page = render_page(told, PageSources.read(showcase / "paper"))
    assert f'<b class="need">{words}' in page
    text = render_markdown(told, template=(showcase / "paper/report.md.j2").read_text())
    assert f"**not run**, {words}" in text
    if flop:
        assert left_words(told).startswith("Of ")


def test_what_is_left_counts_the_runs_of_an_ensemble(content):
    judgements = {
        paper: tuple(
            dataclasses.replace(
                one,
                claim=dataclasses.replace(one.claim, metric="test_accuracy_pct@ensemble_16x3"),
            )
            if one.claim.experiments == ("sgdr/row3",)
            else one
            for one in found
        )
        for paper, found in content.judgements.items()
    }
    known = {"sgdr/row3": {"updates": 7, "flop": 1e15}}  # never run
    (left,) = what_is_left(dataclasses.replace(content, judgements=judgements, costs=known))
    assert (left.claims, left.runs) == (1, 3 * 16)


def test_text_folds_what_was_not_run_by_table(showcase):
    text = (showcase / "paper/report.md").read_text()
    assert "#### SGDR, Table 2" in text
    part = text.split("#### SGDR, Table 2")[1].split("####")[0]
    assert part.strip().startswith("<details>\n<summary>8 claims not run</summary>")
    assert part.count("no run yet of") == 8
    assert "<details>" not in text.split("#### CLR, Table 1")[1].split("### SGDR")[0]


def value_claim(**changes):
    entry = {
        "id": "clr/one", "kind": "value", "text": "a", "metric": "test_accuracy_pct@final",
        "source": {"paper": "1506.01186v6", "at": "Table 1", "confidence": "A"},
        "statistic": "single run", "experiments": ["clr/a"], "value": 80.0, "tolerance": 1.0,
        "tolerance_reason": "two standard deviations",
    }  # fmt: skip
    return parse_claims([entry | changes], where="clr.yaml")[0]


def evidence(*finals):
    runs = tuple(
        Run(seed=seed, configuration_hash="0", status="finished", updates=9,
            metrics={"test_accuracy_pct@final": final})
        for seed, final in enumerate(finals)
    )  # fmt: skip
    return Evidence(experiment="clr/a", budget_fraction=1.0, runs=runs)


def places(picture, pattern):
    return [float(found) for found in re.findall(pattern, picture)]


def test_picture_puts_less_to_the_left_and_keeps_all_inside():
    values = [79.0, 79.5, 81.5]
    found = judge(value_claim(), {"clr/a": evidence(*values)})
    picture = str(draw_claim(found, values))
    runs = places(picture, r'class="run" cx="([0-9.]+)"')
    (paper,) = places(picture, r'class="paper" d="M([0-9.]+)')
    assert runs == sorted(runs)
    assert runs[1] < paper < runs[2]
    band, width = (places(picture, r'class="band" x="[0-9.]+" y="2" width="([0-9.]+)"')[0],
                   places(picture, r'class="band" x="([0-9.]+)"')[0])  # fmt: skip
    assert paper == pytest.approx(width + band / 2, abs=0.2)
    assert runs[0] == pytest.approx(width, abs=0.2)  # 79 is where the tolerance ends
    assert "Paper: 80 % ± 1. Ours: 80.00 ± 2.23 [77.77, 82.23]" in picture


def test_long_interval_leaves_picture_with_arrows():
    narrow = judge(value_claim(), {"clr/a": evidence(79.9, 80.0, 80.1)})
    assert "arrow" not in draw_claim(narrow, [79.9, 80.0, 80.1])
    wide = dataclasses.replace(narrow, ours=dataclasses.replace(narrow.ours, low=60.0, high=99.0))
    picture = str(draw_claim(wide, [79.9, 80.0, 80.1]))
    assert picture.count('class="arrow"') == 2
    assert all(0 <= x <= 260 for x in places(picture, r"[MH]([0-9.]+)"))


def test_template_that_asks_for_what_is_not_there_is_named(showcase, content):
    sources = PageSources.read(showcase / "paper")
    broken = PageSources(template="\n{{ nothing }}", style=sources.style, script=sources.script)
    with pytest.raises(ValueError, match=r"report.html.j2.*'nothing' is undefined"):
        render_page(content, broken)
