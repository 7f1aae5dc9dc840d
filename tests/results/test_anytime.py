"""What a run would give at any moment: the recommended solution, and the best so far."""

from hypothesis import given
from hypothesis import strategies as st

from anneal.results.anytime import best_so_far, recommended, recommended_update
from anneal.results.curves import Point, updates_to_target

# Evaluated every 5 updates; cycles end after 10 and 30; a restart makes the newest weights worse.
ACCURACIES = {5: 40.0, 10: 60.0, 15: 30.0, 20: 50.0, 25: 65.0, 30: 80.0, 35: 55.0, 40: 70.0}
CURVE = tuple(Point(update=u, lr=0.1, test_accuracy_pct=a) for u, a in ACCURACIES.items())


def values(curve):
    return {point.update: point.test_accuracy_pct for point in curve}


def test_newest_weights_are_recommended_before_first_cycle_end() -> None:
    found = recommended(CURVE, ends=(10, 30), snapshots={})
    assert values(found) == {5: 40, 10: 60, 15: 60, 20: 60, 25: 60, 30: 80, 35: 80, 40: 80}


def test_without_cycles_the_newest_is_recommended_always() -> None:
    assert values(recommended(CURVE, ends=(), snapshots={})) == ACCURACIES


def test_end_between_two_evaluations_is_known_from_its_snapshot() -> None:
    found = recommended(CURVE, ends=(12, 33), snapshots={12: 62.0, 33: 81.0})
    assert values(found) == {
        5: 40, 10: 60, 12: 62, 15: 62, 20: 62, 25: 62, 30: 62, 33: 81, 35: 81, 40: 81,
    }  # fmt: skip


def test_unmeasured_recommended_weights_have_no_point() -> None:
    found = recommended(CURVE, ends=(12, 33), snapshots={33: 81.0})
    assert values(found) == {5: 40, 10: 60, 33: 81, 35: 81, 40: 81}


def test_updates_to_target_are_of_the_given_solution() -> None:
    by_recommendation = recommended(CURVE, ends=(10, 30), snapshots={})
    column = "test_accuracy_pct"
    assert updates_to_target(CURVE, column, target=65.0) == 25
    assert updates_to_target(by_recommendation, column, target=65.0) == 30
    assert updates_to_target(best_so_far(CURVE), column, target=65.0) == 25


def test_best_so_far_never_falls() -> None:
    assert list(values(best_so_far(CURVE)).values()) == [40, 60, 60, 60, 65, 80, 80, 80]
    assert best_so_far((Point(update=3, lr=0.1),)) == ()


@given(
    ends=st.sets(st.integers(1, 100)).map(sorted),
    update=st.integers(1, 120),
)
def test_what_is_recommended_lies_at_an_end_or_now_and_never_later(ends, update) -> None:
    source = recommended_update(update, ends)
    passed = [end for end in ends if end <= update]
    assert source == (max(passed) if passed else update)
