import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anneal.statistics import (
    mean_interval,
    paired_interval,
    ratio_interval,
    seeds_to_settle,
    student_half_width,
)

finite = st.floats(-1e3, 1e3)


def test_the_interval_of_three_runs_is_the_one_in_the_textbook():
    found = mean_interval([81.0, 82.0, 83.0])
    assert found.mean == 82.0
    assert found.sd == 1.0
    assert found.n == 3
    # with two degrees of freedom the quantile has a closed form; tables print 4.303
    half = 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025)) / math.sqrt(3)
    assert found.low == pytest.approx(82 - half, rel=1e-12)
    assert found.high == pytest.approx(82 + half, rel=1e-12)


@given(st.lists(finite, min_size=2, max_size=30).filter(lambda v: max(v) - min(v) > 1e-3))
def test_the_interval_is_scipys(values):
    found = mean_interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert found.low == pytest.approx(low, rel=1e-9, abs=1e-9)
    assert found.high == pytest.approx(high, rel=1e-9, abs=1e-9)


def test_a_single_run_has_a_mean_and_no_interval():
    found = mean_interval([81.4])
    assert (found.mean, found.low, found.high, found.half_width) == (81.4, None, None, None)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_nothing_and_what_is_not_finite_have_no_interval(values):
    with pytest.raises(ValueError, match=r"at least one value|must be finite"):
        mean_interval(values)


@pytest.mark.parametrize("n", [3, 5, 9, 12])
def test_students_interval_covers_the_true_mean_in_95_of_100_repetitions(n):
    rng = np.random.default_rng(n)
    covered = [
        found.low <= 81.4 <= found.high
        for sample in rng.normal(81.4, 0.3, size=(2000, n))
        for found in [mean_interval(sample.tolist())]
    ]
    # 2,000 repetitions know 0.95 to +- 0.0049 (one sd); measured 0.9445 to 0.9525
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_the_bootstrap_of_ten_runs_would_be_too_narrow():
    rng = np.random.default_rng(3)
    covered = []
    for sample in rng.normal(0, 1, size=(400, 10)):
        draws = rng.choice(sample, size=(800, 10)).mean(axis=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        covered.append(low <= 0 <= high)
    assert np.mean(covered) < 0.93  # measured 0.90: why Student's t serves at every n


def test_five_pairs_use_student_and_six_use_sign_flips():
    differences = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert paired_interval(differences[:5]).method == "Student's t"
    assert paired_interval(differences).method == "exact sign flips"


def test_six_pairs_reach_from_the_smallest_to_the_largest_difference():
    # 2**6 = 64 patterns: one on each side is 1.6 %, two would be 3.1 %, more than 2.5 %
    found = paired_interval([0.2, -0.1, 0.4, 0.3, 0.5, 0.1])
    assert (found.low, found.high) == (-0.1, 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_the_sign_flip_interval_holds_what_the_test_does_not_reject(seed):
    differences = np.random.default_rng(seed).normal(0.3, 1, size=7)
    found = paired_interval(differences.tolist())
    signs = np.array(list(itertools.product([1, -1], repeat=7)))

    def rejected(centre):  # the naive two-sided test, each side at 2.5 %
        sums = signs @ (differences - centre)
        own = (differences - centre).sum()
        above = np.mean(sums >= own - 1e-12)
        below = np.mean(sums <= own + 1e-12)
        return min(above, below) <= 0.025

    for inside in np.linspace(found.low + 1e-6, found.high - 1e-6, 9):
        assert not rejected(inside)
    assert rejected(found.low - 1e-6)
    assert rejected(found.high + 1e-6)


@pytest.mark.parametrize("n", [6, 8])
def test_sign_flips_cover_at_least_95_of_100_for_skew_free_noise(n):
    rng = np.random.default_rng(n)
    covered = [
        found.low <= 0.5 <= found.high
        for sample in 0.5 + rng.standard_t(3, size=(1500, n))  # heavy tails, evenly spread
        for found in [paired_interval(sample.tolist())]
    ]
    assert np.mean(covered) > 0.95 - 0.015  # exact: 62/64 and 244/256 (0.953)


def test_ratios_are_averaged_as_their_logarithms():
    found = ratio_interval([0.25, 0.5, 1.0])
    assert found.mean == pytest.approx(0.5, rel=1e-12)
    half = student_half_width(sd=math.log(2), n=3)
    assert found.low == pytest.approx(0.5 * math.exp(-half), rel=1e-12)
    with pytest.raises(ValueError, match="positive and finite, got 0"):
        ratio_interval([0.5, 0.0])


def test_seeds_to_settle_is_the_first_n_whose_half_width_fits():
    n = seeds_to_settle(mean=81.4, sd=0.3, edges=[80.8, 82.0])
    assert student_half_width(sd=0.3, n=n) < 0.6 <= student_half_width(sd=0.3, n=n - 1)
    assert seeds_to_settle(mean=80.8, sd=0.3, edges=[80.8, 82.0]) is None
    assert seeds_to_settle(mean=81.4, sd=0.0, edges=[80.8]) == 3
