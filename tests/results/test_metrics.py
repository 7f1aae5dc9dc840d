"""Names of metrics, and the one place in which an accuracy becomes an error."""

import pytest

from anneal.claims.schema import parse_claims
from anneal.claims.verdict import judge
from anneal.results.curves import Point
from anneal.results.metrics import METRICS, Evidence, Run, find_metric, restate


def run(seed, *, status="finished", curve=None, **metrics):
    named = {f"test_accuracy_pct@{moment}": value for moment, value in metrics.items()}
    return Run(
        seed=seed,
        configuration_hash="0" * 12,
        status=status,
        updates=100,
        metrics=named,
        curve=curve,
    )


def evidence(*runs, name="a", **ensembles):
    """Evidence with these runs; an ensemble is named by its moment, its values by their seeds."""
    groups = {}
    for moment, values in ensembles.items():
        for seeds, value in values.items():
            groups.setdefault(seeds, {})[f"test_accuracy_pct@{moment}"] = value
    return Evidence(experiment=name, budget_fraction=1.0, runs=runs, ensembles=groups)


@pytest.mark.parametrize("moment", ["final", "best", "recommended", "ensemble_1x3"])
def test_error_is_derived_from_the_accuracy_that_the_run_recorded(moment):
    found = evidence(run(0, **{moment: 95.9}), run(3, **{moment: 95.93}), run(4, other=1.0))
    assert found.values(f"test_error_pct@{moment}") == {0: 4.1, 3: 4.07}
    assert found.values(f"test_accuracy_pct@{moment}") == {0: 95.9, 3: 95.93}
    assert found.values("test_error_pct@ensemble_1x2") == {}


def test_loss_is_left_as_it_is():
    made = Run(seed=0, configuration_hash="0", status="finished", updates=1,
               metrics={"test_loss@final": 0.5})  # fmt: skip
    assert evidence(made).values("test_loss@final") == {0: 0.5}
    assert restate("test_loss", 0.5) == ("test_loss", 0.5)


@pytest.mark.parametrize("name", METRICS)
def test_error_and_its_accuracy_point_opposite_ways(name):
    recorded, _ = restate(name, 1.0)
    same = find_metric(recorded).higher_is_better == find_metric(name).higher_is_better
    assert same == (recorded == name)


def test_ensemble_has_first_seed_of_its_group():
    runs = [run(seed, final=90.0) for seed in range(7)]
    found = evidence(
        *runs, ensemble_3x2={(0, 1, 2): 96.0, (3, 4, 5): 96.5}, ensemble_2x2={(0, 1): 95}
    )
    assert found.values("test_accuracy_pct@ensemble_3x2") == {0: 96.0, 3: 96.5}
    assert found.values("test_error_pct@ensemble_3x2") == {0: 4.0, 3: 3.5}
    assert found.values("test_error_pct@ensemble_3x1") == {}


def test_run_counts_in_one_group_alone():
    found = evidence(ensemble_2x1={(0, 1): 95.0, (1, 2): 96.0, (2, 3): 97.0})
    assert found.values("test_error_pct@ensemble_2x1") == {0: 5.0, 2: 3.0}


def test_value_after_so_many_updates_is_an_evaluation_of_exactly_then():
    points = [Point(update=50, lr=0.1, test_accuracy_pct=80.0), Point(update=60, lr=0.1)]
    found = evidence(run(0, curve=tuple(points)), run(1))
    assert found.values("test_error_pct@update_50") == {0: 20.0}
    assert found.values("test_accuracy_pct@update_50") == {0: 80.0}
    assert found.values("test_error_pct@update_60") == {}  # logged, and not evaluated
    assert found.values("test_error_pct@update_49") == {}


def test_diverged_run_has_no_value_on_the_way_either():
    curve = (Point(update=50, test_accuracy_pct=80.0),)
    found = evidence(run(0, status="diverged", curve=curve, final=10.0))
    assert found.values("test_error_pct@update_50") == found.values("test_error_pct@final") == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_error_pct@ensemble_1x1", "test error of 1 run with its last snapshot"),
        ("test_accuracy_pct@ensemble_1x6", "test accuracy of 1 run with its last 6 snapshots"),
        ("test_error_pct@ensemble_16x3", "test error of 16 runs with their last 3 snapshots each"),
        ("test_error_pct@update_23430", "test error after 23,430 updates"),
    ],
)
def test_pattern_makes_as_many_metrics_as_are_asked_for(name, words):
    metric = find_metric(name)
    assert (metric.name, metric.words, metric.unit) == (name, words, "%")
    assert metric.higher_is_better == ("accuracy" in name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("test_eror_pct@final", "'test_error_pct@final'"),
        ("test_error_pct@ensemble_0x3", "'test_error_pct@ensemble_<N>x<M>'"),
        ("test_error_pct@ensemble_3", "'test_error_pct@ensemble_<N>x<M>'"),
        ("test_error_pct@update_07", "'test_error_pct@update_<n>'"),
        ("test_loss@update_7", "'test_loss'"),
    ],
)
def test_unknown_metric_is_refused_with_the_nearest_spelling(name, near):
    with pytest.raises(ValueError, match=f"^unknown metric '{name}'; did you mean ") as error:
        find_metric(name)
    assert near in str(error.value)


# --- claims about errors and ensembles ------------------------------------------------------------

SOURCE = {"paper": "1608.03983v5", "at": "Table 1", "confidence": "A"}


def claim(**changes):
    entry = {"id": "sgdr/a", "text": "a", "source": SOURCE, "statistic": "median of 16"}
    return parse_claims([entry | changes], where="paper/claims/sgdr.yaml")[0]


def order(**changes):
    entry = {
        "kind": "order",
        "metric": "test_error_pct@ensemble_1x3",
        "worse_metric": "test_error_pct@ensemble_1x1",
        "experiments": ["a"],
        "values": [3.51, 4.03],
        "margin": 0.0,
        "margin_reason": "the order",
    }
    return claim(**(entry | changes))


def test_error_above_the_papers_is_no_improvement():
    value = {
        "kind": "value",
        "metric": "test_error_pct@recommended",
        "experiments": ["a"],
        "value": 4.03,
        "tolerance": 0.2,
        "tolerance_reason": "seed spread",
    }

    def verdict(*errors):
        runs = [run(seed, recommended=100 - error) for seed, error in enumerate(errors)]
        return judge(claim(**value), {"a": evidence(*runs)}).verdict

    assert verdict(4.0, 4.03, 4.06) == "reproduced"
    assert verdict(3.0, 3.03, 3.06) == "lower"
    assert verdict(5.0, 5.03, 5.06) == "higher"


def test_two_cells_of_one_experiment_are_set_against_each_other():
    runs = [run(s, ensemble_1x3=96.4 + s / 100, ensemble_1x1=96.0) for s in range(3)]
    found = judge(order(), {"a": evidence(*runs, run(3, status="diverged"))})
    assert (found.n, found.num_diverged) == (3, 1)
    assert found.ours.mean == pytest.approx(0.41, rel=1e-9)
    assert judge(order(), {"a": evidence(*runs)}).verdict == "reproduced"
    turned = order(metric=order().worse_metric, worse_metric=order().metric, values=[3.5, 4.0])
    assert judge(turned, {"a": evidence(*runs)}).verdict == "not the paper's order"
    assert judge(order(), {}).reason == "no run yet of a"


def test_ensemble_of_one_row_is_set_against_the_last_iterate_of_another():
    two = order(worse_metric="test_error_pct@final", experiments=["a", "b"])
    a = evidence(*(run(s, ensemble_1x3=96.4, final=1.0) for s in range(3)))
    b = evidence(*(run(s, final=96.0, ensemble_1x3=99.0) for s in range(3)), name="b")
    assert judge(two, {"a": a, "b": b}).ours.mean == pytest.approx(0.4, rel=1e-9)


def test_groups_are_paired_with_the_run_of_their_first_seed():
    runs = [run(seed, ensemble_1x1=90.0 + seed) for seed in range(9)]
    cells = order(metric="test_error_pct@ensemble_3x1")
    groups = {(0, 1, 2): 91.0, (3, 4, 5): 94.0, (6, 7, 8): 97.0}
    found = judge(cells, {"a": evidence(*runs, ensemble_3x1=groups)})
    assert (found.n, found.ours.mean) == (3, pytest.approx(1.0, rel=1e-9))


def test_speed_to_an_error_is_speed_to_the_accuracy_that_it_stands_for():
    speed = claim(
        kind="speed",
        metric="test_error_pct",
        experiments=["a", "b"],
        target=4.0,
        target_tolerance=0.1,
        ratio=0.375,
        tolerance=0.125,
        tolerance_reason="two to four times",
    )

    def at(update, accuracy):
        return (Point(update=10, test_accuracy_pct=50.0),
                Point(update=update, test_accuracy_pct=accuracy),
                Point(update=update + 10, test_accuracy_pct=accuracy))  # fmt: skip

    slower = evidence(*(run(s, curve=at(1000, 96.0)) for s in range(3)), name="b")
    on_it = evidence(*(run(s, curve=at(400, 95.9)) for s in range(3)))  # 4.1 % to the last digit
    above = evidence(*(run(s, curve=at(400, 95.89)) for s in range(3)))
    found = judge(speed, {"a": on_it, "b": slower})
    assert (found.verdict, found.ours.mean) == ("reproduced", pytest.approx(0.4, rel=1e-9))
    never = judge(speed, {"a": above, "b": slower})
    assert (never.verdict, never.n) == ("too close to call", 0)
    assert never.reason == "3 of 3 runs of a never reached the target"
