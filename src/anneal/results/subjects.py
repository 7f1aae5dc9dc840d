"""Evidence over the subjects of an experiment.

Results hold ``<experiment>/subject-<nn>``; claims name ``<experiment>``.
"""

import dataclasses
import statistics
from collections.abc import Collection, Mapping

from anneal.results.curves import COLUMNS, Curve, Point
from anneal.results.metrics import Evidence, Run
from anneal.runs.subjects import split_name


def over_subjects(parts: Mapping[str, Evidence]) -> dict[str, Evidence]:
    """Return the evidence by experiment, with the experiments whose subjects are among it.

    Args:
        parts: by experiment, single sets and single subjects.
    """
    found: dict[str, dict[int, Evidence]] = {}
    for name, part in parts.items():
        experiment, subject = split_name(name)
        if subject is not None and part.runs:
            found.setdefault(experiment, {})[subject] = part
    return {**parts, **{name: _join(name, of_each) for name, of_each in found.items()}}


def _join(name: str, of_each: Mapping[int, Evidence]) -> Evidence:
    subjects = dict(sorted(of_each.items()))
    return Evidence(
        experiment=name,
        budget_fraction=min(part.budget_fraction for part in subjects.values()),
        runs=tuple(run for part in subjects.values() for run in part.runs),
        campaigns=tuple(sorted({one for part in subjects.values() for one in part.campaigns})),
        subjects=subjects,
    )


def mean_over_subjects(evidence: Evidence, subjects: Collection[int]) -> Evidence:
    """Return an experiment over subjects as runs, each the mean of one seed over these subjects.

    A seed that one of the subjects lacks is left out; it has diverged where one of them has.
    """
    parts = [part for number, part in evidence.subjects.items() if number in subjects]
    if not parts:
        return dataclasses.replace(evidence, runs=(), ensembles={}, subjects={})
    by_seed = [{run.seed: run for run in part.runs} for part in parts]
    shared = sorted(set.intersection(*(set(runs) for runs in by_seed)))
    return dataclasses.replace(
        evidence,
        runs=tuple(_mean_run([runs[seed] for runs in by_seed]) for seed in shared),
        ensembles={
            group: _mean([part.ensembles[group] for part in parts])
            for group in parts[0].ensembles
            if all(group in part.ensembles for part in parts)
        },
        subjects={},
    )


def _mean_run(runs: list[Run]) -> Run:
    finished = all(run.finished for run in runs)
    return dataclasses.replace(
        runs[0],
        status="finished" if finished else "diverged",
        metrics=_mean([run.metrics for run in runs]) if finished else {},
        curve=_mean_curve([run.curve for run in runs if run.curve]) if finished else None,
        snapshots=None,
    )


def _mean(metrics: list[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric that all have."""
    return {
        name: statistics.fmean(of_one[name] for of_one in metrics)
        for name in metrics[0]
        if all(name in of_one for of_one in metrics)
    }


def _mean_curve(curves: list[Curve]) -> Curve | None:
    """Return the mean over curves with the same updates; None where there are others."""
    if len({tuple(point.update for point in curve) for curve in curves}) != 1:
        return None
    return tuple(
        Point(
            update=points[0].update,
            **{column: _mean_value([getattr(p, column) for p in points]) for column in COLUMNS},
        )
        for points in zip(*curves, strict=True)
    )


def _mean_value(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None
