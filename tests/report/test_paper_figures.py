"""The papers' figures drawn again: from data, with what is missing said."""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from anneal.claims.schema import parse_claims
from anneal.commands.stages import collect, report
from anneal.io.files import read_yaml, write_yaml
from anneal.io.text import escape_markdown
from anneal.report import paper_figures
from anneal.report.paper_figures import Mark, load_paper_figures, marks_of, read_digitised

PAPER = Path(__file__).parents[2] / "paper"
FIGURES = load_paper_figures(PAPER)


@pytest.fixture
def filled(world):
    """Two rows of Figure 1, a run of another at a tenth, and the range test of Figure 3."""
    shutil.copy(PAPER / "figures.yaml", world.root / "paper")
    shutil.copytree(PAPER / "figures_data", world.root / "paper" / "figures_data")
    world.campaign = "clr_cifar10"
    world.describe_campaign(["clr/cifar10_fixed", "clr/cifar10_triangular2"], [0, 1, 2])
    world.evaluate("clr/cifar10_fixed", {0: 81.0, 1: 81.4, 2: 81.6}, updates=700)
    world.evaluate("clr/cifar10_triangular2", {0: 81.3, 1: None}, updates=250)
    world.test_range("cifar10_caffe")
    collect.main(["clr_cifar10"])
    world.campaign, world.budget_fraction = "short", 0.1
    world.describe_campaign(["clr/cifar10_exp"], [0])
    world.evaluate("clr/cifar10_exp", {0: 60.0}, updates=70)
    collect.main(["short"])
    report.main([])
    return world


def part_about(world, figure):
    """Return what report.md says of one figure."""
    page = (world.root / "paper/report.md").read_text()
    return page.split(f"#### {figure}: ")[1].split("\n#")[0]


def test_report_has_each_figure_of_paper_with_its_caption(filled):
    page = (filled.root / "paper/report.md").read_text()
    for figure in [figure for figure in FIGURES if figure.id.startswith("clr/")]:
        place = figure.at.split(", ")[1]
        assert page.count(f"#### {place}: {escape_markdown(figure.title)}") == 1
    assert "81.4 % after 25,000" in part_about(filled, "Figure 1")


def test_figure_shows_what_there_is_and_names_what_is_missing(filled):
    said = part_about(filled, "Figure 1")
    assert "(figures/clr-figure1.svg)" in said
    missing = said.split("Missing in it, since not run at full length: ")[1]
    assert missing.strip() == "`clr/cifar10_exp`, `clr/cifar10_triangular`."
    root = ET.parse(filled.root / "paper/figures/clr-figure1.svg").getroot()
    assert root.tag.endswith("svg")


def test_figure_of_which_nothing_was_run_has_no_picture(filled):
    said = part_about(filled, "Figure 6")
    assert "Not drawn, since not run at full length: `clr/cifar10_sigmoid_bn_fixed`" in said
    assert "svg" not in said
    assert not (filled.root / "paper/figures/clr-figure6.svg").exists()


def test_range_test_figure_has_paper_points_with_their_source(filled):
    said = part_about(filled, "Figure 3")
    assert "read off the figure by eye" in said
    assert "to within 0.5 points" in said
    assert "(figures/clr-figure3.svg)" in said
    assert (filled.root / "paper/figures/clr-figure3.svg").is_file()


def test_drawing_again_changes_no_byte(filled):
    before = filled.files("paper")
    report.main([])
    assert filled.files("paper") == before


def svg_of(world, name):
    return (world.root / f"paper/figures/{name}.svg").read_text()


def test_each_of_our_numbers_and_of_the_papers_moves_the_picture(filled):
    before = {name: svg_of(filled, name) for name in ("clr-figure1", "clr-figure3")}
    claims = filled.root / "paper/claims/clr.yaml"
    claims.write_text(claims.read_text().replace("  value: 81.4\n", "  value: 71.4\n", 1))
    data = filled.root / "paper/figures_data/clr_fig3.csv"
    data.write_text(data.read_text().replace("0.02,32.8", "0.02,52.8"))
    report.main([])
    changed = {name: svg_of(filled, name) for name in before}
    assert all(changed[name] != before[name] for name in before)
    filled.campaign, filled.budget_fraction = "clr_cifar10", 1.0
    filled.evaluate("clr/cifar10_fixed", {0: 79.0, 1: 81.4, 2: 81.6}, updates=700)
    collect.main(["clr_cifar10"])
    report.main([])
    assert svg_of(filled, "clr-figure1") != changed["clr-figure1"]
    assert svg_of(filled, "clr-figure3") == changed["clr-figure3"]


def test_papers_marks_are_those_of_its_value_claims_on_that_experiment():
    claims = parse_claims(read_yaml(PAPER / "claims/clr.yaml"), where="paper/claims/clr.yaml")
    found = marks_of("clr/cifar10_exp_range", claims, total_steps=42_000)
    assert found == (Mark(update=42_000, value=82.2),)
    assert marks_of("clr/cifar10_range_test", claims, total_steps=25_000) == ()


def test_number_at_one_update_is_marked_there():
    moments = [
        paper_figures.MOMENT.fullmatch(f"test_accuracy_pct{moment}")
        for moment in ("@final", "@update_60000", "@best", "")
    ]
    assert [match and match[2] for match in moments] == [None, "60000", None, None]
    assert moments[0] is not None
    assert moments[2] is moments[3] is None


def test_figure_3_is_the_papers_21_points():
    rates, accuracies = read_digitised(PAPER / "figures_data/clr_fig3.csv")
    assert rates == pytest.approx([i / 1000 for i in range(21)])
    assert (accuracies[0], max(accuracies), accuracies[-1]) == (10.0, 50.9, 32.8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr,test_accuracy_pct\n0,10\n0.1,\n", "every line must have a rate and an accuracy"),
        ("lr,test_accuracy_pct\n0,10\n0.1,101\n", "every line must have a rate and an accuracy"),
        ("lr,test_accuracy_pct\n0.1,10\n0.1,11\n", "the rates must rise"),
        ("rate,acc\n0.1,10\n", "must have the columns lr, test_accuracy_pct"),
    ],
)
def test_digitised_data_that_are_none_are_refused(tmp_path, text, said):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"x\.csv: {said}"):
        read_digitised(path)


GOOD = {"id": "clr/f", "at": "p, Figure 1", "title": "t", "shows": "s"}
CURVES = [{"experiment": "clr/x", "label": "l"}]
READ_OFF = {"data": "no.csv", "source": "s", "error_pct": 1.0}
TEST = {"campaign": "c", "range_test": {"name": "n", "digitised": READ_OFF}}
ONE_OF = "figure clr/f: must have either curves, a range_test, ensembles or less_reference"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "must be a list of figures"),
        ([GOOD], ONE_OF),
        ([GOOD | {"curves": []}], "figure 1: curves must have at least one"),
        ([GOOD | TEST | {"curves": CURVES}], ONE_OF),
        ([GOOD | {"curves": CURVES, "ensembles": "clr/x"}], ONE_OF),
        ([GOOD | TEST], "figure clr/f: range_test.digitised.data: no.csv is missing"),
        ([GOOD | TEST | {"campaign": None}], "clr/f: campaign must say whose range_test it is"),
        ([GOOD | {"curves": CURVES, "at": "p"}], "at must be '<paper>, <figure>'"),
        ([GOOD | {"curves": CURVES}] * 2, "figure clr/f: id must be unique, it is here twice"),
        ([GOOD | {"curve": CURVES}], "unknown key 'curve'; did you mean 'curves'"),
    ],
)
def test_wrong_entry_is_refused_with_its_place(tmp_path, entries, said):
    write_yaml(tmp_path / "figures.yaml", entries)
    with pytest.raises(ValueError, match=r"^\S+/figures\.yaml: ") as refused:
        load_paper_figures(tmp_path)
    assert said in str(refused.value)


def test_paper_without_figures_has_none(tmp_path):
    assert load_paper_figures(tmp_path) == ()
