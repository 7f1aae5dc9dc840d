import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anneal.results.curves import Point, band, series, thin, updates_to_target


def rising(*values, every=10):
    return tuple(Point(update=(i + 1) * every, test_accuracy_pct=v) for i, v in enumerate(values))


def test_band_is_mean_lowest_and_highest_where_all_measured():
    found = band([rising(1.0, 4.0, 9.0), rising(3.0, 4.0)], "test_accuracy_pct")
    assert found.updates == (10, 20)
    assert (found.mean, found.low, found.high) == ((2.0, 4.0), (1.0, 4.0), (3.0, 4.0))


def test_target_counts_at_cycle_end_or_if_next_evaluation_holds_it():
    def reached(*values, ends=()):
        return updates_to_target(rising(*values), "test_accuracy_pct", target=81.4, ends=ends)

    assert reached(70.0, 81.4, 81.5) == 20
    assert reached(70.0, 81.4, 80.0, 81.4, 81.4) == 40  # one lucky evaluation is passed over
    assert reached(70.0, 81.4, 80.0, ends=[20]) == 20
    assert reached(70.0, 81.4, 80.0) is None
    assert reached(70.0, 80.0, 81.4) is None  # nothing after it
    assert reached(70.0, 80.0, 81.4, ends=[30]) == 30
    assert reached(70.0, 81.3, ends=[20]) is None


def test_column_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="column must be one of lr, momentum"):
        series(rising(1.0), "accuracy")


@given(st.integers(1, 600), st.integers(1, 50), st.integers(2, 200))
def test_thinning_keeps_ends_and_evaluations_and_is_idempotent(length, every, limit):
    curve = tuple(
        Point(update=u, lr=0.1, test_loss=1.0 if u % every == 0 else None)
        for u in range(1, length + 1)
    )
    thinned = thin(curve, limit=limit)
    assert (thinned[0], thinned[-1]) == (curve[0], curve[-1])
    assert [p for p in thinned if p.evaluated] == [p for p in curve if p.evaluated]
    assert len(thinned) <= max(limit, sum(p.evaluated for p in curve) + 2)
    assert thin(thinned, limit=limit) == thinned


def test_thinning_spreads_what_it_keeps():
    curve = tuple(Point(update=u, lr=0.1) for u in range(1000))
    updates = [p.update for p in thin(curve, limit=200)]
    assert len(updates) == 200
    assert max(b - a for a, b in itertools.pairwise(updates)) <= 8
