import dataclasses
import itertools

import pytest
from scipy import stats

from anneal.claims.schema import SpeedClaim, parse_claims
from anneal.claims.verdict import judge
from anneal.claims.words import ours_words, paper_words, verdicts_table
from anneal.results.curves import Point
from anneal.results.metrics import Evidence, Run

SOURCE = {"paper": "1506.01186v6", "at": "Table 1", "confidence": "A"}
FINAL = "test_accuracy_pct@final"


def value_claim(**changes):
    entry = {
        "id": "clr/a",
        "kind": "value",
        "text": "a reaches 81.4 %",
        "source": SOURCE,
        "metric": FINAL,
        "statistic": "single run",
        "experiments": ["a"],
        "value": 81.4,
        "tolerance": 0.6,
        "tolerance_reason": "seed spread",
        "seed_sd": 0.3,
    }
    return parse_claims([entry | changes], where="paper/claims/clr.yaml")[0]


def order_claim(**changes):
    entry = {
        "id": "clr/order",
        "kind": "order",
        "text": "a above b",
        "source": SOURCE,
        "metric": FINAL,
        "statistic": "single run",
        "experiments": ["a", "b"],
        "values": [82.0, 80.0],
        "margin": 0.0,
        "margin_reason": "the order",
    }
    return parse_claims([entry | changes], where="paper/claims/clr.yaml")[0]


def speed_claim(**changes):
    entry = {
        "id": "clr/speed",
        "kind": "speed",
        "text": "a is sooner than b",
        "source": SOURCE,
        "metric": "test_accuracy_pct",
        "statistic": "single run",
        "experiments": ["a", "b"],
        "target": 80.0,
        "target_tolerance": 0.0,
        "ratio": 0.4,
        "tolerance": 0.1,
        "tolerance_reason": "seed spread",
    }
    return parse_claims([entry | changes], where="paper/claims/clr.yaml")[0]


def runs(values, *, name="a", budget_fraction=1.0, reached=None, length=1000):
    """Runs with these final values (None: diverged) and updates at which 80 % is reached."""
    made = []
    for seed, value in enumerate(values):
        at = reached[seed] if reached else None
        points = [Point(update=1, test_accuracy_pct=10.0)]
        if at is not None:
            points.append(Point(update=at, test_accuracy_pct=80.0))
            if at < length:
                points.append(Point(update=length, test_accuracy_pct=80.0))
        made.append(
            Run(
                seed=seed,
                configuration_hash="0" * 12,
                status="diverged" if value is None else "finished",
                updates=length,
                metrics={} if value is None else {FINAL: value},
                curve=tuple(points),
            )
        )
    return Evidence(experiment=name, budget_fraction=budget_fraction, runs=tuple(made))


def verdict(claim, *parts):
    return judge(claim, {part.experiment: part for part in parts}).verdict


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([81.3, 81.4, 81.5], "reproduced"),
        ([83.0, 83.1, 83.2], "higher"),
        ([79.0, 79.1, 79.2], "lower"),
        ([80.7, 80.8, 80.9], "too close to call"),  # the mean is on the edge
        ([79.0, 81.4, 83.8], "too close to call"),  # wider than the tolerance on both sides
        ([81.4], "one run"),
        ([79.0], "one run"),  # of a network whose spread nobody knows
        ([81.4, 81.4], "one run"),  # and two tell no spread either
        ([], "not run"),
    ],
)
def test_value_is_held_against_its_tolerance(values, expected):
    assert verdict(value_claim(), runs(values)) == expected


def test_interval_that_decides_is_the_90_percent_one():
    # by hand: sd 0.2, t(0.90, 2) = 2.920, 2.920 * 0.2 / sqrt(3) = 0.337; the 95 % one is 0.497
    found = judge(value_claim(), {"a": runs([81.4, 81.6, 81.8])})
    assert (found.verdict, found.ours.confidence) == ("reproduced", 0.90)
    assert (found.ours.low, found.ours.high) == pytest.approx((81.2628, 81.9372), abs=1e-4)
    assert "81.60 ± 0.34" in ours_words(found)


def test_paper_of_a_single_run_guards_against_a_chance_difference():
    # the interval [79.69, 80.71] is wholly below 80.8; one run of the paper's may be 1.5 lower
    ours = {"a": runs([79.9, 80.2, 80.5])}
    guarded = judge(value_claim(), ours)
    assert guarded.verdict == "too close to call"
    assert "the paper's own number may be as far off by chance" in guarded.reason
    assert judge(value_claim(statistic="mean of 20"), ours).verdict == "lower"
    assert judge(value_claim(statistic="best of 5"), ours).verdict == "lower"
    assert judge(value_claim(statistic="runs not stated"), ours).verdict == "lower"


def test_confidence_is_the_part_of_students_t_inside_the_tolerance():
    found = judge(value_claim(), {"a": runs([80.6, 80.8, 81.0])})
    error = 0.2 / 3**0.5
    expected = stats.t.cdf(1.2 / error, 2) - stats.t.cdf(0.0, 2)
    assert found.confidence == pytest.approx(expected, rel=1e-9)
    assert found.reason.startswith(
        "0.60 points below the paper (80.80 against 81.4, 3 runs); 50 % sure that it is within 0.6"
    )


def test_one_run_without_a_prior_says_how_many_more_are_needed():
    found = judge(value_claim(), {"a": runs([81.4])})
    assert found.reason == (
        "one run is not enough for a verdict; with the expected seed spread (sd 0.3) 3 more seeds "
        "would settle it with a chance of 80 %"
    )
    assert found.num_more == 3
    without = judge(value_claim(seed_sd=None), {"a": runs([81.4])})
    assert without.reason == "one run is not enough for a verdict; at least 2 more"
    assert without.num_more is None


def test_verdict_too_close_says_how_many_more_seeds_would_settle_it():
    found = judge(value_claim(), {"a": runs([81.0, 81.4, 81.8])})
    assert found.verdict == "too close to call"
    assert found.reason.endswith("; 3 more seeds would settle it with a chance of 80 %")
    assert found.num_more == 3
    on_edge = judge(value_claim(), {"a": runs([80.7, 80.8, 80.9])})
    assert on_edge.num_more is None
    assert on_edge.reason.endswith(
        "even 200 seeds would not settle it with a chance of 80 %, so close is it to the edge"
    )


def test_row_that_spreads_over_most_of_its_tolerance_is_marked_noisy():
    assert judge(value_claim(), {"a": runs([81.0, 81.4, 81.9])}).is_noisy  # sd 0.45 of 0.6
    assert not judge(value_claim(), {"a": runs([81.0, 81.4, 81.8])}).is_noisy  # 0.40


def test_claim_is_post_hoc_where_a_run_is_older_than_the_rule():
    def started(*when):
        made = runs([81.3, 81.4, 81.5])
        changed = tuple(
            dataclasses.replace(run, environment={"started": at} if at else {})
            for run, at in zip(made.runs, when, strict=True)
        )
        return judge(value_claim(), {"a": dataclasses.replace(made, runs=changed)}).is_post_hoc

    later = "2026-12-01T00:00:00Z"
    assert not started(later, later, later)
    assert started(later, "2026-11-25T06:54:03Z", later)
    assert started(later, later, None)


def test_order_is_paired_by_seed():
    # unpaired, the spread between seeds (2 points) would drown a difference of 0.2
    better = runs([80.2, 81.2, 82.21])
    worse = runs([80.0, 81.0, 82.0], name="b")
    found = judge(order_claim(), {"a": better, "b": worse})
    assert found.verdict == "reproduced"
    assert found.ours.mean == pytest.approx(0.2033, abs=1e-4)
    turned = order_claim(experiments=["b", "a"])
    assert verdict(turned, better, worse) == "not the paper's order"


def test_only_seeds_that_both_rows_have_make_pairs():
    found = judge(order_claim(), {"a": runs([81.0, 81.1, 81.2, 99.0]), "b": runs([80.0] * 2)})
    assert (found.n, found.verdict) == (2, "one run")


def test_only_seeds_that_both_rows_have_make_ratios():
    a = runs([81.0] * 4, reached=[400, 400, 400, 900])
    found = judge(speed_claim(), {"a": a, "b": runs([81.0] * 3, name="b", reached=[1000] * 3)})
    assert (found.n, found.verdict) == (3, "reproduced")
    assert found.ours.mean == pytest.approx(0.4, rel=1e-12)


def test_no_worse_than_a_margin_needs_no_difference():
    parts = runs([80.0, 80.1, 79.9]), runs([80.0, 80.0, 80.0], name="b")
    assert verdict(order_claim(margin=-0.6), *parts) == "reproduced"
    assert verdict(order_claim(margin=0.0), *parts) == "too close to call"


@pytest.mark.parametrize(
    ("faster", "slower", "expected"),
    [
        ([390, 400, 410], [1000, 1000, 1000], "reproduced"),
        ([190, 200, 210], [1000, 1000, 1000], "lower"),
        ([890, 900, 910], [1000, 1000, 1000], "higher"),
        ([300, 500, 800], [1000, 1000, 1000], "too close to call"),
        ([None, None, 400], [1000, 1000, 1000], "one run"),  # two of three condemn nothing
        ([None] * 5, [1000] * 5, "not reproduced"),
        ([None] * 5, [None] * 5, "too close to call"),  # the target is out of reach here
        ([None] * 4, [1000] * 4, "too close to call"),  # by chance in one of sixteen
        ([None] * 7 + [400], [1000] * 8, "not reproduced"),
        ([None] * 6 + [400] * 2, [1000] * 8, "one run"),
        ([400, 400, 400, 400, None], [1000] * 5, "too close to call"),
        ([390, 400, 410], [None, None, None], "too close to call"),  # the ratio may be smaller
        ([890, 900, 910], [None, None, None], "too close to call"),
        ([890, 900, 910], [1000, None, 1000], "too close to call"),
        ([190, 200, 210], [None, None, None], "lower"),  # however long it might have taken
        ([1000, 1000, 1000], [1000, 1000, 1000], "higher"),  # ties
        ([500, 500, 500], [1000, 1000, 1000], "reproduced"),  # on the edge, which is allowed
        ([501, 501, 501], [1000, 1000, 1000], "higher"),
        ([400], [1000], "one run"),
        ([390, 410], [1000, 1000], "one run"),
    ],
)
def test_speed_is_the_ratio_of_updates_to_the_target(faster, slower, expected):
    a = runs([81.0] * len(faster), reached=faster)
    b = runs([81.0] * len(slower), name="b", reached=slower)
    assert verdict(speed_claim(), a, b) == expected


def test_runs_of_different_lengths_are_compared_by_their_updates():
    # the praised row is 25,000 long, the other 70,000: the length of the other stands in, not ours
    def ratio(slower):
        found = judge(
            speed_claim(ratio=0.357, tolerance=0.05),
            {
                "a": runs([81.0] * 3, reached=[24_000] * 3, length=25_000),
                "b": runs([81.0] * 3, name="b", reached=slower, length=70_000),
            },
        )
        return found.verdict, round(found.ours.mean, 4)

    assert ratio([60_000] * 3) == ("reproduced", 0.4)
    assert ratio([None] * 3) == ("too close to call", round(24 / 70, 4))
    assert ratio([50_000] * 3) == ("higher", 0.48)


def test_runs_that_never_reached_the_target_are_said():
    def reason(faster, slower):
        a = runs([81.0] * len(faster), reached=faster)
        b = runs([81.0] * len(slower), name="b", reached=slower)
        return judge(speed_claim(), {"a": a, "b": b}).reason

    assert reason([None] * 5, [1000] * 5) == "5 of 5 runs of a never reached the target"
    assert reason([None] * 3, [None] * 3) == (
        "3 of 3 runs of a never reached the target, and none of b did"
    )
    assert reason([400, 400, 400, 400, None], [1000] * 5) == (
        "1 of 5 runs of a never reached the target; the others alone would say reproduced"
    )
    assert reason([None, 400], [1000] * 2) == (
        "one pair is not enough for a verdict; at least 2 more; 1 of 2 runs of a never reached "
        "the target"
    )
    assert reason([390, 400, 410], [1000, None, 1000]) == (
        "0.40 of the updates against 0.4, 3 pairs; longer runs of the other row would tell, more "
        "seeds would not; 1 of 3 runs of b never reached the target and count with their full "
        "length"
    )


def test_what_is_printed_is_what_condemns():
    a = runs([81.0] * 8, reached=[None] * 7 + [400])
    found = judge(speed_claim(), {"a": a, "b": runs([81.0] * 8, name="b", reached=[1000] * 8)})
    assert ours_words(found) == "7 of 8 runs of a never reached the target"


def test_log_rank_test_of_three_runs_errs_twice_as_often_as_it_says():
    # why it does not judge: of all 20 ways to deal six ranks, equally likely where nothing differs,
    # it calls 2 significant at 5 %
    significant = 0
    for chosen in itertools.combinations(range(1, 7), 3):
        others = [rank for rank in range(1, 7) if rank not in chosen]
        significant += stats.logrank(chosen, others).pvalue < 0.05
    assert significant == 2


def test_diverged_run_is_counted_and_takes_a_good_verdict_back():
    found = judge(value_claim(), {"a": runs([81.3, 81.4, 81.5, 81.4, None])})
    assert (found.verdict, found.n, found.num_diverged) == ("too close to call", 4, 1)
    assert found.reason == "1 of 5 runs of a diverged; the others alone would say reproduced"
    assert "4 (+1 diverged)" in verdicts_table([found])


def test_number_that_a_diverged_run_left_is_in_no_mean():
    made = runs([81.3, 81.4, 81.5, None])
    left = dataclasses.replace(made.runs[3], metrics={FINAL: 10.0})
    found = judge(value_claim(), {"a": dataclasses.replace(made, runs=(*made.runs[:3], left))})
    assert (found.n, found.num_diverged) == (3, 1)
    assert found.ours.mean == pytest.approx(81.4, rel=1e-12)


def test_diverged_run_does_not_soften_a_bad_verdict():
    found = judge(value_claim(), {"a": runs([70.0, 70.1, 70.2, None])})
    assert found.verdict == "lower"
    assert found.reason.endswith("1 of 4 runs of a diverged")


def test_where_half_of_the_runs_diverge_nothing_is_reproduced():
    assert verdict(value_claim(), runs([81.4, 81.4, None, None])) == "not reproduced"
    assert verdict(value_claim(), runs([None, None, None])) == "not reproduced"
    assert verdict(value_claim(), runs([None])) == "one run"


def test_pair_whose_worse_run_diverged_is_left_out():
    better, worse = runs([82.0, 82.1, 82.2, 82.0]), runs([80.0, 80.1, 80.0, None], name="b")
    found = judge(order_claim(), {"a": better, "b": worse})
    assert (found.verdict, found.n, found.num_diverged) == ("reproduced", 3, 1)
    assert verdict(order_claim(), runs([82.0, 82.1, 82.2, None]), worse) == "too close to call"


def test_words_of_a_claim_hold_its_numbers():
    assert paper_words(value_claim()) == "81.4 % ± 0.6"
    assert paper_words(order_claim(margin=-0.6)) == "82 against 80 %, not worse by more than 0.6"
    assert paper_words(speed_claim()) == "0.4 ± 0.1 of the updates to 80 %"
    speed = judge(
        speed_claim(),
        {"a": runs([81.0] * 3, reached=[400] * 3), "b": runs([81.0] * 3, reached=[1000] * 3)},
    )
    assert ours_words(speed) == "0.40 [0.40, 0.40] of the updates"
    assert isinstance(speed.claim, SpeedClaim)


def test_rows_of_different_budgets_are_not_compared():
    parts = {"a": runs([81.0] * 3), "b": runs([70.0] * 3, name="b", budget_fraction=0.1)}
    found = judge(order_claim(), parts)
    assert (found.verdict, found.ours, found.n) == ("shorter run", None, 0)
    assert found.reason == "rows run at 0.1 and 1 of the paper's budget are not compared"
