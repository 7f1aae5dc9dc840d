"""Ensembles of the runs in given folders: find, evaluate and store them."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal.config.schema import ExperimentConfig
from anneal.config.strict import parse
from anneal.io.files import read_yaml, write_json, write_whole
from anneal.io.terminal import say
from anneal.results.curves import Curve, Point
from anneal.results.ensemble_store import ensembles_csv, snapshots_csv
from anneal.results.ensembles import compare_snapshots, ensemble_metrics
from anneal.results.metrics import Evidence, Run
from anneal.results.snapshot_outputs import labels_of_test_images, snapshot_outputs
from anneal.runs.directory import HISTORY, PLAN, RunDirectory, read_lines
from anneal.runs.layout import seed_folder
from anneal.runs.setup import load_setup


@dataclass(frozen=True, kw_only=True)
class KeptRun:
    """A run directory with its plan and the updates of its snapshots."""

    seed: int
    directory: RunDirectory
    plan: dict[str, Any]
    updates: tuple[int, ...]


def find_runs(places: Sequence[Path]) -> list[KeptRun]:
    """Return the finished runs with snapshots in these places, by seed.

    Raises:
        ValueError: a place has no run, runs are of two configurations or repeat a seed, or none
            has finished or has snapshots; names the place and what to do.
    """
    found: dict[int, KeptRun] = {}
    for path in [run for place in places for run in _run_folders(place)]:
        plan = read_yaml(path / PLAN)
        directory = RunDirectory(path, configuration_hash=plan["configuration_hash"])
        result = directory.result()
        if result is None or result["status"] != "finished":
            say(f"{path}: skipped, it has {'not ended' if result is None else result['status']}")
            continue
        seed = int(path.name.removeprefix("seed-"))
        if seed in found:
            raise ValueError(f"{path}: seed {seed} is given twice")
        there = directory.snapshots()
        updates = tuple(update for update in plan.get("snapshots", ()) if update in there)
        if not updates:
            raise ValueError(_without_snapshots(path, plan))
        found[seed] = KeptRun(seed=seed, directory=directory, plan=plan, updates=updates)
    if not found:
        raise ValueError(f"{' '.join(map(str, places))}: no finished run here")
    digests = {run.directory.configuration_hash: run.directory.path for run in found.values()}
    if len(digests) > 1:
        raise ValueError(
            "runs must be of one configuration, got "
            + " and ".join(f"{digest} ({path})" for digest, path in digests.items())
        )
    return [found[seed] for seed in sorted(found)]


def _run_folders(place: Path) -> list[Path]:
    below = [place] if (place / PLAN).is_file() else sorted(place.glob(f"seed-*/{PLAN}"))
    folders = [path if path == place else path.parent for path in below]
    folders = [folder for folder in folders if re.fullmatch(r"seed-[0-9]+", folder.name)]
    if not folders:
        raise ValueError(f"{place}: neither a run directory seed-<n> nor a folder of them")
    return folders


def _without_snapshots(path: Path, plan: dict[str, Any]) -> str:
    """Return the reason why a run has no snapshots, and the key that saves them."""
    said = plan["configuration"]["training"].get("snapshots", "none")
    key = "training.snapshots"
    if said == "none":
        return (
            f"{path}: no snapshots; move it away and train it again with {key}=cycle_ends "
            f"(or '{key}=last 3', '{key}=every 0.2 run')"
        )
    if asked := plan.get("snapshots"):
        return (
            f"{path}: all of its {len(asked)} snapshots are missing ({key}: {said}); move it away "
            "and train it again with them"
        )
    return (
        f"{path}: no snapshots with {key}: {said} in {plan['total_steps']} "
        f"updates of {plan['schedule']['name']} ('{key}=every 0.2 run' works with any schedule)"
    )


def measure_runs(runs: Sequence[KeptRun], *, folder: Path, images: str | None) -> Evidence:
    """Return the runs with the accuracy of their snapshots and of the ensembles.

    Args:
        runs: of one configuration.
        folder: for the cached outputs.
        images: folder of the images, for a data set ``imagefolder``.

    Raises:
        ValueError: a configuration or a snapshot cannot be read, or the images differ.
    """
    first = runs[0]
    where = str(first.directory.path / PLAN)
    experiment = parse(
        ExperimentConfig, first.plan["configuration"], where=where, key="configuration"
    )
    if images is not None:
        dataset = dataclasses.replace(experiment.dataset, folder=images)
        experiment = dataclasses.replace(experiment, dataset=dataset)
    setup = load_setup(experiment)
    for run in runs:
        if run.directory.environment()[-1]["data"] != setup.data.identity:
            raise ValueError(f"{run.directory.path} was trained on other images than those here")
    labels = labels_of_test_images(setup)
    outputs = {
        run.seed: snapshot_outputs(
            run.directory,
            setup,
            updates=run.updates,
            folder=seed_folder(folder, run.seed),
        )
        for run in runs
    }
    metrics = ensemble_metrics({seed: list(o.values()) for seed, o in outputs.items()}, labels)
    return Evidence(
        experiment=experiment.name,
        budget_fraction=experiment.budget_fraction,
        runs=tuple(
            Run(
                seed=run.seed,
                configuration_hash=run.directory.configuration_hash,
                status="finished",
                updates=int(run.plan["total_steps"]),
                metrics=metrics[run.seed,],
                curve=_curve(run.directory.path),
                snapshots=compare_snapshots(outputs[run.seed], labels),
            )
            for run in runs
        ),
        ensembles={group: of_group for group, of_group in metrics.items() if len(group) > 1},
    )


def _curve(path: Path) -> Curve:
    return tuple(
        Point(update=line["update"], test_accuracy_pct=line["test_accuracy_pct"])
        for line in read_lines(path / HISTORY)
        if "test_accuracy_pct" in line
    )


def save_ensemble(evidence: Evidence, folder: Path) -> None:
    """Write the results to ``ensemble.json``, ``ensemble.csv`` and ``diversity.csv``."""
    digest = evidence.runs[0].configuration_hash
    snapshots = {(digest, run.seed): run.snapshots for run in evidence.runs if run.snapshots}
    write_json(
        folder / "ensemble.json",
        {
            "experiment": evidence.experiment,
            "configuration_hash": digest,
            "runs": [
                {"seed": run.seed, "snapshots": run.snapshots and dataclasses.asdict(run.snapshots)}
                for run in evidence.runs
            ],
            "ensembles": [
                {"seeds": list(seeds), "metrics": dict(metrics)}
                for seeds, metrics in [
                    *(((run.seed,), run.metrics) for run in evidence.runs),
                    *sorted(evidence.ensembles.items()),
                ]
            ],
        },
    )
    runs = {(evidence.experiment, run.seed, digest): run for run in evidence.runs}
    groups = {(evidence.experiment, s, digest): m for s, m in evidence.ensembles.items()}
    write_whole(folder / "ensemble.csv", ensembles_csv(runs, groups))
    write_whole(folder / "diversity.csv", snapshots_csv(snapshots))
