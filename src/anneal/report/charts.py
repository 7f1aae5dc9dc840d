"""Vega-Lite specifications of the interactive figures, without data.

One specification serves every figure of its kind: the page puts the rows in (data sets ``curves``,
``marks``, ``rates``, ``sweep``, ``bounds``, ``ensembles``), sets the parameters and draws. Colours
are CSS variables, so that a figure follows light and dark without being drawn again.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

HEIGHT = 250
TEXT = {
    "labelFontSize": 12,
    "titleFontSize": 12,
    "labelColor": "var(--ink)",
    "titleColor": "var(--ink)",
    "titleFontWeight": "normal",
}
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",  # a name, since widths are measured with it
    "view": {"stroke": None},
    "aria": False,  # a thousand marks are no text; the figure has one, and the data as CSV
    "legend": TEXT | {"symbolStrokeColor": "var(--ink)"},
    "axis": TEXT
    | {
        "gridColor": "var(--grid)",
        "domainColor": "var(--faint)",
        "tickColor": "var(--faint)",
        "tickCount": 5,
    },
}
UPDATES = (
    alt.X("update:Q")
    .title("update")
    .axis(format=",.0f")
    .scale(domain=[alt.ExprRef("start"), alt.ExprRef("end")], nice=False)
)
FRAME = [alt.ExprRef("frame[0]"), alt.ExprRef("frame[1]")]
COLOUR = alt.Color("colour:N").scale(None).legend(None)
DASH = alt.StrokeDash("dash:N").scale(None).legend(None)
# Quantity of a curve -> title of its axis. `best` is the highest accuracy so far: an anytime curve.
CURVE_TITLES = {
    "accuracy": "test accuracy (%)",
    "best": "best test accuracy so far (%)",
    "train_loss": "training loss",
    "test_loss": "test loss",
}
RATE_TITLES = {"lr": "rate", "momentum": "momentum"}
SWEEP_TITLES = {"accuracy": "held-out accuracy (%)", "train_loss": "training loss"}
IS_SHOWN = "indexof(shown, datum.experiment) >= 0"


@functools.cache
def make_charts() -> dict[str, dict[str, Any]]:
    """Return every specification by its kind, the same on every call."""
    charts = {name: _curve_chart(name, title) for name, title in CURVE_TITLES.items()}
    charts |= {name: _rate_chart(name, title) for name, title in RATE_TITLES.items()}
    for name, title in SWEEP_TITLES.items():
        charts[f"sweep_{name}_linear"] = _sweep_chart(name, title, scale="linear")
        charts[f"sweep_{name}_log"] = _sweep_chart(name, title, scale="log")
    charts["ensembles"] = _ensembles_chart()
    return charts


def _curve_chart(quantity: str, title: str) -> dict[str, Any]:
    """Mean over the chosen seeds with the range from lowest to highest; or every run by itself.

    The mean is taken where all chosen seeds that finished were measured. A run that diverged is a
    thin line that ends in a cross.
    """
    y = alt.Y("mean:Q").title(title).scale(domain=FRAME, nice=False, zero=False)
    runs = alt.Chart(alt.NamedData(name="curves")).transform_filter(
        f"datum.quantity == '{'accuracy' if quantity == 'best' else quantity}' && {IS_SHOWN}"
        " && indexof(seeds, datum.seed) >= 0"
    )
    if quantity == "best":
        runs = runs.transform_window(
            value="max(value)",
            frame=[None, 0],
            sort=[alt.SortField("update")],
            groupby=["experiment", "seed"],
        )
    over_seeds = (
        runs.transform_filter("datum.finished")
        .transform_aggregate(
            mean="mean(value)",
            low="min(value)",
            high="max(value)",
            n="count()",
            groupby=["experiment", "title", "colour", "dash", "update"],
        )
        .transform_joinaggregate(all="max(n)", groupby=["experiment"])
        .transform_filter("datum.n == datum.all")
        .encode(x=UPDATES, y=y, color=COLOUR, detail="experiment:N")
    )
    band = over_seeds.mark_area(opacity=0.16, clip=True).encode(
        y=alt.Y("low:Q").title(title), y2="high:Q"
    )
    mean = over_seeds.mark_line(clip=True, strokeWidth=2).encode(strokeDash=DASH)
    points = over_seeds.mark_point(clip=True, size=60, filled=True, opacity=0).encode(
        tooltip=[
            alt.Tooltip("title:N", title="schedule"),
            alt.Tooltip("update:Q", format=","),
            alt.Tooltip("mean:Q", title=title, format=".4~g"),
            alt.Tooltip("low:Q", title="lowest seed", format=".4~g"),
            alt.Tooltip("high:Q", title="highest seed", format=".4~g"),
            alt.Tooltip("n:Q", title="seeds"),
        ]
    )
    single = runs.transform_filter("each || !datum.finished").encode(
        x=UPDATES, y=alt.Y("value:Q").title(title), color=COLOUR, detail=["experiment:N", "seed:N"]
    )
    each = single.mark_line(clip=True, strokeWidth=1, opacity=0.8).encode(strokeDash=DASH)
    crosses = single.transform_filter("datum.diverged_here").mark_point(
        shape="M-1,-1L1,1M-1,1L1,-1", size=60, strokeWidth=2, clip=True
    )
    layers = [band.add_params(_zoom()), mean, each, crosses, points]
    if quantity == "accuracy":
        layers.append(_paper_marks(title))
    return _layered(
        layers, name=quantity, shown=[], seeds=[], each=False, frame=[0, 1], start=0, end=1
    )


def _paper_marks(title: str) -> alt.Chart:
    """The paper's own numbers as diamonds, in a figure that has some."""
    marks: alt.Chart = (
        alt.Chart(alt.NamedData(name="marks"))
        .transform_filter(IS_SHOWN)
        .mark_point(shape="diamond", size=110, strokeWidth=2, fill="var(--ground)", opacity=1)
        .encode(
            x=UPDATES,
            y=alt.Y("value:Q").title(title),
            color=COLOUR,
            tooltip=[
                alt.Tooltip("title:N", title="the paper"),
                alt.Tooltip("update:Q", format=","),
                alt.Tooltip("value:Q", title=title, format=".4~g"),
            ],
        )
    )
    return marks


def _rate_chart(quantity: str, title: str) -> dict[str, Any]:
    """What each schedule sets against the update; it is the same for every seed."""
    y = alt.Y("value:Q").title(title).scale(domain=FRAME, nice=False, zero=False)
    rates = (
        alt.Chart(alt.NamedData(name="rates"))
        .transform_filter(f"datum.quantity == '{quantity}' && {IS_SHOWN}")
        .encode(x=UPDATES, y=y, color=COLOUR, detail="experiment:N")
    )
    line = rates.mark_line(clip=True, strokeWidth=1.6).encode(strokeDash=DASH)
    points = rates.mark_point(clip=True, size=50, filled=True, opacity=0).encode(
        tooltip=[
            alt.Tooltip("title:N", title="schedule"),
            alt.Tooltip("update:Q", format=","),
            alt.Tooltip("value:Q", title=title, format=".4~g"),
        ]
    )
    return _layered(
        [line.add_params(_zoom()), points], name=quantity, shown=[], frame=[0, 1], start=0, end=1
    )


def _sweep_chart(quantity: str, title: str, *, scale: Literal["linear", "log"]) -> dict[str, Any]:
    """A range test: a line for each seed, and the pair of bounds of each rule that is shown."""
    x = alt.X("lr:Q").title("rate").axis(format="~g").scale(type=scale, nice=False, zero=False)
    y = alt.Y("value:Q").title(title).scale(domain=FRAME, nice=False, zero=False)
    sweep = (
        alt.Chart(alt.NamedData(name="sweep"))
        .transform_filter(f"datum.quantity == '{quantity}' && datum.value != null")
        .encode(x=x, y=y)
    )
    line = sweep.mark_line(clip=True, strokeWidth=1.4, stroke="var(--look-1)").encode(
        detail="seed:N"
    )
    points = sweep.mark_point(clip=True, size=50, filled=True, opacity=0).encode(
        tooltip=[
            "seed:N",
            alt.Tooltip("lr:Q", title="rate", format=".3~g"),
            alt.Tooltip("value:Q", title=title, format=".4~g"),
        ]
    )
    bounds = (
        alt.Chart(alt.NamedData(name="bounds"))
        .transform_filter("indexof(shown, datum.rule) >= 0")
        .encode(
            x=x,
            color=COLOUR,
            strokeDash=DASH,
            tooltip=["rule:N", "bound:N", alt.Tooltip("lr:Q", title="rate", format=".3~g")],
        )
    )
    rules = bounds.mark_rule(clip=True, strokeWidth=2)
    layers = [line.add_params(_zoom()), rules, points]
    return _layered(layers, name=f"sweep_{quantity}_{scale}", shown=[], frame=[0, 1])


def _ensembles_chart() -> dict[str, Any]:
    """Accuracy against M, the snapshots of each run; a line through the means for each N, runs."""
    rows = (
        alt.Chart(alt.NamedData(name="ensembles"))
        .transform_filter(IS_SHOWN)
        .encode(
            x=alt.X("num_snapshots:O").title("M, snapshots of each run").axis(labelAngle=0),
            color=COLOUR,
            detail=["experiment:N", "num_runs:N"],
        )
    )
    y = alt.Y("accuracy_pct:Q").title("test accuracy (%)").scale(zero=False)
    tooltip = [
        alt.Tooltip("title:N", title="schedule"),
        alt.Tooltip("num_runs:Q", title="N, runs"),
        alt.Tooltip("num_snapshots:Q", title="M, snapshots of each"),
    ]
    accuracy = alt.Tooltip("accuracy_pct:Q", title="test accuracy (%)", format=".2f")
    points = rows.mark_point(filled=True, size=50).encode(
        y=y, tooltip=[*tooltip, alt.Tooltip("group:N", title="which runs"), accuracy]
    )
    mean = rows.mark_line(strokeWidth=2).encode(
        y=alt.Y("mean(accuracy_pct):Q").title("test accuracy (%)"),
        strokeDash=alt.StrokeDash("num_runs:O").title("N, runs"),
    )
    return _layered([mean, points], name="ensembles", shown=[])


def _zoom() -> alt.Parameter:
    """Drag to move, wheel with Ctrl or Shift to zoom, double click for the whole.

    The wheel alone scrolls the page, and so does a finger.
    """
    return alt.selection_interval(
        name="zoom",
        bind="scales",
        encodings=["x", "y"],
        zoom="wheel![event.ctrlKey || event.shiftKey]",
        translate="[pointerdown[event.pointerType == 'mouse'], window:pointerup]"
        " > window:pointermove!",
        clear="dblclick",
    )


def _layered(layers: Sequence[alt.Chart], *, name: str, **parameters: Any) -> dict[str, Any]:
    """Return a figure with its size, style and the parameters that the page sets."""
    params = [alt.param(name=key, value=value) for key, value in parameters.items()]
    size = {"type": "fit-x", "contains": "padding"}
    chart = alt.layer(*layers).properties(
        name=name, width="container", height=HEIGHT, autosize=size
    )
    specification: dict[str, Any] = chart.add_params(*params).configure(**CONFIG).to_dict()
    return specification
