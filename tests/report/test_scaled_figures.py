"""Figures from the campaign that they name: scaled down and called so, ensembles as a grid."""

import base64
import contextlib
import re
import shutil

import pytest
from tests.campaigns import PAPER
from tests.results.test_ensemble_store import GRID, evaluate

from anneal.claims.schema import parse_claims
from anneal.commands.stages import collect, report
from anneal.io.files import read_yaml, write_yaml
from anneal.report.page import unpacked
from anneal.report.paper_figures import marks_of, printed_errors
from anneal.report.redrawing import Mark, median_errors
from anneal.report.writing import load_content
from anneal.results.ensembles import ensemble_metric
from anneal.results.metrics import Evidence, Run

SHORT = "sgdr_wrn16_1_short"
ENTRY = {"at": "1506.01186v6, Figure 1", "title": "as drawn here", "shows": "Something."}
CURVES = [{"experiment": "clr/cifar10_exp", "label": "exp"}]
SGDR = parse_claims(read_yaml(PAPER / "claims/sgdr.yaml"), where="paper/claims/sgdr.yaml")
EXAMPLES = [  # the same row at full length and scaled down
    ENTRY | {"id": "clr/full", "curves": CURVES},
    ENTRY | {"id": "clr/short", "curves": CURVES, "campaign": "short"},
    ENTRY | {"id": "clr/missing", "curves": CURVES, "campaign": "other"},
]


@pytest.fixture(scope="module")
def drawn(make_world, tmp_path_factory):
    """SGDR's short campaign and grid at full length, one row of CLR at both, a range test."""
    world = make_world(tmp_path_factory.mktemp("drawn"))
    paper = world.root / "paper"
    shutil.copytree(PAPER / "figures_data", paper / "figures_data")
    for name in ("sgdr", "super_convergence"):
        shutil.copy(PAPER / f"claims/{name}.yaml", paper / "claims")
    write_yaml(paper / "figures.yaml", read_yaml(PAPER / "figures.yaml") + EXAMPLES)
    with contextlib.chdir(world.root):
        fill(world)
        report.main([])
    return world


def fill(world):
    def campaign(name, budget, experiments):
        world.campaign, world.budget_fraction = name, budget
        world.describe_campaign(experiments, [0, 1, 2])

    campaign("clr", 1.0, ["clr/cifar10_exp"])
    world.evaluate("clr/cifar10_exp", {0: 79.0, 1: 79.4, 2: 78.8}, updates=700)
    collect.main(["clr"])
    campaign("short", 0.1, ["clr/cifar10_exp"])
    world.evaluate("clr/cifar10_exp", {0: 60.0, 1: 61.0}, updates=70)
    collect.main(["short"])
    rows = [f"sgdr/cifar10_wrn16_1_{row}" for row in ("default_0.05", "t0_50", "t0_10_x2")]
    campaign(SHORT, 0.0103, rows)
    world.evaluate(rows[0], {0: 50.0, 1: 51.0, 2: 49.0})
    world.evaluate(rows[1], {0: 52.0, 1: 55.0, 2: 53.0})
    evaluate(world, GRID, name=rows[2])
    collect.main([SHORT])
    campaign("sgdr_table2", 1.0, ["sgdr/cifar10_wrn28_10_t0_10_x2"])
    evaluate(world, GRID, name="sgdr/cifar10_wrn28_10_t0_10_x2")
    collect.main(["sgdr_table2"])
    campaign("super_convergence_short", 0.025, ["super_convergence/cifar10_resnet20_clr_short"])
    world.evaluate("super_convergence/cifar10_resnet20_clr_short", {0: 70.0})
    world.test_range("cifar10_caffe_resnet20")
    collect.main(["super_convergence_short"])


def figures_of(root):
    content = load_content(results=root / "results", paper=root / "paper")
    return {figure.id: figure for figure in content.figures}


@pytest.fixture(scope="module")
def figures(drawn):
    return figures_of(drawn.root)


def test_a_figure_of_a_short_campaign_says_so_and_which_rows_are_missing(figures):
    figure = figures["sgdr/figure2_wrn16_1"]
    assert figure.title.endswith("(shorter run: 1.03 % of the paper's updates)")
    assert figure.note == (
        "Shorter run: 1.03 % of the paper's updates, campaign sgdr_wrn16_1_short; no number of the "
        "paper is drawn. A band goes from the lowest to the highest seed."
    )
    assert figure.svg
    assert figure.missing == ("sgdr/cifar10_wrn16_1_t0_200", "sgdr/cifar10_wrn16_1_t0_1_x2")
    assert figure.missing_where == f"in campaign {SHORT}"


def test_figure_without_campaign_draws_full_length_only(figures):
    figure = figures["clr/full"]
    assert figure.title == "as drawn here"
    assert figure.note.startswith("Diamonds are the paper's numbers; ")
    full = figures["sgdr/figure2_cifar10"]
    assert full.svg
    assert full.missing_where == "at full length"
    assert "sgdr/cifar10_wrn28_10_t0_50" in full.missing
    assert figures["sgdr/figure6"].svg is None


def test_a_campaign_without_results_leaves_nothing_drawn_and_is_named(figures):
    missing = figures["clr/missing"]
    assert (missing.svg, missing.missing) == (None, ("clr/cifar10_exp",))
    assert missing.missing_where == "in campaign other"


def test_the_papers_numbers_move_a_full_figure_and_never_a_scaled_down_one(
    drawn, figures, tmp_path
):
    root = shutil.copytree(drawn.root, tmp_path / "changed")
    for name, before, after in (
        ("clr", "  value: 79.1\n", "  value: 71.2\n"),
        ("sgdr", "  value: 3.25\n", "  value: 3.75\n"),
    ):
        claims = root / f"paper/claims/{name}.yaml"
        assert before in claims.read_text()
        claims.write_text(claims.read_text().replace(before, after))
    changed = figures_of(root)
    moved = {name for name, figure in figures.items() if changed[name].svg != figure.svg}
    assert moved == {"clr/figure1", "clr/figure4", "clr/full", "sgdr/figure3_cifar10"}


def test_a_row_that_was_not_run_again_at_the_campaigns_budget_is_left_out(drawn, tmp_path):
    root = shutil.copytree(drawn.root, tmp_path / "changed")
    campaign = root / "results/short/campaign.yaml"
    write_yaml(campaign, read_yaml(campaign) | {"budget_fraction": 0.05})
    figure = figures_of(root)["clr/short"]
    assert (figure.svg, figure.missing) == (None, ("clr/cifar10_exp",))


def test_a_grid_is_drawn_from_the_ensembles_of_the_campaign(drawn, figures, tmp_path):
    full, short = figures["sgdr/figure3_cifar10"], figures["sgdr/figure3_wrn16_1"]
    assert full.note.endswith("groups of N runs. The paper's numbers are below ours.")
    assert short.title.endswith("(shorter run: 1.03 % of the paper's updates)")
    assert "paper's numbers" not in short.note
    assert figures["sgdr/figure3_cifar100"].missing == (
        "ensembles of sgdr/cifar100_wrn28_10_t0_10_x2",
    )
    root = shutil.copytree(drawn.root, tmp_path / "changed")
    table = root / f"results/{SHORT}/ensembles.csv"
    text = table.read_text()
    table.write_text(text.replace(",0+1+2,3,3,97", ",0+1+2,3,3,98"))
    assert table.read_text() != text
    changed = figures_of(root)
    assert changed["sgdr/figure3_wrn16_1"].svg != short.svg
    assert changed["sgdr/figure3_cifar10"].svg == full.svg


def test_a_cell_is_the_median_error_over_groups_that_share_no_run():
    runs = [
        Run(
            seed=seed, configuration_hash="a", status="finished", updates=9,
            metrics={ensemble_metric(1, m): value + m for m in (1, 2)},
        )
        for seed, value in enumerate((90.0, 80.0, 91.0))
    ]  # fmt: skip
    evidence = Evidence(
        experiment="x",
        budget_fraction=1.0,
        runs=tuple(runs),
        ensembles={(0, 1): {ensemble_metric(2, 1): 95.5}, (0, 2): {ensemble_metric(2, 1): 99.0}},
    )
    assert median_errors(evidence) == {(1, 1): (9.0, 3), (1, 2): (8.0, 3), (2, 1): (4.5, 1)}


def test_the_grid_of_the_paper_is_its_figure_3():
    printed = printed_errors("sgdr/cifar100_wrn28_10_t0_10_x2", SGDR)
    assert sorted(printed) == [(n, m) for n in (1, 2, 3, 4, 8, 16) for m in (1, 2, 3)]
    assert (printed[1, 1], printed[4, 2], printed[16, 3]) == (19.57, 16.78, 16.21)


def test_errors_are_marked_as_accuracies_at_their_updates():
    name, epoch = "sgdr/cifar10_wrn28_10_t0_10_x2", 781
    ends = [10 * epoch, 30 * epoch, 70 * epoch, 150 * epoch]
    assert marks_of(name, SGDR, total_steps=200 * epoch, ends=ends) == (
        Mark(update=30 * epoch, value=95.63),
        Mark(update=70 * epoch, value=95.78),
        Mark(update=150 * epoch, value=95.97),
    )


def test_numbers_from_elsewhere_are_no_marks_of_the_papers_figure(drawn, tmp_path):
    root = shutil.copytree(drawn.root, tmp_path / "changed")
    entry = EXAMPLES[0] | {"at": "1608.03983v5, Figure 1"}
    write_yaml(root / "paper/figures.yaml", [EXAMPLES[0], entry | {"id": "clr/elsewhere"}])
    ours, elsewhere = figures_of(root).values()
    assert ours.svg != elsewhere.svg
    claims = root / "paper/claims/clr.yaml"
    claims.write_text(claims.read_text().replace("  value: 79.1\n", "  value: 71.2\n"))
    again, elsewhere_again = figures_of(root).values()
    assert again.svg != ours.svg
    assert elsewhere_again.svg == elsewhere.svg


def test_a_range_test_needs_no_curve_of_the_papers_and_says_its_own_length(figures):
    figure = figures["super_convergence/figure2b_short"]
    assert figure.svg
    assert figure.title.endswith("the range test (shorter run: 390 updates)")
    assert "The paper's points" not in figure.note
    assert figures["clr/figure3"].missing == ("range test cifar10_caffe",)


def test_page_and_text_have_every_figure(drawn, figures):
    page = (drawn.root / "paper/report.html").read_text()
    text = (drawn.root / "paper/report.md").read_text()
    at_once = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)"', page)
    packed = re.findall(r'id="picture-[^"]+">(.*?)</script>', unpacked(page), re.DOTALL)
    images = {*map(base64.b64decode, at_once), *(text.encode() for text in packed)}
    shown = [figure for figure in figures.values() if figure.svg]
    first = figures["clr/figure1"]
    still = [figure for figure in shown if not figure.curves]
    assert page.count("<img") == len(at_once) + len(packed) == len(still) + bool(first.svg)
    files = [drawn.root / "paper/figures" / figure.file for figure in shown]
    assert all(file.is_file() for file in files)
    assert images == {figure.svg.encode() for figure in (*still, *[first] * bool(first.svg))}
    moving = [figure for figure in shown if figure.curves]
    assert len(moving) > 3
    for figure in moving:
        assert page.count(f'data-figure="figure {figure.id}"') == 1
        assert f'href="figures/{figure.file}"' in page
    for figure in figures.values():
        assert page.count(f'id="figure-{figure.id.replace("/", "-")}"') == 1
        assert (f"(figures/{figure.file})" in text) == (figure in shown)
    assert "since not run in campaign other: <code>clr/cifar10_exp</code>." in page
    assert "since not run in campaign other: `clr/cifar10_exp`." in text
