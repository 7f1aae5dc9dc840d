"""Ensembles: by hand, against a naive loop, and what must hold for all."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anneal.results.ensembles import (
    accuracy_pct,
    average,
    compare_snapshots,
    correlation,
    disagreement_pct,
    ensemble_grid,
    ensemble_metric,
    groups_of,
    growing_accuracies,
    mean_matrix,
)

LABELS = np.array([0, 1, 1, 0])
# Of class 0; the other class has the rest.
EARLY = np.array([0.9, 0.6, 0.1, 0.2])  # right, wrong, right, wrong
MIDDLE = np.array([0.2, 0.1, 0.3, 0.4])  # wrong, right, right, wrong
LATE = np.array([0.4, 0.3, 0.6, 0.9])  # wrong, right, wrong, right


def output(of_class_0):
    return np.stack([of_class_0, 1 - of_class_0], axis=1)


RUN = [output(x) for x in (EARLY, MIDDLE, LATE)]


def outputs_of(seed, *, runs, snapshots, images=30, classes=4):
    """Return made-up softmax outputs (runs, snapshots, images, classes) and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(runs, snapshots, images, classes))
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return softmax.astype(np.float32), rng.integers(0, classes, images)


# --- by hand --------------------------------------------------------------------------------------


def test_ensemble_averages_with_equal_weights() -> None:
    mean = average(RUN)
    assert mean[:, 0] == pytest.approx([0.5, 1 / 3, 1 / 3, 0.5], rel=1e-15)
    assert mean.sum(axis=1) == pytest.approx([1] * 4, rel=1e-15)
    assert average(RUN[:2])[:, 0] == pytest.approx([0.55, 0.35, 0.2, 0.3], rel=1e-15)


def test_accuracy_counts_the_images_whose_most_probable_class_is_right() -> None:
    assert [accuracy_pct(member, LABELS) for member in RUN] == [50.0, 50.0, 50.0]
    assert accuracy_pct(average(RUN[:2]), LABELS) == 75.0
    assert accuracy_pct(output(np.array([1.0, 0.0, 0.0, 1.0])), LABELS) == 100.0


def test_ensemble_of_m_takes_the_last_m_snapshots() -> None:
    """M = 1: late, 50 %. M = 2: 0.3, 0.2, 0.45, 0.65, which misses the first image only."""
    assert growing_accuracies([RUN[:2]], LABELS) == (50.0, 75.0)
    assert growing_accuracies([RUN[1:]], LABELS) == (50.0, 75.0)
    assert growing_accuracies([[RUN[0], RUN[2]]], LABELS) == (50.0, 100.0)
    sure = output(np.array([0.99, 0.0, 0.0, 0.0]))  # right, right, right, wrong
    assert growing_accuracies([[sure, RUN[1]]], LABELS) == (50.0, 75.0)
    assert growing_accuracies([[RUN[1], sure]], LABELS) == (75.0, 75.0)


def test_runs_of_unequal_length_make_as_many_as_the_shortest_has() -> None:
    assert len(growing_accuracies([RUN, RUN[:2]], LABELS)) == 2
    assert growing_accuracies([RUN, []], LABELS) == ()
    assert growing_accuracies([], LABELS) == ()


def test_seeds_are_cut_into_groups_in_order_and_a_rest_is_left_out() -> None:
    assert groups_of([5, 3, 9, 7, 1], 2) == [(1, 3), (5, 7)]
    assert groups_of([5, 3, 9], 1) == [(3,), (5,), (9,)]
    assert groups_of([5, 3], 3) == []


def test_grid_has_every_number_of_runs_and_snapshots() -> None:
    grid = ensemble_grid({7: RUN, 2: RUN[::-1], 4: RUN}, LABELS)
    assert set(grid) == {(2,), (4,), (7,), (2, 4), (2, 4, 7)}
    assert all(len(accuracies) == 3 for accuracies in grid.values())
    assert grid[2, 4][0] == accuracy_pct(output((EARLY + LATE) / 2), LABELS)


def test_two_snapshots_differ_where_they_name_different_classes() -> None:
    """Early and middle name 0,0,1,1 and 1,1,1,1; early and late 0,0,1,1 and 1,1,0,0."""
    found = compare_snapshots(dict(zip((10, 30, 70), RUN, strict=True)), LABELS)
    assert found.updates == (10, 30, 70)
    assert found.accuracy_pct == (50.0, 50.0, 50.0)
    assert found.disagreement_pct == ((), (50.0,), (100.0, 50.0))  # each against those before
    assert [len(row) for row in found.correlation] == [0, 1, 2]
    assert found.correlation[2][0] == correlation(RUN[2], RUN[0])


def test_mean_over_runs_is_a_full_matrix_and_unknown_where_a_run_is() -> None:
    one, other = ((), (0.5,), (0.2, 0.4)), ((), (0.7,), (None, 0.6))
    mean = mean_matrix([one, other], diagonal=1.0)
    np.testing.assert_allclose(mean, [[1, 0.6, np.nan], [0.6, 1, 0.5], [np.nan, 0.5, 1]])
    with pytest.raises(ValueError, match=r"equally many snapshots, got \[2, 3\]"):
        mean_matrix([one, one[:2]], diagonal=1.0)


def test_correlation_is_one_minus_one_or_none_for_simple_outputs() -> None:
    assert correlation(RUN[0], RUN[0]) == pytest.approx(1.0, rel=1e-14)
    assert correlation(RUN[0], RUN[0][:, ::-1]) == pytest.approx(-1.0, rel=1e-14)
    assert correlation(RUN[0], np.full((4, 2), 0.5)) is None


def test_name_of_an_ensemble_says_runs_and_snapshots() -> None:
    assert ensemble_metric(16, 3) == "test_accuracy_pct@ensemble_16x3"


def test_what_cannot_be_averaged_or_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        average([])
    with pytest.raises(ValueError, match=r"of one shape, got \(4, 2\) and \(1, 2\)"):
        average([RUN[0], RUN[0][:1]])
    with pytest.raises(ValueError, match="4 outputs must have as many labels, got 3"):
        accuracy_pct(RUN[0], LABELS[:3])


# --- against a naive loop -------------------------------------------------------------------------


def naive_accuracy(members, labels):
    right = 0
    for image, label in enumerate(labels):
        scores = [
            sum(float(member[image][c]) for member in members) / len(members)
            for c in range(members[0].shape[1])
        ]
        right += scores.index(max(scores)) == label
    return 100 * right / len(labels)


@pytest.mark.parametrize(("runs", "snapshots"), [(1, 4), (3, 2), (5, 3)])
def test_grid_is_that_of_a_naive_loop(runs, snapshots) -> None:
    outputs, labels = outputs_of(0, runs=runs, snapshots=snapshots)
    grid = ensemble_grid(dict(enumerate(outputs)), labels)
    for size in range(1, runs + 1):
        for first in range(0, runs // size * size, size):
            group = tuple(range(first, first + size))
            for m in range(1, snapshots + 1):
                members = [outputs[seed][-back] for seed in group for back in range(1, m + 1)]
                assert grid[group][m - 1] == naive_accuracy(members, labels)
    assert len(grid) == sum(runs // size for size in range(1, runs + 1))


def test_matrices_are_those_of_numpy_and_a_naive_loop() -> None:
    outputs, labels = outputs_of(1, runs=1, snapshots=4)
    found = compare_snapshots({10 * i: o for i, o in enumerate(outputs[0])}, labels)
    expected = np.corrcoef(outputs[0].reshape(4, -1).astype(np.float64))
    matrix = mean_matrix([found.correlation], diagonal=1.0)
    np.testing.assert_allclose(matrix, expected, rtol=1e-12)  # the error measured is below 1e-15
    for i, j in itertools.combinations(range(4), 2):
        pairs = zip(outputs[0][i], outputs[0][j], strict=True)
        differ = sum(list(a).index(max(a)) != list(b).index(max(b)) for a, b in pairs)
        assert found.disagreement_pct[j][i] == pytest.approx(100 * differ / len(labels))


# --- for all --------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), runs=st.integers(1, 4), snapshots=st.integers(1, 4))
def test_order_of_runs_and_their_copies_change_no_ensemble(seed, runs, snapshots) -> None:
    outputs, labels = outputs_of(seed, runs=runs, snapshots=snapshots, images=8, classes=3)
    grid = growing_accuracies(list(outputs), labels)
    assert growing_accuracies(list(outputs[::-1]), labels) == pytest.approx(grid, abs=1e-12)
    assert growing_accuracies([*outputs, *outputs], labels) == pytest.approx(grid, abs=1e-12)


@given(seed=st.integers(0, 10**6))
def test_disagreement_and_correlation_do_not_mind_the_order(seed) -> None:
    (run,), _ = outputs_of(seed, runs=1, snapshots=2, images=9)
    one, other = run
    assert correlation(one, other) == correlation(other, one)
    assert disagreement_pct(one.argmax(1), other.argmax(1)) == disagreement_pct(
        other.argmax(1), one.argmax(1)
    )
