"""Data of the interactive figures, as JSON rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from anneal.io.svg import COLOURS, DASHES
from anneal.range_test.figure import MOST_LOSS
from anneal.range_test.record import RangeTestRecord
from anneal.report.content import Redrawn, ReportRow, Section
from anneal.report.figures import settled_frame
from anneal.results.curves import Curve, series

DASH_PATTERNS = dict(zip(DASHES, ([1, 0], [6, 4], [2, 3], [8, 3, 2, 3]), strict=True))
QUANTITIES = {
    "accuracy": "test_accuracy_pct",
    "train_loss": "train_loss",
    "test_loss": "test_loss",
}
FALL_PART = 0.05  # of a run, in which a loss may be above the frame


def look_of(place: int) -> dict[str, Any]:
    """Return colour and dashes of a place in the campaign, as in the other figures."""
    dashes = DASHES[place // len(COLOURS) % len(DASHES)]
    return {"colour": f"var(--look-{place % len(COLOURS)})", "dash": DASH_PATTERNS[dashes]}


def curves_data(rows: Sequence[ReportRow]) -> dict[str, Any]:
    """Return the curves of one group of experiments: of every run, and the rates of each schedule.

    Numbers are the committed CSV's; each series is a list of updates and a list of values.
    """
    shown = [row for row in rows if any(run.curve for run in row.evidence.runs)]
    curves = [run.curve for row in shown for run in row.evidence.runs if run.curve]
    frames = {
        name: settled_frame(curves, column)
        if name == "accuracy"
        else settled_frame(curves, column, skipped_part=FALL_PART, higher_is_better=False)
        for name, column in QUANTITIES.items()
    }
    frames["best"] = frames["accuracy"]
    charts = [name for name in ("accuracy", "best", "train_loss", "test_loss") if frames[name]]
    experiments = [_experiment(row) for row in shown]
    rates = [
        name
        for name in ("lr", "momentum")
        if any(name == "lr" or _varies(one["rates"][name]) for one in experiments)
    ]
    return {
        "charts": charts + rates,
        "frames": {name: [round(end, 6) for end in frames[name] or ()] for name in charts}
        | {name: _frame_of_rates(name, experiments) for name in rates},
        "experiments": experiments,
        "seeds": sorted({run.seed for row in shown for run in row.evidence.runs}),
        "end": max((curve[-1].update for curve in curves), default=0),
    }


def group_key(campaign: str, about: str) -> str:
    """Return the name of a group's curves among the data of the page."""
    return f"{campaign}: {about}"


def redrawn_data(figure: Redrawn, sections: Sequence[Section]) -> dict[str, Any]:
    """Return a paper's figure over curves that the page has already, with the paper's numbers.

    Each experiment says under ``of`` whose curves are its own.
    """
    groups = {
        (section.name, row.experiment.name): (group_key(section.name, about), row)
        for section in sections
        for about, rows in section.groups.items()
        for row in rows
    }
    found = [groups[curve.campaign, curve.experiment] for curve in figure.curves]
    curves = [run.curve for _, row in found for run in row.evidence.runs if run.curve]
    marks = [
        [curve.experiment, update, value]
        for curve in figure.curves
        for update, value in curve.marks
    ]
    low, high = settled_frame(curves, QUANTITIES["accuracy"]) or (0.0, 100.0)
    values = [value for curve in figure.curves for _, value in curve.marks]
    return {
        "charts": ["accuracy"],
        "frames": {"accuracy": [min([low, *values]) - 1, max([high, *values]) + 1]},
        "experiments": [
            look_of(curve.look) | {"name": curve.experiment, "title": curve.label, "of": key}
            for curve, (key, _) in zip(figure.curves, found, strict=True)
        ],
        "marks": marks,
        "seeds": sorted({run.seed for _, row in found for run in row.evidence.runs}),
        "end": round(1.02 * max((curve[-1].update for curve in curves), default=0)),
    }


def _experiment(row: ReportRow) -> dict[str, Any]:
    runs = [run for run in row.evidence.runs if run.curve]
    longest = max((run.curve or () for run in runs), key=lambda curve: curve[-1].update)
    return look_of(row.look) | {
        "name": row.experiment.name,
        "title": row.experiment.title,
        "runs": [
            {
                "seed": run.seed,
                "finished": run.finished,
                "series": {
                    name: series(run.curve or (), column) for name, column in QUANTITIES.items()
                },
            }
            for run in runs
        ],
        "rates": {name: _corners(longest, name) for name in ("lr", "momentum")},
    }


def _corners(curve: Curve, column: str) -> tuple[list[int], list[float]]:
    """Return a series without the points between two of the same value."""
    updates, values = series(curve, column)
    last = len(values) - 1
    kept = [
        i
        for i in range(len(values))
        if i in (0, last) or not values[i - 1] == values[i] == values[i + 1]
    ]
    return [updates[i] for i in kept], [values[i] for i in kept]


def _frame_of_rates(name: str, experiments: Sequence[Mapping[str, Any]]) -> list[float]:
    values = [value for one in experiments for value in one["rates"][name][1]]
    return [0.0, round(1.05 * max(values, default=1.0), 9)] if name == "lr" else _with_room(*values)


def _varies(found: tuple[list[int], list[float]]) -> bool:
    return bool(found[1]) and max(found[1]) - min(found[1]) > 1e-9


def sweep_data(test: RangeTestRecord) -> dict[str, Any]:
    """Return the curves of one range test and the bounds of each rule that gives a pair."""
    curves = list(test.curves.values())
    scale = "linear" if curves[0].sweep == "linear" else "log"
    rows = [
        (seed, point)
        for seed, curve in test.curves.items()
        for point in curve.points
        if scale == "linear" or point.lr > 0
    ]
    points = [point for _, point in rows]
    losses = [point.train_loss for point in points if point.train_loss is not None]
    early = [p.train_loss for curve in curves for p in curve.points[: len(curve.points) // 2 + 1]
             if p.train_loss is not None]  # fmt: skip
    accuracies = [point.accuracy_pct for point in points if point.accuracy_pct is not None]
    frames = {}
    if accuracies:
        frames[f"sweep_accuracy_{scale}"] = _with_room(*accuracies)
    if losses and early:
        highest = min(max(losses), MOST_LOSS * max(early))
        frames[f"sweep_train_loss_{scale}"] = _with_room(min(losses), highest)
    return {
        "charts": list(frames),
        "frames": frames,
        "rule": test.rule,
        "columns": {
            "seed": [seed for seed, _ in rows],
            "lr": [float(f"{point.lr:.6g}") for point in points],
            "accuracy": [point.accuracy_pct for point in points],
            "train_loss": [point.train_loss for point in points],
        },
        "rules": [
            look_of(place) | {"rule": rule, "base_lr": found.base_lr, "max_lr": found.max_lr}
            for place, (rule, found) in enumerate(test.readings.items(), start=2)
            if found.found
        ],
    }


def _with_room(*values: float) -> list[float]:
    low, high = min(values), max(values)
    room = 0.05 * ((high - low) or 1.0)
    return [round(low - room, 6), round(high + room, 6)]


def ensembles_data(section: Section) -> dict[str, Any]:
    """Return what ensembles reached, with the looks of the experiments they come from."""
    rows = {row.experiment.name: row for row in section.rows}
    names = list(dict.fromkeys(one.experiment for one in section.ensembles))
    experiments = [
        look_of(rows[name].look if name in rows else place)
        | {"name": name, "title": rows[name].experiment.title if name in rows else name}
        for place, name in enumerate(names)
    ]
    return {
        "charts": ["ensembles"],
        "frames": {},
        "experiments": experiments,
        "rows": [
            [one.experiment, one.num_runs, one.num_snapshots, one.group, one.accuracy_pct]
            for one in section.ensembles
        ],
    }
