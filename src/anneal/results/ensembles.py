"""Ensembles: averaged softmax outputs, and the diversity of their members.

An output is an array ``(images, classes)`` of probabilities. An ensemble of N runs with M snapshots
each averages the last M snapshots of every run with equal weights (SGDR, arXiv 1608.03983v5,
section 4.3; Snapshot Ensembles, arXiv 1704.00109, section 3).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Output = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]
Group = tuple[int, ...]  # seeds, in rising order
Triangle = tuple[tuple[float | None, ...], ...]  # row i: against each of the i earlier ones

OF_AN_ENSEMBLE = "test_accuracy_pct@ensemble_"


def ensemble_metric(num_runs: int, num_snapshots: int) -> str:
    """Return the name of the accuracy of N runs with M snapshots each.

    >>> ensemble_metric(3, 2)
    'test_accuracy_pct@ensemble_3x2'
    """
    return f"{OF_AN_ENSEMBLE}{num_runs}x{num_snapshots}"


def ensemble_of(metric: str) -> tuple[int, int] | None:
    """Return (runs, snapshots) of an ensemble's accuracy; None for any other metric.

    >>> ensemble_of("test_accuracy_pct@ensemble_3x2"), ensemble_of("test_accuracy_pct@final")
    ((3, 2), None)
    """
    found = re.fullmatch(rf"{OF_AN_ENSEMBLE}([0-9]+)x([0-9]+)", metric)
    return (int(found[1]), int(found[2])) if found else None


def average(members: Iterable[Output]) -> Output:
    """Return the mean of softmax outputs, each member with the same weight.

    >>> average([np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])])
    array([[0.75, 0.25]])

    Args:
        members: one or more arrays ``(images, classes)``.

    Returns:
        float64 ``(images, classes)``.

    Raises:
        ValueError: there are none, or their shapes differ.
    """
    total: Output | None = None
    count = 0
    for member in members:
        if total is None:
            total = np.zeros(member.shape, dtype=np.float64)
        elif member.shape != total.shape:
            raise ValueError(
                f"members of an ensemble must be of one shape, got {total.shape} and {member.shape}"
            )
        total += member
        count += 1
    if total is None:
        raise ValueError("an ensemble needs at least one member, got none")
    return total / count


def accuracy_pct(output: Output, labels: Labels) -> float:
    """Return the percentage of images whose most probable class is the label, 0..100.

    Raises:
        ValueError: the number of labels differs from that of the images, or is 0.
    """
    if output.shape[:1] != labels.shape or not len(labels):
        raise ValueError(f"{output.shape[0]} outputs must have as many labels, got {len(labels)}")
    return 100.0 * int((output.argmax(axis=1) == labels).sum()) / len(labels)


def growing_accuracies(runs: Sequence[Sequence[Output]], labels: Labels) -> tuple[float, ...]:
    """Return the accuracy of the ensemble of the last M snapshots of all runs, for M = 1, 2, ...

    Args:
        runs: the snapshots of each run, in the order of their updates; the run with the fewest
            gives the largest M.
        labels: int ``(images,)``.

    Returns:
        In percent, index M - 1.
    """
    accuracies = []
    total: Output | None = None
    for back in range(1, min(map(len, runs), default=0) + 1):
        added = average(run[-back] for run in runs)
        total = added if total is None else total + added
        accuracies.append(accuracy_pct(total, labels))  # sum and mean have the same argmax
    return tuple(accuracies)


def groups_of(seeds: Iterable[int], size: int) -> list[Group]:
    """Split seeds, in order, into groups of one size; drop the remainder.

    >>> groups_of([4, 0, 1, 2, 3], 2)
    [(0, 1), (2, 3)]
    """
    ordered = sorted(seeds)
    whole = len(ordered) // size * size
    return [tuple(ordered[first : first + size]) for first in range(0, whole, size)]


def ensemble_grid(
    outputs: Mapping[int, Sequence[Output]], labels: Labels
) -> dict[Group, tuple[float, ...]]:
    """Return the accuracy of every group of N runs for every M, the grid of SGDR's figure 3.

    Args:
        outputs: seed -> snapshots of its run in the order of their updates.
        labels: int ``(images,)``.

    Returns:
        Group of seeds -> accuracies in percent, index M - 1. Groups of one are the single runs.
    """
    groups = [group for size in range(1, len(outputs) + 1) for group in groups_of(outputs, size)]
    return {
        group: growing_accuracies([outputs[seed] for seed in group], labels) for group in groups
    }


def ensemble_metrics(
    outputs: Mapping[int, Sequence[Output]], labels: Labels
) -> dict[Group, dict[str, float]]:
    """Return ``ensemble_grid`` under the names of its metrics."""
    return {
        group: {ensemble_metric(len(group), m): pct for m, pct in enumerate(accuracies, start=1)}
        for group, accuracies in ensemble_grid(outputs, labels).items()
    }


@dataclass(frozen=True, kw_only=True)
class SnapshotSet:
    """Accuracy of the snapshots of one run, and their pairwise differences.

    Args:
        updates: of each, in rising order.
        accuracy_pct: of each on the test images.
        disagreement_pct: of each with each earlier one: the percentage of images for which they
            predict different classes.
        correlation: of each with each earlier one: Pearson's, of the softmax outputs over all
            images and classes (the figure in arXiv 1704.00109, section 4.4, gives no formula); None
            if an output is constant.
    """

    updates: tuple[int, ...]
    accuracy_pct: tuple[float, ...]
    disagreement_pct: Triangle
    correlation: Triangle


def compare_snapshots(outputs: Mapping[int, Output], labels: Labels) -> SnapshotSet:
    """Compare the snapshots of one run.

    Args:
        outputs: by update.
        labels: int ``(images,)``.
    """
    updates = tuple(sorted(outputs))
    members = [outputs[update] for update in updates]
    classes = [member.argmax(axis=1) for member in members]
    return SnapshotSet(
        updates=updates,
        accuracy_pct=tuple(accuracy_pct(member, labels) for member in members),
        disagreement_pct=_triangle(disagreement_pct, classes),
        correlation=_triangle(correlation, members),
    )


def _triangle(compare: Callable[[Any, Any], float | None], members: Sequence[Any]) -> Triangle:
    return tuple(
        tuple(compare(member, earlier) for earlier in members[:number])
        for number, member in enumerate(members)
    )


def mean_matrix(triangles: Sequence[Triangle], *, diagonal: float) -> npt.NDArray[np.float64]:
    """Return the mean over runs as a full, symmetric matrix; NaN if a run has no value.

    >>> mean_matrix([((), (1.0,)), ((), (3.0,))], diagonal=0.0)
    array([[0., 2.],
           [2., 0.]])

    Raises:
        ValueError: there are no runs, or their numbers of snapshots differ.
    """
    sizes = {len(triangle) for triangle in triangles}
    if len(sizes) != 1:
        raise ValueError(f"runs must have equally many snapshots, got {sorted(sizes)}")
    matrix = np.full((len(triangles), *sizes, *sizes), diagonal)
    for run, triangle in enumerate(triangles):
        for i, row in enumerate(triangle):
            for j, value in enumerate(row):
                matrix[run, i, j] = matrix[run, j, i] = np.nan if value is None else value
    mean: npt.NDArray[np.float64] = matrix.mean(axis=0)
    return mean


def disagreement_pct(one: Labels, other: Labels) -> float:
    """Return the percentage of images for which two classifiers differ, 0..100."""
    return 100.0 * int((one != other).sum()) / len(one)


def correlation(one: Output, other: Output) -> float | None:
    """Return Pearson's correlation of two outputs over all images and classes, or None."""
    apart = [array.ravel() - array.mean(dtype=np.float64) for array in (one, other)]
    spread = float(np.sqrt((apart[0] ** 2).sum() * (apart[1] ** 2).sum()))
    return float((apart[0] * apart[1]).sum()) / spread if spread > 0 else None
