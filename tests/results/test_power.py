import itertools
import math

import numpy as np
import pytest
from scipy import stats

from anneal.results.power import MOST_RUNS, chances_to_settle, runs_to_settle
from anneal.results.statistics import joint_interval, mean_interval, paired_interval

DRAWS = 3000  # know a chance of 0.8 to 0.0073, of 0.5 to 0.0091 (one sd)


def chance(n, **arguments):
    return chances_to_settle(**arguments)[n - 3]


def settled_share(find, *, n, mean, sd, edges, num_together, draws=DRAWS):
    """How often real intervals of normal samples lie on one side of every edge."""
    rng = np.random.default_rng(100 * n + num_together)
    sides = list(itertools.pairwise([-math.inf, *edges, math.inf]))
    settled = 0
    for sample in rng.normal(mean, sd, size=(draws, n)):
        found = joint_interval(find, sample.tolist(), num_together=num_together)
        settled += any(low < found.low and found.high < high for low, high in sides)
    return settled / draws


@pytest.mark.parametrize("shift", [0.2, 0.5, 1.0, 2.0, 3.0])
def test_with_one_edge_the_chance_is_that_of_the_noncentral_t(shift):
    n = np.arange(3, MOST_RUNS + 1)
    quantile, away = stats.t.ppf(0.975, n - 1), shift * np.sqrt(n)
    exact = stats.nct.sf(quantile, n - 1, away) + stats.nct.cdf(-quantile, n - 1, away)
    found = chances_to_settle(mean=81.4 + 0.3 * shift, sd=0.3, edges=[81.4])
    known = np.isfinite(exact)  # far out, where the chance is 1, scipy gives NaN
    assert known[:8].sum() > 4
    np.testing.assert_allclose(found[known], exact[known], rtol=0, atol=0.0015)  # measured 0.0009
    assert np.all(found[~known] > 0.999)


@pytest.mark.parametrize(
    ("n", "num_together"), [(3, 1), (5, 1), (8, 1), (5, 5), (8, 5), (12, 5), (40, 10)]
)
def test_between_two_edges_the_chance_is_that_of_simulated_campaigns(n, num_together):
    where = {"mean": 81.5, "sd": 0.3, "edges": [80.8, 82.0], "num_together": num_together}
    simulated = settled_share(mean_interval, n=n, **where)
    # four sd of the simulation at the chance that is nearest to a half; measured 0.011
    assert chance(n, **where) == pytest.approx(simulated, abs=0.037)


@pytest.mark.parametrize(
    ("n", "num_together"), [(4, 1), (6, 1), (8, 1), (10, 1), (6, 5), (8, 5), (9, 5), (11, 5)]
)
def test_for_pairs_the_chance_is_that_of_simulated_sign_flips(n, num_together):
    where = {"mean": 0.5, "sd": 0.4, "edges": [0.0], "num_together": num_together}
    simulated = settled_share(paired_interval, n=n, draws=1500, **where)
    # two simulations of 1,500 and 2,000 differ by 0.017 (one sd); from n = 11 on Student's t stands
    # in for sign flips: 0.03 above them at 99 %
    assert chance(n, paired=True, **where) == pytest.approx(simulated, abs=0.06)


def test_six_pairs_are_settled_when_all_six_are_on_one_side():
    # the interval reaches from the smallest to the largest: a closed form, 0.9**6
    shift = stats.norm.ppf(0.9)
    found = chance(6, mean=shift, sd=1.0, edges=[0.0], paired=True)
    assert found == pytest.approx(0.9**6, abs=0.04)  # four sd of 2,000 samples; measured 0.006
    assert chance(6, mean=shift, sd=1.0, edges=[0.0]) > found + 0.1  # Student's t is not it


def test_the_number_of_runs_is_the_first_that_reaches_the_chance():
    where = {"mean": 81.4, "sd": 0.3, "edges": [80.8, 82.0]}
    n = runs_to_settle(**where)
    assert chance(n - 1, **where) < 0.8 <= chance(n, **where)
    assert runs_to_settle(chance=0.99, **where) > n
    assert runs_to_settle(num_together=10, **where) > n


def test_a_mean_on_an_edge_is_settled_by_no_number_of_runs():
    assert runs_to_settle(mean=80.8, sd=0.3, edges=[80.8, 82.0]) is None
    assert runs_to_settle(mean=80.8, sd=0.0, edges=[80.8, 82.0]) is None
    assert runs_to_settle(mean=80.9, sd=0.0, edges=[80.8, 82.0]) == 3


def test_a_spread_below_nothing_and_no_edge_are_refused():
    with pytest.raises(ValueError, match=r"sd must not be negative, got -1"):
        runs_to_settle(mean=0.0, sd=-1, edges=[1.0])
    with pytest.raises(ValueError, match="edges must hold at least one number"):
        runs_to_settle(mean=0.0, sd=1, edges=[])
