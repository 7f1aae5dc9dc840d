"""The report as ``paper/report.html``: one self-contained file.

Vega, Vega-Lite and Vega-Embed are in it once; a figure is drawn when it scrolls into view. The
page allows itself no connection, no code from elsewhere and no ``eval``: its scripts are named by
their hashes, and Vega interprets its expressions.
"""

import base64
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import vl_convert
from markupsafe import Markup

from anneal.claims.observed import compared_values
from anneal.claims.schema import CONFIDENCES
from anneal.claims.verdict import Judgement
from anneal.claims.words import (
    ON_READING,
    SIGNS,
    ours_words,
    paper_words,
    readings_words,
    total_words,
)
from anneal.io.svg import COLOURS
from anneal.io.text import NOTHING, number
from anneal.report.charts import make_charts
from anneal.report.content import (
    NOT_RUN,
    VERDICTS,
    Content,
    by_table,
    count_verdicts,
    table_words,
    verdicts_given,
)
from anneal.report.figure_data import curves_data, ensembles_data, sweep_data
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

_ARXIV = re.compile(r"[0-9]{4}\.[0-9]{4,5}(v[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class PageSources:
    """What the page is made of besides its content: the texts of three files in ``paper/``."""

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
    environment.globals.update(
        CONFIDENCES=CONFIDENCES,
        NOTHING=NOTHING,
        NOT_RUN=NOT_RUN,
        VERDICTS=VERDICTS,
        ENVIRONMENT=ENVIRONMENT,
        budget_words=budget_words,
        by_table=by_table,
        count_verdicts=count_verdicts,
        curves_data=curves_data,
        ensembles_data=ensembles_data,
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
        verdicts_given=verdicts_given,
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
    parts = evidence_of(evidence, judgement)
    complete = len(parts) == len(judgement.claim.experiments)
    values = compared_values(judgement.claim, parts) if complete else {}
    return draw_claim(judgement, list(values.values()))


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


def title_of(titles: Mapping[str, str], judgements: Sequence[Judgement]) -> str:
    """Return the title of the paper that the first of these claims is from, if it is known."""
    return titles.get(re.sub(r"v[0-9]+$", "", judgements[0].claim.source.paper), "")
