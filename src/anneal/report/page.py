"""The report as ``paper/report.html``: one self-contained file.

Vega, Vega-Lite and Vega-Embed are in it once; a figure is drawn when it scrolls into view. The
page allows itself no connection, no code from elsewhere and no ``eval``: its scripts are named by
their hashes, and Vega interprets its expressions.
"""

import base64
import functools
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import vl_convert
from markupsafe import Markup

from anneal.claims.schema import CONFIDENCES
from anneal.claims.verdict import Judgement
from anneal.claims.words import (
    ARXIV,
    ON_READING,
    SIGNS,
    difference_words,
    ours_words,
    paper_name,
    paper_words,
    readings_words,
    total_words,
)
from anneal.io.svg import COLOURS
from anneal.io.text import NOTHING, number
from anneal.report.answer import answer_lines
from anneal.report.charts import make_charts
from anneal.report.content import (
    NOT_RUN,
    VERDICTS,
    Content,
    by_table,
    table_words,
)
from anneal.report.costs import LEFT_HEADER, left_words, what_is_left
from anneal.report.counts import by_verdict, headlines_words, of_role, strips
from anneal.report.effort import Effort
from anneal.report.figure_data import (
    curves_data,
    ensembles_data,
    group_key,
    redrawn_data,
    sweep_data,
)
from anneal.report.forest import counted_claims, draw_forest, forest_rows, values_behind
from anneal.report.markdown import (
    figure_names,
    range_test_figure_name,
    slug,
    trained_between,
    where_words,
)
from anneal.report.pictures import draw_claim
from anneal.report.templates import fill_in, make_environment
from anneal.results.metrics import Evidence, find_metric
from anneal.results.store import ENVIRONMENT, file_name
from anneal.results.words import (
    budget_words,
    fraction_words,
    interval_words,
    mean_words,
    stage_words,
)

_PACKED = re.compile(r'(<script type="text/plain" id="[^"]+">)([A-Za-z0-9+/=]+)(?=</script>)')
_ARXIV = re.compile(r"[0-9]{4}\.[0-9]{4,5}(v[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class PageSources:
    """Sources of the page besides its content: the texts of three files in ``paper/``."""

    template: str
    style: str
    script: str

    @classmethod
    def read(cls, paper: Path) -> "PageSources":
        """Read ``report.html.j2``, ``report.css`` and ``report.js``."""
        names = {"template": "report.html.j2", "style": "report.css", "script": "report.js"}
        return cls(**{key: (paper / name).read_text() for key, name in names.items()})


def render_page(content: Content, sources: PageSources) -> str:
    """Return the text of the page, the same for the same content.

    Raises:
        ValueError: the template names something that is not there, or is no template.
    """
    environment = make_environment(autoescape=True)
    environment.policies["json.dumps_kwargs"] = {
        "sort_keys": True,
        "separators": (",", ":"),
        "allow_nan": False,
    }
    library, script = vega_library(), Markup(sources.script)
    environment.filters["slug"] = slug
    environment.filters["packed"] = packed
    environment.globals.update(
        CONFIDENCES=CONFIDENCES,
        NOTHING=NOTHING,
        NOT_RUN=NOT_RUN,
        VERDICTS=VERDICTS,
        ENVIRONMENT=ENVIRONMENT,
        answer_lines=answer_lines,
        budget_words=budget_words,
        by_table=by_table,
        by_verdict=by_verdict,
        claim_address=claim_address,
        cost_words=cost_words,
        counted_claims=counted_claims,
        difference_words=difference_words,
        draw_forest=draw_forest,
        forest_rows=forest_rows,
        headlines_words=headlines_words,
        LEFT_HEADER=LEFT_HEADER,
        effort=Effort(content),
        left_words=left_words,
        what_is_left=what_is_left,
        next_seed=next_seed,
        of_role=of_role,
        paper_name=paper_name,
        strips=strips,
        curves_data=curves_data,
        ensembles_data=ensembles_data,
        group_key=group_key,
        redrawn_data=redrawn_data,
        evidence_of=functools.partial(evidence_of, content.evidence),
        figure_names=figure_names,
        file_name=file_name,
        find_metric=find_metric,
        fraction_words=fraction_words,
        image_address=image_address,
        interval_words=interval_words,
        mean_words=mean_words,
        number=number,
        ours_words=ours_words,
        paper_address=paper_address,
        paper_words=paper_words,
        picture=functools.partial(picture, content.evidence),
        range_test_figure_name=range_test_figure_name,
        stage_words=stage_words,
        sweep_data=sweep_data,
        table_words=table_words,
        title_of=functools.partial(title_of, content.titles),
        trained_between=trained_between,
        ON_READING=ON_READING,
        SIGNS=SIGNS,
        readings_words=readings_words,
        total_words=total_words,
        where_words=where_words,
    )
    values = {
        "content": content,
        "charts": make_charts(),
        "colours": COLOURS,
        "library": library,
        "policy": content_policy([library, script]),
        "script": script,
        "style": Markup(sources.style),
    }
    return fill_in(environment, sources.template, name="report.html.j2", values=values)


@functools.cache
def vega_library() -> Markup:
    """Return Vega, Vega-Lite and Vega-Embed as one script; seconds on the first call."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Git warns about trailing blanks; a closing tag would end the script
    bundle = re.sub(r"[ \t]+$", "", bundle, flags=re.MULTILINE)
    return Markup(bundle.replace("</script", "<\\/script"))


def content_policy(scripts: Sequence[str]) -> str:
    """Return the page's policy: these scripts and its own style, and nothing from anywhere.

    Styles are inline because Vega writes them on the elements that it draws.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def evidence_of(evidence: Mapping[str, Evidence], judgement: Judgement) -> list[Evidence]:
    """Return the runs behind a claim, by experiment; experiments without runs are left out."""
    names = judgement.claim.experiments
    return [evidence[name] for name in names if name in evidence and evidence[name].runs]


def picture(evidence: Mapping[str, Evidence], judgement: Judgement) -> Markup:
    """Return the small picture of a claim with the single runs behind it."""
    return draw_claim(judgement, values_behind(judgement, evidence))


def claim_address(judgement: Judgement) -> str:
    """Return where on the page a claim is."""
    return f"#claim-{slug(judgement.claim.id)}"


def next_seed(part: Evidence) -> int:
    """Return the first seed that has not been run."""
    return max((run.seed for run in part.runs), default=-1) + 1


def cost_words(part: Evidence) -> str:
    """Return what one run took: updates, minutes as measured, machines.

    >>> cost_words(Evidence(experiment="a", budget_fraction=1.0, runs=()))
    'no run yet'
    """
    if not part.runs:
        return "no run yet"
    words = [f"{number(max(run.updates for run in part.runs))} updates"]
    timed = [run.environment.get("seconds") for run in part.runs]
    seconds = [float(value) for value in timed if value]
    if seconds:
        low, high = (round(end / 60, 1) for end in (min(seconds), max(seconds)))
        words.append(f"{low:g} to {high:g} minutes" if low < high else f"{low:g} minutes")
    machines = dict.fromkeys(run.environment.get("device", "") for run in part.runs)
    return ", ".join([*words, *filter(None, machines)])


def packed(text: str) -> str:
    """Return a text as gzip in base64, which the page's script unpacks.

    >>> unpacked(f'<script type="text/plain" id="a">{packed("words")}</script>')
    '<script type="text/plain" id="a">words</script>'
    """
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def unpacked(page: str) -> str:
    """Return a page with its packed parts as text, for comparison with another page.

    Another zlib packs the same text into other bytes.
    """

    def text_of(found: re.Match[str]) -> str:
        return found[1] + gzip.decompress(base64.b64decode(found[2])).decode()

    return _PACKED.sub(text_of, page)


def image_address(svg: str) -> str:
    """Return a picture as an address that holds all of it.

    >>> image_address("<svg/>")
    'data:image/svg+xml;base64,PHN2Zy8+'
    """
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def paper_address(source: str) -> str | None:
    """Return where a source is on arXiv; None for one that is elsewhere.

    >>> paper_address("1506.01186v6")
    'https://arxiv.org/abs/1506.01186v6'
    """
    return f"https://arxiv.org/abs/{source}" if _ARXIV.fullmatch(source) else None


def title_of(titles: Mapping[str, str], paper: str) -> str:
    """Return the title of a paper, named as the ids of its claims begin, if it is known."""
    return titles.get(ARXIV.get(paper, ""), "")
