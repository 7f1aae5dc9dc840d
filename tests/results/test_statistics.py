import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anneal.results.statistics import (
    mean_interval,
    paired_interval,
    prediction_interval,
    ratio_interval,
    student_half_width,
    subset_means,
)

finite = st.floats(-1e3, 1e3)


def test_interval_of_three_runs_is_the_one_in_the_textbook():
    found = mean_interval([81.0, 82.0, 83.0])
    assert found.mean == 82.0
    assert found.sd == 1.0
    assert found.n == 3
    # with two degrees of freedom the quantile has a closed form; tables print 4.303
    half = 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025)) / math.sqrt(3)
    assert found.low == pytest.approx(82 - half, rel=1e-12)
    assert found.high == pytest.approx(82 + half, rel=1e-12)


@given(st.lists(finite, min_size=2, max_size=30).filter(lambda v: max(v) - min(v) > 1e-3))
def test_interval_is_scipys(values):
    found = mean_interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert found.low == pytest.approx(low, rel=1e-9, abs=1e-9)
    assert found.high == pytest.approx(high, rel=1e-9, abs=1e-9)


def test_single_run_has_a_mean_and_no_interval():
    found = mean_interval([81.4])
    assert (found.mean, found.low, found.high, found.half_width) == (81.4, None, None, None)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_nothing_and_what_is_not_finite_have_no_interval(values):
    with pytest.raises(ValueError, match=r"at least one value|must be finite"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize("n", [3, 5, 9, 12])
def test_students_interval_covers_the_true_mean_as_often_as_it_says(n, confidence):
    samples = np.random.default_rng(n).normal(81.4, 0.3, size=(20_000, n))
    half = student_half_width(sd=1.0, n=n, confidence=confidence) * samples.std(axis=1, ddof=1)
    covered = np.mean(np.abs(samples.mean(axis=1) - 81.4) <= half)
    # 20,000 repetitions know 0.95 to 0.0015, 0.99 to 0.0007 (one sd); measured within 0.001
    assert covered == pytest.approx(
        confidence, abs=4 * math.sqrt(confidence * (1 - confidence) / 20_000)
    )
    one = mean_interval(samples[0].tolist(), confidence=confidence)
    assert one.half_width == pytest.approx(half[0], rel=1e-9)  # the interval is this one


def test_bootstrap_of_ten_runs_would_be_too_narrow():
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
def test_sign_flip_interval_holds_what_the_test_does_not_reject(seed):
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


# by hand: at n pairs each side gives away `depth` of 2**n patterns
@pytest.mark.parametrize(("n", "depth"), [(6, 1), (7, 3), (8, 6), (9, 12), (10, 25)])
@pytest.mark.parametrize("noise", ["normal", "heavy"])
def test_sign_flips_cover_as_often_as_their_patterns_say(n, depth, noise):
    rng = np.random.default_rng(n)
    draw = rng.standard_normal if noise == "normal" else lambda size: rng.standard_t(3, size)
    samples = 0.5 + draw((4000, n))
    means = np.sort(subset_means(samples), axis=1)
    lows, highs = means[:, depth - 1], means[:, -depth]
    exact = 1 - 2 * depth / 2**n  # 0.969, 0.953, 0.953, 0.953, 0.951, whatever the even noise is
    covered = np.mean((lows <= 0.5) & (highs >= 0.5))
    # 4,000 repetitions know it to 0.0034 (one sd); measured within 0.0067
    assert covered == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))
    for row in range(20):  # the interval is this one
        found = paired_interval(samples[row].tolist())
        assert (found.low, found.high) == pytest.approx((lows[row], highs[row]), rel=1e-12)


@pytest.mark.parametrize(
    "differences",
    [
        [0.4, 0.1, 0.3, -0.1],
        [0.2, -0.1, 0.4, 0.3, 0.5],
        [1.0, 1.0, 2.0],
    ],
)
def test_below_six_pairs_the_interval_is_scipys_paired_t(differences):
    found = paired_interval(differences)
    for confidence in (0.95, 0.99):
        found = paired_interval(differences, confidence=confidence)
        theirs = stats.ttest_1samp(differences, 0.0).confidence_interval(confidence)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-10)
        # an end is where the test's p value is 1 - confidence
        p = stats.ttest_1samp(differences, found.low).pvalue
        assert p == pytest.approx(1 - confidence, rel=1e-9)


@pytest.mark.parametrize("n", [6, 7, 8])
def test_from_six_pairs_the_interval_is_scipys_permutation_test_inverted(n):
    rng = np.random.default_rng(n)
    better, worse = rng.normal(0.3, 1, n), rng.normal(0, 1, n)

    def p_value(centre):
        found = stats.permutation_test(
            (better - centre, worse),
            lambda a, b, axis: np.mean(a - b, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
        )
        return found.pvalue

    found = paired_interval((better - worse).tolist())
    assert found.method == "exact sign flips"
    for inside in np.linspace(found.low + 1e-6, found.high - 1e-6, 5):
        assert p_value(inside) > 0.05
    assert p_value(found.low - 1e-6) <= 0.05
    assert p_value(found.high + 1e-6) <= 0.05


def test_subset_means_of_three_are_the_seven_one_can_write_down():
    expected = [1.0, 2.0, 6.0, 1.5, 3.5, 4.0, 3.0]
    assert sorted(subset_means(np.array([1.0, 2.0, 6.0]))) == sorted(expected)
    both = subset_means(np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]]))
    assert both.shape == (2, 7)
    assert sorted(both[1]) == [0.0, 0.0, 0.0, 1.0, 1.5, 1.5, 3.0]


def test_ratios_are_averaged_as_their_logarithms():
    found = ratio_interval([0.25, 0.5, 1.0])
    assert found.mean == pytest.approx(0.5, rel=1e-12)
    half = student_half_width(sd=math.log(2), n=3)
    assert found.low == pytest.approx(0.5 * math.exp(-half), rel=1e-12)
    with pytest.raises(ValueError, match="positive and finite, got 0"):
        ratio_interval([0.5, 0.0])


@pytest.mark.parametrize("n", [3, 5])
def test_interval_of_ratios_covers_the_true_ratio(n):
    rng = np.random.default_rng(n)
    samples = 0.357 * np.exp(rng.normal(0, 0.2, size=(3000, n)))
    covered = [found.low <= 0.357 <= found.high for found in map(ratio_interval, samples.tolist())]
    # 3,000 repetitions know 0.95 to 0.004 (one sd); measured 0.945 and 0.956
    assert np.mean(covered) == pytest.approx(0.95, abs=0.016)


@pytest.mark.parametrize(("n", "num_ahead"), [(3, 1), (5, 1), (3, 5)])
def test_prediction_interval_holds_the_next_runs(n, num_ahead):
    rng = np.random.default_rng(10 * n + num_ahead)
    ours, theirs = rng.normal(81, 0.3, (3000, n)), rng.normal(81, 0.3, (3000, num_ahead))
    held = []
    for sample, following in zip(ours.tolist(), theirs.mean(axis=1), strict=True):
        low, high = prediction_interval(sample, num_ahead=num_ahead)
        held.append(low <= following <= high)
    # one sd is 0.004; measured 0.945 to 0.957 (the mean's interval holds 0.84, 0.68 and 0.92)
    assert np.mean(held) == pytest.approx(0.95, abs=0.016)


def test_one_run_foretells_nothing():
    assert prediction_interval([81.4]) is None
