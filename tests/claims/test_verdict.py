import dataclasses
import itertools

import numpy as np
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
        ([83.0, 83.1, 83.2], "better"),
        ([79.0, 79.1, 79.2], "not reproduced"),
        ([80.7, 80.8, 80.9], "inconclusive"),  # the mean is on the edge
        ([79.0, 81.4, 83.8], "inconclusive"),  # wider than the tolerance on both sides
        ([81.4], "inconclusive"),
        ([81.4, 81.4], "inconclusive"),
        ([79.0, 79.0], "inconclusive"),  # two runs settle nothing, however far off
        ([], "not run"),
    ],
)
def test_a_value_is_held_against_its_tolerance(values, expected):
    assert verdict(value_claim(), runs(values)) == expected


def test_for_a_loss_better_is_below():
    claim = value_claim(metric="test_loss@final", value=0.5, tolerance=0.1, seed_sd=None)

    def losing(*losses):
        made = runs(losses)
        changed = [
            dataclasses.replace(run, metrics={"test_loss@final": loss})
            for run, loss in zip(made.runs, losses, strict=True)
        ]
        return dataclasses.replace(made, runs=tuple(changed))

    assert verdict(claim, losing(0.1, 0.11, 0.12)) == "better"
    assert verdict(claim, losing(0.9, 0.91, 0.92)) == "not reproduced"


def test_one_run_says_how_many_more_would_settle_it():
    found = judge(value_claim(), {"a": runs([81.4])})
    assert found.reason == (
        "one run can settle nothing; with the expected seed spread (sd 0.3) 4 more seeds would "
        "settle it with a chance of 80 %"
    )
    assert found.num_more == 4
    without = judge(value_claim(seed_sd=None), {"a": runs([81.4, 81.5])})
    assert (without.reason, without.num_more) == (
        "two runs can settle nothing; at least 1 more",
        None,
    )


def test_a_straddling_interval_says_how_many_more_would_settle_it():
    found = judge(value_claim(), {"a": runs([81.0, 81.4, 81.8])})
    assert found.reason == (
        "the interval straddles an edge of the tolerance; if mean and spread stay as they are, "
        "4 more seeds would settle it with a chance of 80 %"
    )
    assert found.num_more == 4  # were the mean known to stay, 2: half-width 0.497 at 5 runs
    on_edge = judge(value_claim(), {"a": runs([80.7, 80.8, 80.9])})
    assert on_edge.num_more is None
    assert on_edge.reason.endswith(
        "even 200 would not settle it with a chance of 80 %, so close is it to the edge"
    )


def test_orders_and_ratios_say_how_many_more_would_settle_them():
    better, worse = runs([80.45, 80.15, 80.75]), runs([80.0] * 3, name="b")
    order = judge(order_claim(), {"a": better, "b": worse})
    assert order.verdict == "inconclusive"
    # 1.5 sd away: six pairs have a chance of 0.65 by sign flips (0.83 by Student's t), seven 0.88
    assert order.num_more == 4
    a = runs([81.0] * 3, reached=[300, 500, 400])
    b = runs([81.0] * 3, name="b", reached=[1000] * 3)
    speed = judge(speed_claim(), {"a": a, "b": b})
    assert speed.num_more == 8  # log(0.5 / 0.391) = 0.245 against an sd of 0.256
    assert "if mean and spread stay as they are, 8 more seeds would" in speed.reason
    one = judge(speed_claim(seed_sd=0.1), {"a": runs([81.0], reached=[300]), "b": b})
    assert one.num_more == 2  # log(0.5 / 0.3) = 0.511: five sd away, but three runs are the fewest
    assert "expected seed spread (sd 0.1) 2 more seeds would settle it" in one.reason


def test_order_is_paired_by_seed():
    # unpaired, the spread between seeds (2 points) would drown a difference of 0.2
    better = runs([80.2, 81.2, 82.21])
    worse = runs([80.0, 81.0, 82.0], name="b")
    found = judge(order_claim(), {"a": better, "b": worse})
    assert found.verdict == "reproduced"
    assert found.ours.mean == pytest.approx(0.2033, abs=1e-4)
    assert verdict(order_claim(experiments=["b", "a"]), better, worse) == "not reproduced"


def test_only_seeds_that_both_rows_have_make_pairs():
    found = judge(order_claim(), {"a": runs([81.0, 81.1, 81.2, 99.0]), "b": runs([80.0] * 2)})
    assert (found.n, found.verdict) == (2, "inconclusive")


def test_only_seeds_that_both_rows_have_make_ratios():
    a = runs([81.0] * 4, reached=[400, 400, 400, 900])
    found = judge(speed_claim(), {"a": a, "b": runs([81.0] * 3, name="b", reached=[1000] * 3)})
    assert (found.n, found.verdict) == (3, "reproduced")
    assert found.ours.mean == pytest.approx(0.4, rel=1e-12)


def test_no_worse_than_a_margin_needs_no_difference():
    parts = runs([80.0, 80.1, 79.9]), runs([80.0, 80.0, 80.0], name="b")
    assert verdict(order_claim(margin=-0.6), *parts) == "reproduced"
    assert verdict(order_claim(margin=0.0), *parts) == "inconclusive"


@pytest.mark.parametrize(
    ("faster", "slower", "expected"),
    [
        ([390, 400, 410], [1000, 1000, 1000], "reproduced"),
        ([190, 200, 210], [1000, 1000, 1000], "better"),
        ([890, 900, 910], [1000, 1000, 1000], "not reproduced"),
        ([300, 500, 800], [1000, 1000, 1000], "inconclusive"),
        ([None, None, 400], [1000, 1000, 1000], "not reproduced"),  # censored: never there
        ([400, 400, 400, 400, None], [1000] * 5, "inconclusive"),
        ([390, 400, 410], [None, None, None], "reproduced"),  # the full length stands in
        ([890, 900, 910], [None, None, None], "inconclusive"),  # it might have taken for ever
        ([890, 900, 910], [1000, None, 1000], "inconclusive"),
        ([190, 200, 210], [None, None, None], "better"),  # however long it might have taken
        ([None, None, None], [1000, 1000, 1000], "not reproduced"),
        ([None, None, None], [None, None, None], "not reproduced"),  # nobody reached it
        ([None, 400, 400], [1000, 1000, 1000], "inconclusive"),  # one of three: two pairs are left
        ([1000, 1000, 1000], [1000, 1000, 1000], "not reproduced"),  # ties
        ([500, 500, 500], [1000, 1000, 1000], "reproduced"),  # on the edge, which is allowed
        ([501, 501, 501], [1000, 1000, 1000], "not reproduced"),
        ([400, 400], [1000, 1000], "inconclusive"),
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
    assert ratio([None] * 3) == ("reproduced", round(24 / 70, 4))
    assert ratio([50_000] * 3) == ("not reproduced", 0.48)


def test_runs_that_never_reached_the_target_are_said():
    def reason(faster, slower):
        a = runs([81.0] * len(faster), reached=faster)
        b = runs([81.0] * len(slower), name="b", reached=slower)
        return judge(speed_claim(), {"a": a, "b": b}).reason

    assert reason([None] * 3, [1000] * 3) == "3 of 3 runs of a never reached the target"
    assert reason([None] * 3, [None] * 3) == (
        "3 of 3 runs of a never reached the target, and none of b did"
    )
    assert reason([400, 400, 400, 400, None], [1000] * 5) == (
        "1 of 5 runs of a never reached the target; the others alone would say reproduced"
    )
    assert reason([None, 400, 400], [1000] * 3) == (
        "two runs can settle nothing; at least 1 more; 1 of 3 runs of a never reached the target"
    )
    assert reason([390, 400, 410], [1000, None, 1000]) == (
        "the interval is as fast as claimed; 1 of 3 runs of b never reached the target and count "
        "with their full length"
    )
    assert reason([890, 900, 910], [None] * 3) == (
        "the interval is not wholly as fast as claimed; longer runs of b would tell, more seeds "
        "would not; 3 of 3 runs of b never reached the target and count with their full length"
    )


def test_false_speed_claim_rarely_holds_when_slower_row_is_short():
    # true ratio 0.55, claimed at most 0.5; the other row is cut at its median time to the target
    rng = np.random.default_rng(6)
    called = {"reproduced": 0, "not reproduced": 0}
    for _ in range(150):
        faster = np.round(5500 * np.exp(rng.normal(0, 0.1, 5))).astype(int).tolist()
        slower = np.round(10_000 * np.exp(rng.normal(0, 0.1, 5))).astype(int).tolist()
        cut = [update if update <= 10_000 else None for update in slower]
        a = runs([81.0] * 5, reached=faster, length=20_000)
        b = runs([81.0] * 5, name="b", reached=cut, length=10_000)
        found = verdict(speed_claim(), a, b)
        called[found] = called.get(found, 0) + 1
    # the ratio to the restricted time is larger, 0.57: far below one side of 5 % (one sd 0.013)
    assert called["reproduced"] / 150 <= 0.025 + 2 * 0.013
    assert called["inconclusive"] > 100  # nearly always one is cut, and then it is not called false


def test_the_log_rank_test_of_three_runs_errs_twice_as_often_as_it_says():
    # why it does not judge: of all 20 ways to deal six ranks, equally likely where nothing differs,
    # it calls 2 significant at 5 %
    significant = 0
    for chosen in itertools.combinations(range(1, 7), 3):
        others = [rank for rank in range(1, 7) if rank not in chosen]
        significant += stats.logrank(chosen, others).pvalue < 0.05
    assert significant == 2


def test_a_diverged_run_is_counted_and_takes_a_good_verdict_back():
    found = judge(value_claim(), {"a": runs([81.3, 81.4, 81.5, 81.4, None])})
    assert (found.verdict, found.n, found.num_diverged) == ("inconclusive", 4, 1)
    assert found.reason == "1 of 5 runs of a diverged; the others alone would say reproduced"
    assert "4 (+1 diverged)" in verdicts_table([found])


def test_a_number_that_a_diverged_run_left_is_in_no_mean():
    made = runs([81.3, 81.4, 81.5, None])
    left = dataclasses.replace(made.runs[3], metrics={FINAL: 10.0})
    found = judge(value_claim(), {"a": dataclasses.replace(made, runs=(*made.runs[:3], left))})
    assert (found.n, found.num_diverged) == (3, 1)
    assert found.ours.mean == pytest.approx(81.4, rel=1e-12)


def test_a_diverged_run_does_not_soften_a_bad_verdict():
    found = judge(value_claim(), {"a": runs([70.0, 70.1, 70.2, None])})
    assert found.verdict == "not reproduced"
    assert found.reason.endswith("1 of 4 runs of a diverged")


def test_where_half_of_the_runs_diverge_nothing_is_reproduced():
    assert verdict(value_claim(), runs([81.4, 81.4, None, None])) == "not reproduced"
    assert verdict(value_claim(), runs([None, None, None])) == "not reproduced"
    assert verdict(value_claim(), runs([None])) == "inconclusive"


def test_a_pair_whose_worse_run_diverged_is_left_out():
    better, worse = runs([82.0, 82.1, 82.2, 82.0]), runs([80.0, 80.1, 80.0, None], name="b")
    found = judge(order_claim(), {"a": better, "b": worse})
    assert (found.verdict, found.n, found.num_diverged) == ("reproduced", 3, 1)
    assert verdict(order_claim(), runs([82.0, 82.1, 82.2, None]), worse) == "inconclusive"


def test_the_words_of_a_claim_hold_its_numbers():
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
    assert (found.verdict, found.label, found.ours, found.n) == (None, "scaled-down", None, 0)
    assert found.reason == "rows run at 0.1 and 1 of the paper's budget are not compared"
