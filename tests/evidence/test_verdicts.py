import dataclasses

import pytest

from anneal.claims import SpeedClaim, parse_claims
from anneal.curves import Point
from anneal.judging import judge
from anneal.metrics import Evidence, Run
from anneal.tables import ours_words, paper_words, verdicts_table

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
    # sd 0.3: half-widths 0.745 at 3 runs, 0.477 at 4
    assert found.reason == (
        "one run can settle nothing; with the expected seed spread (sd 0.3) about 3 more would"
    )
    without = judge(value_claim(seed_sd=None), {"a": runs([81.4, 81.5])})
    assert without.reason == "two runs can settle nothing; at least 1 more"


def test_a_straddling_interval_says_how_many_more_would_settle_it():
    found = judge(value_claim(), {"a": runs([81.0, 81.4, 81.8])})
    # sd 0.4, distance 0.6: half-widths 0.636 at 4 runs, 0.497 at 5
    assert found.reason == "the interval straddles an edge of the tolerance; about 2 more seeds " \
        "would settle it"  # fmt: skip


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
        ([400, 400], [1000, 1000], "inconclusive"),
    ],
)
def test_speed_is_the_ratio_of_updates_to_the_target(faster, slower, expected):
    a = runs([81.0] * len(faster), reached=faster)
    b = runs([81.0] * len(slower), name="b", reached=slower)
    assert verdict(speed_claim(), a, b) == expected


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
    assert paper_words(speed_claim()) == "0.4 of the updates to 80 % ± 0.1"
    speed = judge(
        speed_claim(),
        {"a": runs([81.0] * 3, reached=[400] * 3), "b": runs([81.0] * 3, reached=[1000] * 3)},
    )
    assert ours_words(speed) == "0.40 [0.40, 0.40] of the updates"
    assert isinstance(speed.claim, SpeedClaim)
