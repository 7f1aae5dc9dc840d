"""Grid of N runs with M snapshots each, summarised over its groups."""

from collections import Counter

from anneal.io.text import NOTHING, text_table
from anneal.results.ensembles import SnapshotSet, ensemble_metric, ensemble_of
from anneal.results.metrics import Evidence, find_metric
from anneal.results.statistics import Interval, mean_interval
from anneal.results.words import mean_words

FINAL_ACCURACY = "test_accuracy_pct@final"  # gives the decimals of an ensemble's accuracy


def ensemble_grid_of(evidence: Evidence) -> dict[int, list[Interval]]:
    """Return runs N in a group -> mean accuracy over groups, index M - 1.

    The mapping is empty if no run has snapshots.
    """
    measured = [*(run.metrics for run in evidence.runs), *evidence.ensembles.values()]
    sizes = sorted({size for metrics in measured for size in map(ensemble_of, metrics) if size})
    grid: dict[int, list[Interval]] = {}
    for num_runs, num_snapshots in sizes:
        values = list(evidence.values(ensemble_metric(num_runs, num_snapshots)).values())
        if values:
            grid.setdefault(num_runs, []).append(mean_interval(values))
    return grid


def ensemble_header(evidence: Evidence) -> list[str]:
    """Return the header of ``ensemble_rows``."""
    most = max(map(len, ensemble_grid_of(evidence).values()), default=0)
    return ["runs", "groups", *(f"M = {m}" for m in range(1, most + 1))]


def ensemble_rows(evidence: Evidence) -> list[list[str]]:
    """Return a row for each number of runs N: the number of groups, then the accuracy for each M.

    A cell is the mean over the groups with the half-width of its 95 % interval, in percent.
    """
    grid, metric = ensemble_grid_of(evidence), find_metric(FINAL_ACCURACY)
    most = len(ensemble_header(evidence)) - 2
    return [
        [f"N = {num_runs}", str(cells[0].n)]
        + [mean_words(cell, metric=metric) for cell in cells]
        + [NOTHING] * (most - len(cells))
        for num_runs, cells in grid.items()
    ]


def ensemble_words(evidence: Evidence) -> list[str]:
    """Return the lines for a terminal: each snapshot, then the grid."""
    snapshots = shared_snapshots(evidence)
    updates = snapshots[0].updates
    alone = [
        [f"{update:,}", mean_words(mean_interval(values), metric=find_metric(FINAL_ACCURACY))]
        for update, values in zip(
            updates, zip(*(s.accuracy_pct for s in snapshots), strict=True), strict=True
        )
    ]
    return [
        "test accuracy in %, mean over runs or groups \N{PLUS-MINUS SIGN} 95 % interval",
        "",
        *text_table(["snapshot after update", "alone"], alone),
        "",
        "N runs, the last M snapshots of each, outputs averaged:",
        *text_table(ensemble_header(evidence), ensemble_rows(evidence)),
    ]


def shared_snapshots(evidence: Evidence) -> list[SnapshotSet]:
    """Return the snapshots of the largest group of runs that have them at the same updates."""
    kept = [run.snapshots for run in evidence.runs if run.snapshots]
    if not kept:
        return []
    (usual, _), *_ = Counter(found.updates for found in kept).most_common(1)
    return [found for found in kept if found.updates == usual]
