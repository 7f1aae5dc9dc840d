import dataclasses
import math

import pytest
from tests.claims.test_verdict import order_claim, runs, speed_claim, value_claim

from anneal.claims.verdict import judge
from anneal.claims.words import verdicts_table


def beside(claim, *parts):
    return judge(claim, {part.experiment: part for part in parts}).like_paper


def test_median_of_five_stands_beside_the_mean():
    judged = judge(value_claim(statistic="median of 5"), {"a": runs([80.0, 81.0, 85.0])})
    found = judged.like_paper
    assert (found.statistic, found.value, found.paper) == ("median of 3", 81.0, 81.4)
    assert judged.ours.mean == 82.0
    assert (found.low, found.high, found.foretells_paper) == (None, None, None)
    assert found.words == "median of 3: 81.00 %"
    shown = verdicts_table([judged])
    assert r"82.00 ± 4.46 \[77.54, 86.46\] %<br>median of 3: 81.00 %" in shown


def test_best_is_the_highest_accuracy_and_the_lowest_loss():
    assert beside(value_claim(statistic="best"), runs([80.0, 81.0, 85.0])).value == 85.0
    claim = value_claim(
        statistic="best", metric="test_loss@final", value=0.5, tolerance=0.1, seed_sd=None
    )
    made = runs([1.0, 2.0, 3.0])
    losing = [
        dataclasses.replace(run, metrics={"test_loss@final": loss})
        for run, loss in zip(made.runs, (0.52, 0.48, 0.6), strict=True)
    ]
    found = beside(claim, dataclasses.replace(made, runs=tuple(losing)))
    assert (found.value, found.words) == (0.48, "best of 3: 0.4800")


def test_single_run_is_held_against_where_one_more_of_ours_would_fall():
    # by hand: sd 1, 4.303 * sqrt(1 + 1/3) = 4.968
    found = beside(value_claim(value=86.9), runs([81.0, 82.0, 83.0]))
    assert (found.statistic, found.value) == ("single run", None)
    assert (found.low, found.high) == pytest.approx((77.032, 86.968), abs=1e-3)
    assert found.foretells_paper is True
    assert found.words == (
        "95 % prediction interval for one more run: [77.03, 86.97] %, contains the paper's 86.9"
    )
    outside = beside(value_claim(value=87.0), runs([81.0, 82.0, 83.0]))
    assert outside.foretells_paper is False
    assert outside.words.endswith("%, does not contain the paper's 87")


def test_mean_of_five_is_held_against_the_mean_of_five_more_of_ours():
    # by hand: sd 1, 4.303 * sqrt(1/5 + 1/3) = 3.142
    found = beside(value_claim(statistic="mean of 5", value=85.5), runs([81.0, 82.0, 83.0]))
    assert (found.statistic, found.value) == ("mean of 3", 82.0)
    assert (found.low, found.high) == pytest.approx((78.858, 85.142), abs=1e-3)
    assert found.words == (
        "mean of 3: 82.00 %; 95 % prediction interval for the mean of 5 more runs: "
        "[78.86, 85.14] %, does not contain the paper's 85.5"
    )


def test_one_run_is_its_own_single_run_and_foretells_nothing():
    found = beside(value_claim(), runs([81.3]))
    assert (found.value, found.low, found.foretells_paper, found.words) == (81.3, None, None, "")
    pair = beside(order_claim(), runs([81.3]), runs([80.0], name="b"))
    assert pair.value == pytest.approx(1.3)
    assert pair.words == "single run: 81.30 against 80.00 %"


def test_where_the_paper_compares_medians_so_do_we():
    better = runs([80.0, 81.0, 85.0, 99.0])  # the last has no partner
    found = beside(order_claim(statistic="median of 5"), better, runs([80.0, 80.2, 79.0], name="b"))
    assert found.value == 1.0  # and not the median of the differences, 0.8
    assert found.words == "median of 3: 81.00 against 80.00 %"
    assert found.paper == 2.0


def test_pair_of_single_runs_is_held_against_one_more_pair():
    found = beside(order_claim(), runs([82.0, 83.0, 84.0]), runs([81.0] * 3, name="b"))
    assert (found.low, found.high) == pytest.approx((-2.968, 6.968), abs=1e-3)
    assert found.words == (
        "95 % prediction interval for one more pair: [-2.97, 6.97] points, contains the paper's 2"
    )  # 82 against 80


def test_ratio_is_foretold_by_its_logarithms():
    a = runs([81.0] * 3, reached=[250, 500, 1000])
    b = runs([81.0] * 3, name="b", reached=[1000] * 3)
    found = beside(speed_claim(), a, b)
    factor = math.exp(4.302653 * math.log(2) * math.sqrt(4 / 3))
    assert (found.low, found.high) == pytest.approx((0.5 / factor, 0.5 * factor), rel=1e-5)
    assert found.paper == 0.4
    assert beside(speed_claim(statistic="median of 5"), a, b).value == 0.5
    best = beside(speed_claim(statistic="best"), a, b)
    assert (best.value, best.words) == (0.25, "best of 3: 0.25 of the updates")
    assert beside(speed_claim(statistic="mean of 5"), a, b).value == pytest.approx(0.5)


def test_at_a_smaller_budget_ours_is_shown_and_held_against_nothing():
    part = runs([81.0, 82.0, 83.0], budget_fraction=0.1)
    found = beside(value_claim(), part)
    assert (found.paper, found.foretells_paper) == (None, None)
    assert found.words == "95 % prediction interval for one more run: [77.03, 86.97] %"
    assert beside(value_claim(statistic="median of 5"), part).value == 82.0


def test_where_nothing_was_measured_nothing_is_shown():
    assert beside(value_claim()) is None
    assert beside(value_claim(), runs([None, None, None])) is None
