import dataclasses
import math

import numpy as np
import pytest
from scipy import special, stats

from anneal.results.curves import Point
from anneal.results.metrics import Evidence, Run
from anneal.results.network_prior import (
    NetworkPrior,
    find_priors,
    fit_prior,
    prior_of,
    spread,
)
from anneal.results.setting import Setting

FINAL = "test_accuracy_pct@final"
NETWORK = ("cifar10", "net")
FALLING = {
    "name": "step_decay",
    "arguments": {"initial_lr": 1.0, "milestones": [50], "factor": 0.1},
}
CONSTANT = {"name": "constant", "arguments": {"lr": 1.0}}
PRIOR = NetworkPrior(df=4.0, variance=0.1, optimizers=frozenset({"sgd"}))


def row(name, finals, *, optimizer="sgd", schedule=FALLING, images=10_000, budget=1.0, hash_=None):
    runs = tuple(
        Run(
            seed=seed,
            configuration_hash=hash_ or name,
            status="diverged" if final is None else "finished",
            updates=100,
            metrics={} if final is None else {FINAL: final},
            curve=(Point(update=40, test_accuracy_pct=50.0), Point(update=100)),
        )
        for seed, final in enumerate(finals)
    )
    setting = Setting(
        dataset=NETWORK[0],
        model=NETWORK[1],
        optimizer=optimizer,
        schedule=schedule,
        total_steps=100,
        test_images=images,
    )
    return Evidence(experiment=name, budget_fraction=budget, runs=runs, setting=setting)


def network(*rows):
    return find_priors({part.experiment: part for part in rows})


THREE = (
    row("a", [80.0, 80.2, 80.4]),
    row("b", [81.0, 81.1, 81.5]),
    row("c", [79.0, 79.3, 79.1]),
)


def test_prior_of_smyths_formulas_is_recomputed_by_hand():
    variances, degrees = [0.02, 0.03, 0.05, 0.08, 0.12, 0.9], [2, 4, 4, 2, 4, 2]
    half = np.array(degrees) / 2
    e = np.log(variances) - special.digamma(half) + np.log(half)
    excess = np.var(e, ddof=1) - np.mean(special.polygamma(1, half))
    df, variance = fit_prior(variances, degrees)
    assert special.polygamma(1, df / 2) == pytest.approx(excess, rel=1e-9)  # below the cap
    assert math.log(variance) == pytest.approx(
        np.mean(e) + special.digamma(df / 2) - math.log(df / 2), rel=1e-9
    )


def test_prior_finds_the_variance_that_rows_are_drawn_from():
    rng = np.random.default_rng(3)
    variances = 0.2 * 8 / rng.chisquare(8, 4000) * rng.chisquare(4, 4000) / 4
    df, variance = fit_prior(variances.tolist(), [4] * 4000)
    assert (df, variance) == (4.0, pytest.approx(0.2, rel=0.05))  # 8 degrees, capped


@pytest.mark.parametrize(("rows", "degrees"), [(2, 5), (3, 1)])
def test_too_few_rows_or_runs_give_no_prior(rows, degrees):
    assert fit_prior([0.1] * rows, [degrees] * rows) is None


def test_rows_of_one_network_at_full_budget_make_its_prior():
    found = network(*THREE)[NETWORK]
    variances = [np.var([*part.values(FINAL).values()], ddof=1) for part in THREE]
    assert (found.df, found.variance) == fit_prior(variances, [2, 2, 2])
    assert found.optimizers == {"sgd"}
    other = dataclasses.replace(THREE[2].setting, model="another")
    assert network(*THREE[:2], dataclasses.replace(THREE[2], setting=other)) == {}
    assert network(*THREE[:2], dataclasses.replace(THREE[2], setting=None)) == {}
    assert network(*THREE[:2], dataclasses.replace(THREE[2], budget_fraction=0.5)) == {}


def test_single_and_diverged_runs_tell_nothing_of_the_spread():
    base = network(*THREE)
    assert network(*THREE, row("d", [75.0])) == base
    assert network(*THREE, row("d", [75.0, None])) == base
    assert network(*THREE, row("d", [75.0, 76.0])) != base


def test_of_equal_configurations_the_one_with_more_runs_counts():
    fewer = row("d", [81.0, 85.0], hash_="a")
    assert network(*THREE, fewer) == network(fewer, *THREE) == network(*THREE)


def test_unannealed_row_lends_a_quarter_of_its_variance():
    high = row("c", [79.0, 79.6, 79.2], schedule=CONSTANT)  # twice the spread of c
    assert network(*THREE[:2], high)[NETWORK].variance == pytest.approx(
        network(*THREE)[NETWORK].variance, rel=1e-9
    )


def test_equal_runs_spread_by_one_test_image():
    found = network(*THREE[:2], row("c", [79.0] * 3))[NETWORK]
    image = network(*THREE[:2], row("c", [79.0, 79.01, 79.0 - 0.01]))[NETWORK]  # variance 0.0001
    assert found.variance == pytest.approx(image.variance, rel=1e-6)
    assert network(*THREE[:2], row("c", [79.0] * 3, images=None)) == {}


def test_rate_at_a_tenth_of_the_highest_is_annealed():
    setting = THREE[0].setting
    assert setting.is_unannealed(50)  # the update at index 49 has the full rate
    assert not setting.is_unannealed(51)
    assert dataclasses.replace(setting, schedule=CONSTANT).is_unannealed(100)


def test_spread_of_few_runs_is_moderated_and_of_five_its_own():
    assert spread(None, 1, PRIOR) == (0.1, 4.0)
    assert spread(0.04, 3, PRIOR) == pytest.approx(((4 * 0.1 + 2 * 0.04) / 6, 6.0))
    assert spread(0.04, 3, PRIOR, units=4) == pytest.approx(((4 * 0.4 + 2 * 0.04) / 6, 6.0))
    assert spread(0.04, 5, PRIOR) == (0.04, 4.0)
    assert spread(0.04, 3, None) == (0.04, 2.0)
    assert spread(0.04, 2, None) is spread(None, 1, None) is None


def test_row_noisier_than_its_network_borrows_nothing():
    edge = stats.f.ppf(0.75, 2, 4) * 0.1
    assert spread(edge * 1.001, 3, PRIOR) == (pytest.approx(edge * 1.001), 2.0)
    assert spread(edge * 0.999, 3, PRIOR)[1] == 6.0


def test_spread_of_arrays_is_that_of_each_element():
    own = np.array([0.01, 0.1, 0.5, 2.0])
    priors = NetworkPrior(
        df=np.array([2.7, 4.0, 4.0, 1.0]), variance=np.array([0.1, 0.1, 0.2, 0.1])
    )
    variance, df = spread(own, 3, priors)
    for i, value in enumerate(own):
        one = NetworkPrior(df=float(priors.df[i]), variance=float(priors.variance[i]))
        assert (variance[i], df[i]) == pytest.approx(spread(float(value), 3, one))


def test_units_count_the_rate_the_optimizer_and_both_rows_of_an_order():
    priors = {NETWORK: PRIOR}
    annealed, high = THREE[0], row("h", [70.0], schedule=CONSTANT)
    foreign = row("f", [70.0], optimizer="adam", schedule=CONSTANT)

    def units(*cells):
        found = prior_of(cells, priors)
        return found and found[1]

    assert units((annealed, FINAL)) == 1
    assert units((annealed, "test_error_pct@final")) == 1
    assert units((annealed, "test_accuracy_pct@update_40")) == 4
    assert units((high, FINAL)) == 4
    assert units((foreign, FINAL)) == 16
    assert units((annealed, FINAL), (foreign, FINAL)) == 17


@pytest.mark.parametrize(
    "metric",
    ["test_loss@final", "test_top5_error_pct@final", "test_accuracy_pct@ensemble_1x3"],
)
def test_losses_top5_and_ensembles_have_no_prior(metric):
    assert prior_of([(THREE[0], metric)], {NETWORK: PRIOR}) is None


def test_rows_of_different_networks_have_no_common_prior():
    other = dataclasses.replace(THREE[1].setting, model="another")
    moved = dataclasses.replace(THREE[1], setting=other)
    priors = {NETWORK: PRIOR, other.network: PRIOR}
    assert prior_of([(THREE[0], FINAL), (moved, FINAL)], priors) is None
