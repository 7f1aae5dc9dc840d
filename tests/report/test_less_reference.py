"""SGDR's Figure 4: what is drawn of subjects, and rows over subjects in the report."""

import dataclasses

import pytest

from anneal.config.strict import parse
from anneal.report.content import make_content
from anneal.report.less_reference import (
    LessReference,
    differences_of,
    draw_less_reference,
    restarts_of,
)
from anneal.report.paper_figures import PaperFigure, redraw
from anneal.report.redrawing import Heading
from anneal.results.campaign import CampaignResults, MeasuredExperiment
from anneal.results.curves import Point
from anneal.results.metrics import Run

SCHEDULE = {
    "name": "cosine_restarts",
    "arguments": {"min_lr": 0.0, "max_lr": 0.1, "first_cycle_steps": 20, "growth": 2},
}
ENDS = (20, 60)
ERRORS = {1: 10.0, 2: 20.0, 3: 30.0, 4: 40.0, 5: 50.0}  # of the reference, by subject
GAINS = {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: -9.0}  # at the end of the run
FIGURE = {
    "reference": "sgdr/reference",
    "rows": [
        {"label": "0.1", "colour": 0, "epochs": 30, "curve": "sgdr/row", "ensemble": "sgdr/row",
         "metric": "test_error_pct@ensemble_1x1", "baselines": {"sgdr/row": 30.0}},
    ],
}  # fmt: skip


def experiment(name):
    return MeasuredExperiment(
        name=name, title=f"a row, subject {int(name[-2:])}", paper=None, configuration_hash=name,
        budget_fraction=1.0, total_steps=60, full_total_steps=60, schedule=SCHEDULE,
        momentum_schedule=None, range_test=None,
        about={"dataset": "d", "model": "m", "optimizer": "sgd", "batch_size": 1},
    )  # fmt: skip


def run(name, error, *, seed=0, trained=True):
    points = [Point(update=u, test_accuracy_pct=100 - error - (60 - u) / 2) for u in (20, 60)]
    accuracy = {"test_accuracy_pct@final": 100 - error}
    return Run(
        seed=seed, configuration_hash=name, status="finished", updates=60 if trained else 0,
        metrics=accuracy | ({"test_accuracy_pct@ensemble_1x1": 100 - error} if trained else {}),
        curve=tuple(points) if trained else None,
    )  # fmt: skip


@pytest.fixture
def results():
    runs, experiments = {}, {}
    for n, error in ERRORS.items():
        row, reference = f"sgdr/row/subject-{n:02d}", f"sgdr/reference/subject-{n:02d}"
        experiments[row] = experiment(row)
        for seed in (0, 1):  # a point above and below
            found = run(row, error - GAINS[n] - 1 + 2 * seed, seed=seed)
            runs[row, seed, row] = found
        runs[reference, 0, "h"] = dataclasses.replace(
            run(reference, error, trained=False), configuration_hash="h"
        )
    campaign = {"name": "small", "title": "t", "experiments": ["sgdr/row"], "budget_fraction": 1.0}
    return CampaignResults(
        campaign=campaign, experiments=experiments, runs=runs, configurations={}, range_tests={}
    )


def test_differences_are_medians_over_subjects_at_each_evaluation(results):
    evidence = results.evidence()
    reference = evidence["sgdr/reference"].values("test_error_pct@final")
    assert reference == ERRORS
    points = differences_of(evidence["sgdr/row"], reference, epochs=30)
    assert [point.epoch for point in points] == [10.0, 30.0]
    assert [point.found.mean for point in points] == [20 - 2.0, -2.0]
    assert (points[-1].found.low, points[-1].found.high) == (-4.0, 9.0)  # the outermost of five
    assert restarts_of(evidence["sgdr/row"], epochs=30) == [10.0, 30.0]


def test_picture_names_what_it_shows(results):
    figure = parse(LessReference, FIGURE, where="figures.yaml")
    svg = draw_less_reference(figure, results.evidence(), Heading(title="Figure 4: some EEG"))
    for words in ("Figure 4: some EEG", "0.1: restarts", "averaged snapshots", "drops, at the end"):
        assert words in svg


def test_figure_lists_experiments_without_runs(results):
    content = make_content([results], [], [])
    entry = {"id": "sgdr/figure4", "at": "p, Figure 4", "title": "t", "shows": "s"}
    other = {"label": "x", "colour": 1, "epochs": 5, "ensemble": "sgdr/x", "metric": "m"}
    both = FIGURE | {"rows": [*FIGURE["rows"], other]}
    for rows, missing in ((FIGURE, ()), (both, ("sgdr/x",))):
        figure = parse(PaperFigure, entry | {"less_reference": rows}, where="f")
        (found,) = redraw([figure], content, paper=None)
        assert found.svg is not None
        assert found.missing == missing
        assert "over 5 subjects" in found.note
    elsewhere = parse(
        PaperFigure, entry | {"campaign": "other", "less_reference": FIGURE}, where="f"
    )
    assert redraw([elsewhere], content, paper=None)[0].svg is None


def test_report_has_one_row_for_an_experiment_over_subjects(results):
    (section,) = make_content([results], [], []).sections
    (row,) = section.rows
    assert (row.experiment.name, row.experiment.title) == ("sgdr/row", "a row")
    assert [each.seed for each in row.evidence.runs] == [0, 1]
    mean = 100 - sum(ERRORS[n] - GAINS[n] for n in ERRORS) / 5
    assert row.final.mean == pytest.approx(mean)
    assert row.evidence.runs[0].curve[-1].test_accuracy_pct == pytest.approx(mean + 1)
