import numpy as np
import pytest
from scipy import stats

from anneal.results.equivalence import Tolerance, level_for, place
from anneal.results.network_prior import NetworkPrior, spread
from anneal.results.power import (
    MOST_RUNS,
    chance_of_verdict,
    chances_to_tell_apart,
    pairs_to_tell_apart,
    runs_to_verdict,
)
from anneal.results.statistics import paired_interval

DRAWS = 4000  # know a chance of 0.8 to 0.0063, of 0.5 to 0.0079 (one sd)
BETWEEN = Tolerance(low=80.8, high=82.0, paper=81.4, paper_runs=1.0)


def told_apart_share(*, n, mean, sd, draws=1500):
    """How often real intervals of normal differences exclude 0."""
    rng = np.random.default_rng(100 * n + 1)
    found = [paired_interval(sample.tolist()) for sample in rng.normal(mean, sd, size=(draws, n))]
    return np.mean([one.low > 0 or one.high < 0 for one in found])


@pytest.mark.parametrize("mean", [81.5, 80.1])
@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_chance_of_a_verdict_is_that_of_simulated_campaigns(n, mean):
    prior = NetworkPrior(df=4.0, variance=0.1)
    samples = np.random.default_rng(n).normal(mean, 0.3, (DRAWS, n))
    settled = 0
    for sample in samples:
        seen = spread(float(sample.var(ddof=1)), n, prior)
        where = place(sample.mean(), *seen, n, tolerance=BETWEEN, level=level_for(n))
        settled += bool(where.inside or where.lower or where.higher)
    found = chance_of_verdict(n, mean=mean, sd=0.3, tolerance=BETWEEN, prior=prior)
    assert found == pytest.approx(settled / DRAWS, abs=0.03)


def test_number_of_runs_is_the_first_that_reaches_the_chance():
    where = {"mean": 81.4, "sd": 0.3, "tolerance": BETWEEN}
    n = runs_to_verdict(**where)
    assert chance_of_verdict(n - 1, **where) < 0.8 <= chance_of_verdict(n, **where)
    assert runs_to_verdict(chance=0.99, **where) > n


def test_mean_on_an_edge_is_settled_by_no_number_of_runs():
    assert runs_to_verdict(mean=80.8, sd=0.3, tolerance=BETWEEN) is None
    assert runs_to_verdict(mean=80.9, sd=0.0, tolerance=BETWEEN) == 3


@pytest.mark.parametrize("shift", [0.2, 0.5, 1.0, 2.0, 3.0])
def test_chance_to_tell_apart_is_that_of_the_noncentral_t(shift):
    n = np.arange(3, MOST_RUNS + 1)
    quantile, away = stats.t.ppf(0.975, n - 1), shift * np.sqrt(n)
    exact = stats.nct.sf(quantile, n - 1, away) + stats.nct.cdf(-quantile, n - 1, away)
    found = chances_to_tell_apart(mean=0.3 * shift, sd=0.3)
    by_flips = (n >= 6) & (n <= 10)
    known = np.isfinite(exact) & ~by_flips  # far out, where the chance is 1, scipy gives NaN
    assert known[:3].all()
    np.testing.assert_allclose(found[known], exact[known], rtol=0, atol=0.0015)
    assert np.all(found[~known & ~by_flips] > 0.999)


@pytest.mark.parametrize("n", [4, 6, 8, 10, 11])
def test_chance_to_tell_apart_is_that_of_simulated_sign_flips(n):
    where = {"mean": 0.5, "sd": 0.4}
    found = chances_to_tell_apart(**where)[n - 3]
    assert found == pytest.approx(told_apart_share(n=n, **where), abs=0.06)


def test_six_pairs_are_told_apart_when_all_six_are_on_one_side():
    # the interval reaches from the smallest to the largest: a closed form, 0.9**6
    shift = stats.norm.ppf(0.9)
    found = chances_to_tell_apart(mean=shift, sd=1.0)[3]
    assert found == pytest.approx(0.9**6, abs=0.04)  # four sd of 2,000 samples


def test_spread_below_nothing_is_refused():
    with pytest.raises(ValueError, match=r"sd must not be negative, got -1"):
        pairs_to_tell_apart(mean=0.0, sd=-1)
    assert pairs_to_tell_apart(mean=0.0, sd=0.0) is None
    assert pairs_to_tell_apart(mean=0.1, sd=0.0) == 3
