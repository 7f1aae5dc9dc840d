"""Reader of the outputs of the stages evaluate and range_test of a campaign."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from anneal.io.csv_files import read_columns, short
from anneal.io.files import read_json, read_yaml
from anneal.results.campaign import CampaignResults, GroupKey, MeasuredExperiment, RunKey
from anneal.results.curves import Curve, thin
from anneal.results.derived import read_derived
from anneal.results.ensemble_store import plain_snapshots
from anneal.results.ensembles import Group
from anneal.results.metrics import Run, RunEnding
from anneal.results.store import ENVIRONMENT, UNRECORDED, plain, read_curves
from anneal.runs.layout import (
    CAMPAIGN_FILE,
    CURVE,
    CURVES,
    DERIVED,
    EVALUATIONS,
    EXPERIMENTS,
    GIVEN,
    RANGE_TESTS,
    RECORD,
    SUGGESTION,
)

POINTS_PER_RUN = 200


def read_measured(root: Path, campaign: str) -> CampaignResults:
    """Read ``evaluations/``, ``range_tests/`` and ``experiments/`` of a campaign.

    Raises:
        ValueError: the campaign was not composed, or a record is invalid.
    """
    path = root / EXPERIMENTS / campaign / CAMPAIGN_FILE
    described = read_yaml(path)
    for key in ("name", "title", "experiments", "budget_fraction"):
        if not isinstance(described, Mapping) or key not in described:
            raise ValueError(f"{path}: missing key {key}")
    experiments: dict[str, MeasuredExperiment] = {}
    runs: dict[RunKey, Run] = {}
    ensembles: dict[GroupKey, Mapping[str, float]] = {}
    configurations: dict[str, Mapping[str, Any]] = {}
    for path in sorted((root / EVALUATIONS / campaign).glob(f"**/{RECORD}")):
        experiment, found, together, configuration = _read_record(path)
        name, digest = experiment.name, experiment.configuration_hash
        experiments[name] = experiment
        configurations[digest] = configuration
        runs |= {(name, run.seed, digest): run for run in found}
        ensembles |= {(name, seeds, digest): metrics for seeds, metrics in together.items()}
    for path in sorted((root / EVALUATIONS / campaign).glob(f"**/{DERIVED}")):
        runs |= read_derived(path)
    return CampaignResults(
        campaign=plain(described),
        experiments=experiments,
        runs=runs,
        configurations=configurations,
        range_tests=_read_suggestions(root / RANGE_TESTS / campaign),
        ensembles=ensembles,
    )


def _read_record(
    path: Path,
) -> tuple[MeasuredExperiment, list[Run], dict[Group, Mapping[str, float]], Mapping[str, Any]]:
    """Read one ``record.json`` and the ``curves.csv`` in its folder.

    Returns:
        The experiment, its runs, the metrics of its ensembles, and its configuration.
    """
    record, curves = read_json(path), read_curves(path.with_name(CURVES))
    try:
        configuration = record["configuration"]
        name, configuration_hash = str(record["experiment"]), str(record["configuration_hash"])
        runs = [
            read_run(run, configuration_hash, curves.get(("", int(run["seed"]))))
            for run in record["runs"]
        ]
        ensembles = {
            tuple(map(int, group["seeds"])): _read_metrics(group["metrics"])
            for group in record.get("ensembles", ())
        }
        experiment = MeasuredExperiment(
            name=name,
            title=str(record["title"]),
            paper=record["paper"],
            configuration_hash=configuration_hash,
            budget_fraction=float(record["budget_fraction"]),
            total_steps=int(record["total_steps"]),
            full_total_steps=int(record["full_total_steps"]),
            schedule=record["schedule"],
            momentum_schedule=record.get("momentum_schedule"),
            range_test=record["range_test"],
            about={
                "dataset": configuration["dataset"]["name"],
                "model": configuration["model"]["name"],
                "optimizer": configuration["optimizer"]["name"],
                "batch_size": configuration["training"]["batch_size"],
            },
        )
    except KeyError as error:
        raise ValueError(f"{path}: missing key {error.args[0]}") from None
    except TypeError:
        raise ValueError(f"{path}: must be the record of an experiment") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return experiment, runs, ensembles, configuration


def read_run(run: Mapping[str, Any], configuration_hash: str, curve: Curve | None = None) -> Run:
    """Read one seed: ``seed``, ``status``, ``updates``, ``metrics``, ``environment``.

    Raises:
        KeyError: one of them is missing.
        ValueError: the status is invalid.
    """
    status = run["status"]
    if status not in ("finished", "diverged"):
        raise ValueError(f"seed {run['seed']}: status must be finished or diverged, got {status!r}")
    environment = run["environment"]
    return Run(
        seed=int(run["seed"]),
        configuration_hash=configuration_hash,
        status=cast(RunEnding, status),
        updates=int(run["updates"]),
        metrics=_read_metrics(run["metrics"]),
        environment=UNRECORDED
        | {
            key: _environment_words(environment[key])
            for key in ENVIRONMENT
            if environment.get(key) is not None
        },
        curve=None if curve is None else thin(curve, limit=POINTS_PER_RUN),
        snapshots=plain_snapshots(run["snapshots"]) if run.get("snapshots") else None,
    )


def _read_metrics(metrics: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the finite metrics, rounded to the digits of the committed table."""
    return {
        str(name): float(short(float(value)))
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    }


def _read_suggestions(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Read every finished range test of a campaign: the suggestion with its curve in columns."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(folder.glob(f"**/{SUGGESTION}")):
        name = path.parent.relative_to(folder).as_posix()
        if name == GIVEN:
            continue
        suggestion = plain(read_json(path))
        if not isinstance(suggestion, dict):
            raise ValueError(f"{path}: must be the suggestion of a range test")
        found[name] = suggestion | {"curve": read_columns(path.with_name(CURVE))}
    return found


def _environment_words(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
