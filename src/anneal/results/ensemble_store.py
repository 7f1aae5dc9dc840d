"""Committed tables of snapshots and ensembles.

``ensembles.csv`` has a row for each group of seeds and number of snapshots. Its rows of a single
seed are for readers; the program reads these values from ``runs.csv``.
``snapshots/<experiment>.csv`` has a row for each snapshot of a run, with a value for each earlier
snapshot.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from anneal.io.csv_files import csv_text, read_rows, short
from anneal.results.campaign import GroupKey, RunKey
from anneal.results.ensembles import Group, SnapshotSet, ensemble_metric, ensemble_of
from anneal.results.metrics import Run

ENSEMBLES = "ensembles.csv"
_ENSEMBLE_COLUMNS = (
    "experiment",
    "configuration_hash",
    "seeds",
    "num_runs",
    "num_snapshots",
    "test_accuracy_pct",
)
_SNAPSHOT_COLUMNS = (
    "configuration_hash",
    "seed",
    "update",
    "test_accuracy_pct",
    "disagreement_pct",
    "correlation",
)
_UNKNOWN = "none"  # an undefined correlation


def ensembles_csv(
    runs: Mapping[RunKey, Run], ensembles: Mapping[GroupKey, Mapping[str, float]]
) -> str:
    """Return the grid of every experiment: groups of one run first."""
    metrics: dict[GroupKey, Mapping[str, float]] = {
        (name, (seed,), digest): run.metrics for (name, seed, digest), run in runs.items()
    }
    rows = [
        (name, digest, size[0], seeds, size[1], value)
        for (name, seeds, digest), of_group in (metrics | dict(ensembles)).items()
        for metric, value in of_group.items()
        if (size := ensemble_of(metric))
    ]
    return csv_text(
        _ENSEMBLE_COLUMNS,
        [
            [name, digest, seeds_words(seeds), str(num_runs), str(num_snapshots), short(value)]
            for name, digest, num_runs, seeds, num_snapshots, value in sorted(rows)
        ],
    )


def read_ensembles(path: Path) -> dict[GroupKey, dict[str, float]]:
    """Read the rows of two or more runs.

    Raises:
        ValueError: a row is invalid; names the file and the line.
    """
    found: dict[GroupKey, dict[str, float]] = {}
    for line, row in enumerate(read_rows(path), start=2):
        try:
            seeds = tuple(map(int, row["seeds"].split("+")))
            metric = ensemble_metric(len(seeds), int(row["num_snapshots"]))
            key = (row["experiment"], seeds, row["configuration_hash"])
            if len(seeds) > 1:
                found.setdefault(key, {})[metric] = float(row["test_accuracy_pct"])
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return found


def seeds_words(seeds: Group) -> str:
    """Return a group of seeds as the text of a cell.

    >>> seeds_words((0, 1, 2))
    '0+1+2'
    """
    return "+".join(map(str, seeds))


def snapshots_csv(snapshots: Mapping[tuple[str, int], SnapshotSet]) -> str:
    """Return the snapshots of an experiment's runs, by configuration hash and seed."""
    rows = []
    for (digest, seed), found in sorted(snapshots.items()):
        of_each = zip(
            found.updates,
            found.accuracy_pct,
            found.disagreement_pct,
            found.correlation,
            strict=True,
        )
        rows += [
            [digest, str(seed), str(update), short(accuracy), _cell(disagreements), _cell(others)]
            for update, accuracy, disagreements, others in of_each
        ]
    return csv_text(_SNAPSHOT_COLUMNS, rows)


def read_snapshots(path: Path) -> dict[tuple[str, int], SnapshotSet]:
    """Read the snapshots of an experiment's runs, by configuration hash and seed.

    Raises:
        ValueError: a row is invalid; names the file and the line.
    """
    found: dict[tuple[str, int], SnapshotSet] = {}
    for line, row in enumerate(read_rows(path), start=2):
        try:
            key = row["configuration_hash"], int(row["seed"])
            before = found.get(key, _NONE)
            disagreements, correlations = (
                _values(row["disagreement_pct"]),
                _values(row["correlation"]),
            )
            if {len(disagreements), len(correlations)} != {len(before.updates)}:
                raise ValueError(
                    f"needs a value for each of the {len(before.updates)} earlier snapshots"
                )
            found[key] = SnapshotSet(
                updates=(*before.updates, int(row["update"])),
                accuracy_pct=(*before.accuracy_pct, float(row["test_accuracy_pct"])),
                disagreement_pct=(*before.disagreement_pct, disagreements),
                correlation=(*before.correlation, correlations),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return found


def plain_snapshots(content: Mapping[str, Any]) -> SnapshotSet:
    """Return the snapshots of one run from a record, rounded to the digits of the table."""
    return SnapshotSet(
        updates=tuple(map(int, content["updates"])),
        accuracy_pct=tuple(float(short(value)) for value in content["accuracy_pct"]),
        disagreement_pct=tuple(_values(_cell(row)) for row in content["disagreement_pct"]),
        correlation=tuple(_values(_cell(row)) for row in content["correlation"]),
    )


def _cell(values: Iterable[float | None]) -> str:
    return " ".join(_UNKNOWN if value is None else f"{value:.6g}" for value in values)


def _values(cell: str) -> tuple[float | None, ...]:
    return tuple(None if word == _UNKNOWN else float(word) for word in cell.split())


_NONE = SnapshotSet(updates=(), accuracy_pct=(), disagreement_pct=(), correlation=())
