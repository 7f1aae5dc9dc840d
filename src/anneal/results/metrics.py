"""Metrics by name, and the runs that are evidence for a claim.

The name of a metric has the split, the quantity, its unit and the moment::

    test_accuracy_pct@final            after the last update
    test_accuracy_pct@best             the highest of all evaluations of the run
    test_accuracy_pct@recommended      SGDR's recommended solution: the end of the last whole cycle
    test_accuracy_pct@update_<n>       the evaluation after exactly n updates
    test_accuracy_pct@ensemble_<N>x<M> softmax averaged over N runs, the last M snapshots of each
    test_accuracy_pct                  without a moment: the curve

``@best`` is chosen on test images and therefore optimistic; it has no verdict unless a claim names
it. Papers print errors as often as accuracies, but a run records only accuracies:
``test_error_pct`` with any of these moments is 100 minus the accuracy, computed only here.
"""

import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from anneal.io.text import did_you_mean
from anneal.results.curves import Curve, series
from anneal.results.ensembles import Group, SnapshotSet
from anneal.results.setting import Setting

RunEnding = Literal["finished", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One measured quantity.

    Args:
        name: in records, claims and results; a name without a moment is a curve.
        words: label in a table.
        unit: of its values, empty for a pure number.
        higher_is_better: whether a higher value is an improvement.
        decimals: in a table.
    """

    name: str
    words: str
    unit: str
    higher_is_better: bool
    decimals: int


def _percent(name: str, words: str) -> Metric:
    higher = "accuracy_pct" in name
    return Metric(name=name, words=words, unit="%", higher_is_better=higher, decimals=2)


def _loss(name: str, words: str) -> Metric:
    return Metric(name=name, words=words, unit="", higher_is_better=False, decimals=4)


METRICS: dict[str, Metric] = {  # recorded metrics first, in the order of the columns
    metric.name: metric
    for metric in (
        _percent("test_accuracy_pct@final", "test accuracy at the end"),
        _percent("test_accuracy_pct@best", "highest test accuracy on the way"),
        _percent("test_accuracy_pct@recommended", "test accuracy of the recommended solution"),
        _percent("test_top5_accuracy_pct@final", "top-5 test accuracy at the end"),
        _loss("test_loss@final", "test loss at the end"),
        _percent("test_accuracy_pct", "test accuracy during the run"),
        _loss("test_loss", "test loss during the run"),
        _percent("test_error_pct@final", "test error at the end"),
        _percent("test_error_pct@best", "lowest test error on the way"),
        _percent("test_error_pct@recommended", "test error of the recommended solution"),
        _percent("test_top5_error_pct@final", "top-5 test error at the end"),
        _percent("test_error_pct", "test error during the run"),
    )
}
_OF_ONE_UPDATE = re.compile(r"(test_(?:accuracy|error)_pct)@update_([1-9]\d*)")
_OF_AN_ENSEMBLE = re.compile(r"(test_(?:accuracy|error)_pct)@ensemble_([1-9]\d*)x([1-9]\d*)")
PATTERNS = tuple(
    f"test_{quantity}_pct@{moment}"
    for quantity in ("accuracy", "error")
    for moment in ("update_<n>", "ensemble_<N>x<M>")
)


def find_metric(name: str) -> Metric:
    """Return the metric of that name.

    >>> find_metric("test_accuracy_pct@final").unit
    '%'
    >>> find_metric("test_error_pct@ensemble_3x2").words
    'test error of 3 runs with their last 2 snapshots each'

    Raises:
        ValueError: there is none; names the nearest valid name.
    """
    if name in METRICS:
        return METRICS[name]
    if match := _OF_ONE_UPDATE.fullmatch(name):
        words = f"{_quantity_words(name)} after {int(match[2]):,} updates"
    elif match := _OF_AN_ENSEMBLE.fullmatch(name):
        runs = "1 run with its" if match[2] == "1" else f"{match[2]} runs with their"
        snapshots = "last snapshot" if match[3] == "1" else f"last {match[3]} snapshots"
        each = "" if match[2] == "1" else " each"
        words = f"{_quantity_words(name)} of {runs} {snapshots}{each}"
    else:
        raise ValueError(f"unknown metric {name!r}{did_you_mean(name, [*METRICS, *PATTERNS])}")
    return replace(METRICS[match[1]], name=name, words=words)


def _quantity_words(name: str) -> str:
    return "test error" if name.startswith("test_error") else "test accuracy"


def quantity_of(name: str) -> str:
    """Return the quantity of a metric, without the moment.

    >>> quantity_of("test_error_pct@final")
    'test_error_pct'
    """
    return name.partition("@")[0]


def restate(name: str, value: float) -> tuple[str, float]:
    """Convert a value between error and accuracy: runs record only accuracies.

    The inverse is the same subtraction. The value is rounded to nine decimals, which keeps 4.1 from
    becoming 4.0999999999999943.

    >>> restate("test_error_pct@final", 4.1), restate("test_loss", 0.5)
    (('test_accuracy_pct@final', 95.9), ('test_loss', 0.5))
    """
    recorded = name.replace("error_pct", "accuracy_pct")
    return recorded, value if recorded == name else round(100 - value, 9)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One seed of an experiment: its status and measurements.

    Args:
        metrics: by name; a diverged run may have none.
        environment: as text: device, precision, threads, commit, torch, started (ISO 8601),
            seconds.
        curve: the logged values, if kept.
        snapshots: comparison of its snapshots; None without snapshots.
    """

    seed: int
    configuration_hash: str
    status: RunEnding
    updates: int
    metrics: Mapping[str, float]
    environment: Mapping[str, str] = field(default_factory=dict)
    curve: Curve | None = None
    snapshots: SnapshotSet | None = None

    @property
    def finished(self) -> bool:
        """Whether it reached its last update with finite numbers."""
        return self.status == "finished"

    def value(self, metric: str) -> float | None:
        """Return the value of a metric; None if it was not measured.

        An error is computed from the accuracy. ``@update_<n>`` is read from the curve and needs an
        evaluation after exactly n updates.
        """
        recorded, _ = restate(metric, 0)
        found = self.metrics.get(recorded)
        if match := _OF_ONE_UPDATE.fullmatch(recorded):
            curve = dict(zip(*series(self.curve or (), match[1]), strict=True))
            found = curve.get(int(match[2]))
        return None if found is None else restate(metric, found)[1]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All runs of one experiment under one configuration, the evidence for a claim.

    Args:
        budget_fraction: of the updates at full budget, in (0, 1].
        runs: one for each seed, finished or diverged, ordered by seed.
        campaigns: of the runs.
        ensembles: seeds -> metrics of their ensemble, ``test_accuracy_pct@ensemble_<N>x<M>`` with
            N > 1.
        setting: what was trained, and with which rates; None where that is not known.
        subjects: by number, where it is an experiment over several subjects; its runs are all of
            theirs, and its values are those of subjects.
    """

    experiment: str
    budget_fraction: float
    runs: tuple[Run, ...]
    campaigns: tuple[str, ...] = ()
    ensembles: Mapping[Group, Mapping[str, float]] = field(default_factory=dict)
    setting: Setting | None = None
    subjects: Mapping[int, "Evidence"] = field(default_factory=dict)

    @property
    def draws_nothing(self) -> bool:
        """Whether it is a decoder without updates and without a seed, the same each time."""
        return bool(self.runs) and all(run.updates == 0 for run in self.runs)

    @property
    def num_diverged(self) -> int:
        """Number of diverged runs."""
        return sum(not run.finished for run in self.runs)

    def values(self, metric: str) -> dict[int, float]:
        """Return seed -> value over the finished runs that have ``metric``.

        The value of an ensemble counts once, under its first seed. A run counts in one ensemble
        only, so that the values are independent. Over subjects it is subject -> mean over seeds.
        """
        if self.subjects:
            of_each = {n: [*part.values(metric).values()] for n, part in self.subjects.items()}
            return {n: statistics.fmean(values) for n, values in of_each.items() if values}
        measured = {run.seed: run.value(metric) for run in self.runs if run.finished}
        found = {seed: value for seed, value in measured.items() if value is not None}
        recorded, _ = restate(metric, 0)
        taken: set[int] = set()
        for seeds, metrics in sorted(self.ensembles.items()):
            if recorded in metrics and taken.isdisjoint(seeds):
                found[seeds[0]] = restate(metric, metrics[recorded])[1]
                taken.update(seeds)
        return found
