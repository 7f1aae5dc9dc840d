"""Evaluation of run directories, and the record of an experiment."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anneal.io.csv_files import csv_text
from anneal.results.ensembles import Group, SnapshotSet
from anneal.runs.directory import CHECKPOINT, HISTORY, RunDirectory, read_lines
from anneal.runs.result_file import MERGED
from anneal.runs.layout import seed_folder
from anneal.runs.plan import Plan

if TYPE_CHECKING:
    # imports torch, which readers of records need not wait for
    from anneal.runs.setup import ExperimentSetup

CURVE_COLUMNS = {  # of curves.csv: of the history
    "update": "update",
    "lr": "lr",
    "momentum": "momentum",
    "train_loss": "loss",
    "test_accuracy_pct": "test_accuracy_pct",
    "test_loss": "test_loss",
}


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """One seed that has ended: status, metrics, environment, history and snapshots."""

    seed: int
    status: str
    updates: int
    metrics: dict[str, Any]
    environment: dict[str, Any]
    history: list[dict[str, Any]]
    snapshots: SnapshotSet | None = None


def evaluate_runs(
    plan: Plan, setup: "ExperimentSetup", folder: Path, seeds: Iterable[int]
) -> list[EndedRun]:
    """Evaluate the final weights of each ended seed.

    A run that came in a pack has none: its metrics are those that its machine measured.

    Raises:
        ValueError: the accuracy of the weights differs from the last one in the history: record and
            checkpoint are of different runs.
    """
    runs = []
    for seed in seeds:
        directory = RunDirectory(
            seed_folder(folder, seed), configuration_hash=plan.configuration_hash
        )
        result = directory.result()
        if result is None:
            continue
        metrics = {n: v for n, v in result.items() if "@" in n or n == "best_update"}
        if result["status"] == "finished" and not result.get(MERGED):
            metrics |= _measure_again(directory, setup, metrics["test_accuracy_pct@final"])
        runs.append(
            EndedRun(
                seed=seed,
                status=result["status"],
                updates=result["updates"],
                metrics=metrics,
                environment=environment_of(directory),
                history=read_lines(directory.path / HISTORY),
            )
        )
    return runs


def _measure_again(
    directory: RunDirectory, setup: "ExperimentSetup", said: float
) -> dict[str, float]:
    """Evaluate the final weights in a new network, and compare with the history."""
    checkpoint = directory.read_checkpoint()
    if checkpoint is None:
        raise ValueError(f"{directory.path / CHECKPOINT} of an ended run is missing")
    model = setup.model()
    model.load_state_dict(checkpoint["state"]["model"])
    measured = setup.evaluate(model, setup.data.test)()
    check_one_run(directory, CHECKPOINT, measured.accuracy_pct, said, measured.num_images)
    values = {
        "test_accuracy_pct@final": measured.accuracy_pct,
        "test_loss@final": measured.loss,
    }
    if measured.top5_accuracy_pct is not None:
        values["test_top5_accuracy_pct@final"] = measured.top5_accuracy_pct
    return values


def check_one_run(
    directory: RunDirectory, weights: str, measured: float, said: float, num_images: int
) -> None:
    """Refuse weights whose accuracy differs from the one in the history."""
    # Other threads or another device may break ties differently, in less than 0.2 % of the images.
    if abs(measured - said) > max(100 / num_images, 0.2):
        raise ValueError(
            f"{directory.path}: {weights} gives {measured:.2f} % and the history has "
            f"{said:.2f} %: they are of different runs"
        )


def environment_of(directory: RunDirectory) -> dict[str, Any]:
    """Return the environment of a run at its end, and the seconds of all its starts."""
    entries = directory.environment()
    last = entries[-1]
    return {
        "device": last["gpu"] if last["settings"]["device"] == "cuda" else last["cpu"],
        "precision": last["settings"]["precision"],
        "kernels": last["settings"].get("kernels"),
        "threads": last["settings"]["threads"],
        "commit": last["commit"],
        "torch": last["versions"]["torch"],
        "started": entries[0]["started"],
        "seconds": _seconds(entries),
        "starts": len(entries),
    }


def _seconds(entries: list[dict[str, Any]]) -> float | None:
    """Return the seconds of all starts; None if one of them was killed and recorded none."""
    known = [entry["seconds"] for entry in entries if "seconds" in entry]
    return round(sum(known), 1) if len(known) == len(entries) else None


def make_record(
    plan: Plan,
    *,
    campaign: str,
    runs: Sequence[EndedRun],
    ensembles: Mapping[Group, Mapping[str, float]],
) -> dict[str, Any]:
    """Return the content of record.json: the experiment, each seed, the ensembles."""
    described, experiment = plan.describe(), plan.experiment
    return {
        "campaign": campaign,
        "experiment": experiment.name,
        "title": experiment.title,
        "paper": experiment.paper,
        "configuration_hash": plan.configuration_hash,
        "budget_fraction": experiment.budget_fraction,
        "total_steps": plan.total_steps,
        "full_total_steps": plan.full_total_steps,
        "schedule": described["schedule"],
        "momentum_schedule": described["momentum_schedule"],
        "range_test": described["range_test"],
        "configuration": described["configuration"],
        "runs": [
            {
                "seed": run.seed,
                "status": run.status,
                "updates": run.updates,
                "metrics": run.metrics,
                "environment": run.environment,
                "snapshots": run.snapshots and dataclasses.asdict(run.snapshots),
            }
            for run in runs
        ],
        "ensembles": [
            {"seeds": list(group), "metrics": dict(metrics)} for group, metrics in ensembles.items()
        ],
    }


def curves_csv(runs: list[EndedRun]) -> str:
    """Return the histories of all seeds as one table, with empty cells for missing values."""
    return csv_text(
        ["seed", *CURVE_COLUMNS],
        (
            [run.seed, *(line.get(key, "") for key in CURVE_COLUMNS.values())]
            for run in runs
            for line in run.history
        ),
    )
