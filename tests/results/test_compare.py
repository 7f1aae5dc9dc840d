"""Two sets of cells: matched, paired by seed or not, corrected, and what differs of them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from anneal.results.compare import Change, ComparedExperiment, ComparedRow, Comparison, compare
from anneal.results.metrics import Evidence, Run

FINAL = "test_accuracy_pct@final"


def a_cell(
    name: str,
    finals: Mapping[int, float | None],
    *,
    configuration_hash: str = "abc",
    budget_fraction: float = 1.0,
    configuration: Mapping[str, Any] | None = None,
    as_run: Mapping[str, Any] | None = None,
    **environment: str,
) -> ComparedExperiment:
    runs = [
        Run(
            seed=seed,
            configuration_hash=configuration_hash,
            status="diverged" if final is None else "finished",
            updates=10,
            metrics={} if final is None else {FINAL: final},
            environment=environment,
        )
        for seed, final in finals.items()
    ]
    return ComparedExperiment(
        evidence=Evidence(experiment=name, budget_fraction=budget_fraction, runs=tuple(runs)),
        configuration_hash=configuration_hash,
        configuration=configuration or {},
        as_run=as_run or {},
    )


def side(*cells: ComparedExperiment) -> dict[str, ComparedExperiment]:
    return {cell.evidence.experiment: cell for cell in cells}


def compared(before: ComparedExperiment, after: ComparedExperiment) -> ComparedRow:
    (row,) = compare(side(before), side(after), metric=FINAL).rows
    return row


def test_shared_seeds_are_paired_and_a_common_spread_cancels() -> None:
    """Differences 1.0, 1.2, 0.8: mean 1, sd 0.2, so 1 +- 4.3027 x 0.2 / sqrt(3)."""
    row = compared(a_cell("x", {0: 60.0, 1: 70.0, 2: 80.0}), a_cell("x", {0: 61, 1: 71.2, 2: 80.8}))
    assert row.test == "paired"
    assert row.difference is not None
    assert row.difference.low == pytest.approx(1 - 4.30265 * 0.2 / math.sqrt(3), abs=1e-4)
    assert row.difference.high == pytest.approx(1 + 4.30265 * 0.2 / math.sqrt(3), abs=1e-4)
    assert row.p_value == pytest.approx(2 * stats.t.sf(1 / (0.2 / math.sqrt(3)), 2))
    assert row.movement == "higher"


def test_only_seeds_that_both_sides_have_are_paired() -> None:
    row = compared(
        a_cell("x", {0: 60.0, 1: 70.0, 5: 0.0}), a_cell("x", {0: 61.0, 1: 73.0, 7: 99.0})
    )
    assert row.difference is not None
    assert (row.difference.mean, row.difference.n, row.test) == (2.0, 2, "paired")


def test_without_shared_seeds_it_is_welchs_t_worked_by_hand() -> None:
    """Variances 1 and 9 of three runs each: standard error sqrt(10/3), 2.439 degrees of freedom."""
    row = compared(a_cell("x", {0: 49, 1: 50, 2: 51}), a_cell("x", {3: 57, 4: 60, 5: 63}))
    freedom = (1 / 3 + 9 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (9 / 3) ** 2 / 2)
    error = math.sqrt(10 / 3)
    assert row.test == "Welch"
    assert row.p_value == pytest.approx(2 * stats.t.sf(10 / error, freedom))
    assert row.difference is not None
    assert row.difference.low == pytest.approx(10 - stats.t.ppf(0.975, freedom) * error)
    assert row.difference.high == pytest.approx(10 + stats.t.ppf(0.975, freedom) * error)
    assert row.movement == "higher"


def test_one_shared_seed_is_no_pair_to_judge_by() -> None:
    row = compared(a_cell("x", {0: 49.0, 1: 50.0}), a_cell("x", {0: 57.0, 3: 60.0}))
    assert row.test == "Welch"


@pytest.mark.parametrize("after", [{0: 99.0}, {3: 99.0}])
def test_one_run_settles_nothing_however_far_it_went(after: dict[int, float]) -> None:
    row = compared(a_cell("x", {0: 10.0}), a_cell("x", after))
    assert (row.movement, row.p_value) == ("too few runs", None)
    assert row.difference is not None
    assert (row.difference.mean, row.difference.low) == (89.0, None)


def test_equal_runs_are_the_same_and_take_no_part_in_the_correction() -> None:
    one, other = a_cell("x", {0: 90.0, 1: 91.0}), a_cell("y", {0: 50.0, 1: 60.0})
    found = compare(side(one, other), side(one, a_cell("y", {0: 51.0, 1: 60.5})), metric=FINAL)
    assert [row.movement for row in found.rows] == ["the same", "within noise"]
    assert found.num_corrected == 1


def test_equal_differences_are_tested_by_sign_flips() -> None:
    """Accuracies are whole images: two seeds that moved by the same image prove little."""
    two = compared(a_cell("x", {0: 90.1, 1: 80.1}), a_cell("x", {0: 90.3, 1: 80.3}))
    assert (two.p_value, two.movement) == (0.5, "within noise")
    seeds = range(8)
    many = compared(
        a_cell("x", dict.fromkeys(seeds, 90.1)), a_cell("x", dict.fromkeys(seeds, 90.3))
    )
    assert (many.p_value, many.movement) == (2 / 2**8, "higher")
    apart = compared(a_cell("x", {0: 90.0, 1: 90.0}), a_cell("x", {2: 91.0, 3: 91.0, 4: 91.0}))
    assert (apart.p_value, apart.movement) == (2 / 10, "within noise")


def test_correction_is_holms() -> None:
    """Each p-value times the number of those not below it, never falling, against scipy's p."""
    rng = np.random.default_rng(3)
    befores, afters = {}, {}
    for i, shift in enumerate([0.0, 0.6, 1.2, 3.0]):
        values = rng.normal(size=(2, 6))
        befores[f"x{i}"] = a_cell(f"x{i}", dict(enumerate(values[0])))
        afters[f"x{i}"] = a_cell(f"x{i}", dict(enumerate(values[1] + shift)))
    rows = compare(befores, afters, metric=FINAL).rows
    alone = sorted(row.p_value for row in rows if row.p_value is not None)
    expected = [min(1.0, (4 - place) * p_value) for place, p_value in enumerate(alone)]
    expected = [max(expected[: place + 1]) for place in range(4)]
    found = sorted((row.p_value, row.corrected) for row in rows)
    assert [corrected for _, corrected in found] == pytest.approx(expected)
    assert expected != alone


def test_correction_keeps_false_alarms_rare() -> None:
    """200 comparisons of ten rows that only noise moves: 5 % of them may cry out; without a
    correction it is 40 % (1 - 0.95^10). Measured here: 8 of 200."""
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(200):
        sides = [
            side(*(a_cell(f"x{i}", dict(enumerate(rng.normal(size=4)))) for i in range(10)))
            for _ in range(2)
        ]
        alarms += compare(*sides, metric=FINAL).count("higher", "lower") > 0
    assert 0 < alarms < 20


def test_loss_that_falls_is_lower() -> None:
    def losing(by: float) -> ComparedExperiment:
        cell = a_cell("x", {})
        runs = tuple(
            Run(
                seed=seed,
                configuration_hash="abc",
                status="finished",
                updates=1,
                metrics={"test_loss@final": 1 + seed - by * (1 + seed / 100)},
            )
            for seed in range(4)
        )
        evidence = Evidence(experiment="x", budget_fraction=1.0, runs=runs)
        return ComparedExperiment(**(vars(cell) | {"evidence": evidence}))

    found = compare(side(losing(0.0)), side(losing(0.3)), metric="test_loss@final")
    assert [row.movement for row in found.rows] == ["lower"]


def test_rows_appear_and_vanish_and_keep_the_order_of_the_side_compared() -> None:
    before = side(*(a_cell(n, {0: 1.0}, configuration_hash=n) for n in ("old", "b", "a")))
    after = side(*(a_cell(n, {0: 1.0}, configuration_hash=n) for n in ("new", "a", "b")))
    rows = compare(before, after, metric=FINAL).rows
    assert [(row.name, row.movement) for row in rows] == [
        ("new", "appeared"),
        ("a", "the same"),
        ("b", "the same"),
        ("old", "vanished"),
    ]


def test_row_under_another_name_is_found_by_its_configuration() -> None:
    before = side(a_cell("scheduler=hann seed=0", {0: 1.0}, configuration_hash="h"))
    row = compare(before, side(a_cell("hann", {0: 1.0}, configuration_hash="h")), metric=FINAL).rows
    assert [(r.name, r.before.evidence.experiment, r.movement) for r in row if r.before] == [
        ("hann", "scheduler=hann seed=0", "the same")
    ]


def test_diverged_runs_are_in_no_mean_and_no_difference() -> None:
    row = compared(a_cell("x", {0: 90.0, 1: 91.0}), a_cell("x", {0: None, 1: None}))
    assert (row.movement, row.means[1], row.difference) == ("diverged", None, None)
    assert row.after is not None
    assert row.after.evidence.num_diverged == 2


def test_seed_diverged_on_one_side_is_a_movement() -> None:
    """The finished seeds agree to the last digit, or moved far beyond noise: neither hides it."""
    whole, broken = {0: 90.0, 1: 91.0, 2: 92.0}, {0: 90.0, 1: 91.0, 2: None}
    for sides in ((whole, broken), (broken, whole)):
        row = compared(*(a_cell("x", finals) for finals in sides))
        assert row.movement == "diverged"
        assert row.difference is not None
        assert (row.difference.mean, row.difference.n) == (0.0, 2)
    moved = {0: 95.0, 1: 96.1, 2: 96.9, 3: None}
    row = compared(a_cell("x", whole | {3: 93.0}), a_cell("x", moved))
    assert row.corrected is not None
    assert (row.movement, row.corrected < 0.05) == ("diverged", True)


def test_seed_diverged_on_both_sides_or_run_on_one_moves_nothing() -> None:
    before = a_cell("x", {0: 90.0, 1: 91.0, 2: None})
    assert compared(before, before).movement == "the same"
    assert compared(before, a_cell("x", {0: 90.0, 1: 91.0, 3: None})).movement == "the same"


def test_changed_configuration_names_its_keys_and_no_names_or_views() -> None:
    def cell(lr: float, **others: Any) -> ComparedExperiment:
        return a_cell(
            "x",
            {0: 1.0},
            configuration_hash=f"h{lr}",
            configuration={"title": f"at {lr}", "scheduler": {"lr": lr, "name": "c"}, **others},
            as_run={"schedule": {"lr": lr}, "total_steps": 7},
        )

    row = compared(cell(0.1), cell(0.2, momentum=0.9, tracking={"mode": "off"}))
    assert row.configuration == (
        Change(key="scheduler.lr", before=0.1, after=0.2),
        Change(key="momentum", before=None, after=0.9),
    )
    assert row.same_configuration is False
    assert compared(cell(0.1), cell(0.1)).configuration == ()


def test_where_no_key_differs_the_plan_in_updates_says_what_does() -> None:
    def cell(length: int) -> ComparedExperiment:
        return a_cell(
            "x", {0: 1.0}, configuration_hash=f"h{length}", as_run={"total_steps": length}
        )

    assert compared(cell(35), cell(36)).configuration == (
        Change(key="total_steps", before=35, after=36),
    )


def test_changes_of_one_configuration_are_of_its_environment() -> None:
    row = compared(
        a_cell("x", {0: 1.0}, commit="aaa", device="cpu", precision="bf16", torch="2.11.0"),
        a_cell("x", {0: 2.0}, commit="bbb", device="H200", precision="bf16", threads="2"),
    )
    assert row.same_configuration is True
    assert row.environment == (
        Change(key="commit", before="aaa", after="bbb"),
        Change(key="device", before="cpu", after="H200"),
    )


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("test_accuracy_pct", "metric must have one value a run, such as test_accuracy_pct@final"),
        ("test_acuracy_pct@final", "did you mean 'test_accuracy_pct@final'"),
    ],
)
def test_metric_that_is_none_is_refused(metric: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compare({}, {}, metric=metric)


def test_two_sides_without_a_row_compare_to_nothing() -> None:
    assert compare({}, {}, metric=FINAL).rows == ()
    assert isinstance(compare({}, {}, metric=FINAL), Comparison)
