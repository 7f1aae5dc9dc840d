"""Evaluation of the snapshots of an experiment's runs, alone and as ensembles."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from anneal.results.anytime import recommended_update
from anneal.results.ensembles import (
    Group,
    Output,
    SnapshotSet,
    compare_snapshots,
    ensemble_metrics,
)
from anneal.results.evaluate import EndedRun, check_one_run
from anneal.results.snapshot_outputs import labels_of_test_images, snapshot_outputs
from anneal.runs.directory import RunDirectory
from anneal.runs.layout import seed_folder
from anneal.runs.plan import Plan
from anneal.runs.setup import ExperimentSetup


def evaluate_snapshots(
    plan: Plan, setup: ExperimentSetup, folder: Path, runs: Sequence[EndedRun], *, keep: Path
) -> tuple[list[EndedRun], dict[Group, dict[str, float]]]:
    """Evaluate the snapshots of the finished runs, alone and as ensembles.

    A run with snapshots gets ``test_accuracy_pct@ensemble_1x<M>`` for its last M. It gets
    ``test_accuracy_pct@recommended`` too, which needs a snapshot only if there was no evaluation at
    the end of the last cycle.

    Args:
        plan: of all these runs.
        setup: data and settings of their experiment.
        folder: of the run directories.
        runs: from ``evaluate_runs``.
        keep: folder for the outputs, with one folder for each seed.

    Returns:
        The runs with the added metrics, and the metrics of each group of two or more seeds.

    Raises:
        ValueError: a snapshot cannot be read, or its accuracy differs from the history.
    """
    labels = labels_of_test_images(setup)
    outputs: dict[int, Sequence[Output]] = {}
    added = []
    for run in runs:
        if run.status == "finished":
            directory = RunDirectory(
                seed_folder(folder, run.seed), configuration_hash=plan.configuration_hash
            )
            updates = [u for u in plan.snapshots if u in directory.snapshots()]
            found = snapshot_outputs(
                directory, setup, updates=updates, folder=seed_folder(keep, run.seed)
            )
            if found:
                outputs[run.seed] = list(found.values())
            run = _with_snapshots(
                plan, directory, run, compare_snapshots(found, labels), len(labels)
            )
        added.append(run)
    named = ensemble_metrics(outputs, labels)
    added = [
        dataclasses.replace(run, metrics=run.metrics | named.get((run.seed,), {})) for run in added
    ]
    return added, {group: metrics for group, metrics in named.items() if len(group) > 1}


def _with_snapshots(
    plan: Plan, directory: RunDirectory, run: EndedRun, found: SnapshotSet, num_images: int
) -> EndedRun:
    """Return a run with its snapshots and the accuracy of the weights that SGDR recommends."""
    known = {
        line["update"]: line["test_accuracy_pct"]
        for line in run.history
        if "test_accuracy_pct" in line
    } | {run.updates: run.metrics["test_accuracy_pct@final"]}
    for update, accuracy_pct in zip(found.updates, found.accuracy_pct, strict=True):
        if update in known:
            check_one_run(directory, f"snapshot {update}", accuracy_pct, known[update], num_images)
        known[update] = accuracy_pct
    chosen = recommended_update(run.updates, plan.cycle_ends)
    metrics = run.metrics
    if chosen in known:
        metrics = metrics | {"test_accuracy_pct@recommended": known[chosen]}
    return dataclasses.replace(run, metrics=metrics, snapshots=found if found.updates else None)
