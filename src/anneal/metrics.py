"""What a run measured: numbers under honest names, and the runs that belong together (PURE).

A metric's name says the split, the quantity, its unit and the moment: ``test_accuracy_pct@final``
is measured after the last update, ``test_accuracy_pct@best`` is the highest of the evaluations made
on the way. The second is picked on test images, so that it flatters; it is shown, never judged
unless a claim asks for it by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from anneal.curves import Curve
from anneal.ensembles import Group, SnapshotSet
from anneal.parsing import did_you_mean

Status = Literal["finished", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One measured quantity.

    Args:
        name: as in records, claims and results; a name without a moment stands for a curve.
        words: what a reader of a table calls it.
        unit: written behind a value, empty for a pure number.
        higher_is_better: which way an improvement goes.
        decimals: how many a table shows.
    """

    name: str
    words: str
    unit: str
    higher_is_better: bool
    decimals: int


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="test_accuracy_pct@final",
            words="test accuracy at the end",
            unit="%",
            higher_is_better=True,
            decimals=2,
        ),
        Metric(
            name="test_accuracy_pct@best",
            words="highest test accuracy on the way",
            unit="%",
            higher_is_better=True,
            decimals=2,
        ),
        Metric(
            name="test_top5_accuracy_pct@final",
            words="top-5 test accuracy at the end",
            unit="%",
            higher_is_better=True,
            decimals=2,
        ),
        Metric(
            name="test_loss@final",
            words="test loss at the end",
            unit="",
            higher_is_better=False,
            decimals=4,
        ),
        Metric(
            name="test_accuracy_pct",
            words="test accuracy during the run",
            unit="%",
            higher_is_better=True,
            decimals=2,
        ),
        Metric(
            name="test_loss",
            words="test loss during the run",
            unit="",
            higher_is_better=False,
            decimals=4,
        ),
    )
}


def find_metric(name: str) -> Metric:
    """Return the metric of that name.

    >>> find_metric("test_accuracy_pct@final").unit
    '%'

    Raises:
        ValueError: names the nearest right spelling.
    """
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}{did_you_mean(name, METRICS)}")
    return METRICS[name]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One experiment with one seed: how it ended and what it measured.

    Args:
        metrics: by name; a diverged run may have none.
        environment: where it ran, in words: device, precision, threads, commit, torch, started
            (ISO 8601), seconds.
        curve: what was logged on the way, if it was kept.
        snapshots: the weights kept on the way, compared; None where none were.
    """

    seed: int
    configuration_hash: str
    status: Status
    updates: int
    metrics: Mapping[str, float]
    environment: Mapping[str, str] = field(default_factory=dict)
    curve: Curve | None = None
    snapshots: SnapshotSet | None = None

    @property
    def finished(self) -> bool:
        """Whether it reached its last update with finite numbers."""
        return self.status == "finished"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All runs of one experiment under one configuration: what a claim is judged by.

    Args:
        budget_fraction: of the updates at full budget, in (0, 1].
        runs: one for each seed, finished or diverged, ordered by seed.
        campaigns: where the runs come from.
        ensembles: metrics of two or more runs together, by the seeds of these runs.
    """

    experiment: str
    budget_fraction: float
    runs: tuple[Run, ...]
    campaigns: tuple[str, ...] = ()
    ensembles: Mapping[Group, Mapping[str, float]] = field(default_factory=dict)

    @property
    def num_diverged(self) -> int:
        """How many runs diverged."""
        return sum(not run.finished for run in self.runs)

    def values(self, metric: str) -> dict[int, float]:
        """Return seed -> value over the finished runs that measured ``metric``.

        What several runs gave together counts once a group, under its first seed, and a run counts
        in one group alone: otherwise values would not be independent.
        """
        found = {
            run.seed: run.metrics[metric]
            for run in self.runs
            if run.finished and metric in run.metrics
        }
        taken: set[int] = set()
        for seeds, metrics in sorted(self.ensembles.items()):
            if metric in metrics and taken.isdisjoint(seeds):
                found[seeds[0]] = metrics[metric]
                taken.update(seeds)
        return found
