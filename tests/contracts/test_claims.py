from pathlib import Path

import pytest

from anneal.report.paper_figures import load_paper_figures
from anneal.report.sources import load_claims, load_deviations
from anneal.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
CLAIMS = load_claims(ROOT / "paper" / "claims")
FIGURES = load_paper_figures(ROOT / "paper")
DEVIATIONS = load_deviations(ROOT / "paper" / "deviations.yaml")

# CLR, Table 1 as printed in 1506.01186v6, written down apart from the claims
TABLE_1 = {
    "clr/cifar10_fixed": 81.4,
    "clr/cifar10_triangular2": 81.4,
    "clr/cifar10_decay": 78.5,
    "clr/cifar10_exp": 79.1,
    "clr/cifar10_exp_range": 82.2,
}


def experiments_of(entries):
    return sorted({name for entry in entries for name in entry.experiments})


@pytest.mark.parametrize("name", experiments_of(CLAIMS))
def test_every_claim_is_about_an_experiment_that_exists(name):
    assert (ROOT / "conf" / "experiment" / f"{name}.yaml").is_file()


@pytest.mark.parametrize("name", experiments_of(DEVIATIONS))
def test_every_deviation_touches_an_experiment_that_exists(name):
    assert (ROOT / "conf" / "experiment" / f"{name}.yaml").is_file()


def test_the_cifar10_rows_of_table_1_are_all_claimed():
    values = {c.experiments[0]: c.value for c in CLAIMS if c.kind == "value"}
    assert values == TABLE_1


def test_every_claim_says_why_its_tolerance_is_what_it_is():
    for claim in CLAIMS:
        reason = claim.margin_reason if claim.kind == "order" else claim.tolerance_reason
        assert len(reason.split()) >= 5, claim.id


def test_ids_are_unique_over_all_files():
    ids = [claim.id for claim in CLAIMS]
    assert len(ids) == len(set(ids))


def test_the_papers_numbers_of_one_row_agree_between_claims():
    for claim in CLAIMS:
        if claim.kind == "order":
            assert claim.values == tuple(TABLE_1[name] for name in claim.experiments), claim.id


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.id)
def test_every_figure_is_of_experiments_or_a_range_test_that_exist(figure):
    for curve in figure.curves:
        assert (ROOT / "conf" / "experiment" / f"{curve.experiment}.yaml").is_file()
    if figure.range_test:
        campaign = read_yaml(ROOT / "conf" / "campaign" / f"{figure.range_test.campaign}.yaml")
        assert figure.range_test.name in campaign["campaign"]["range_tests"]
    assert figure.id.split("/")[0] in {claim.id.split("/")[0] for claim in CLAIMS}
