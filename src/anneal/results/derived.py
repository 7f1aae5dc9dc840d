"""Runs of experiments that train nothing: reference decoders, ensembles across experiments.

They have rows in ``runs.csv`` and no entry in ``experiments.yaml``, since they have neither rates
nor curves.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anneal.config.strict import configuration_hash
from anneal.io.csv_files import short
from anneal.io.files import read_json, write_json
from anneal.results.campaign import RunKey
from anneal.results.metrics import Run
from anneal.runs.environment import describe_environment
from anneal.runs.layout import DERIVED


def derived_run(
    seed: int,
    *,
    updates: int,
    metrics: Mapping[str, float],
    made_of: Mapping[str, Any],
    precision: str,
) -> Run:
    """Return a run that ends now.

    Args:
        seed: of the runs behind it; 0 where nothing is drawn.
        updates: of the runs behind it together; 0 where nothing was trained.
        metrics: what was measured.
        made_of: settings and data that it depends on; its configuration hash is of these.
        precision: of the numbers.
    """
    environment = describe_environment()
    return Run(
        seed=seed,
        configuration_hash=configuration_hash(made_of),
        status="finished",
        updates=updates,
        metrics={name: float(short(value)) for name, value in metrics.items()},
        environment={
            "device": environment["cpu"],
            "precision": precision,
            "kernels": "none",
            "threads": str(environment["threads"]),
            "commit": environment["commit"] or "",
            "torch": environment["versions"]["torch"],
            "started": environment["started"],
        },
    )


def save_derived(folder: Path, runs: Mapping[str, list[Run]]) -> None:
    """Write the runs of each experiment, or of each subject of one."""
    write_json(
        folder / DERIVED,
        {
            name: [
                {
                    "seed": run.seed,
                    "configuration_hash": run.configuration_hash,
                    "updates": run.updates,
                    "metrics": dict(run.metrics),
                    "environment": dict(run.environment),
                }
                for run in of_one
            ]
            for name, of_one in runs.items()
        },
    )


def read_derived(path: Path) -> dict[RunKey, Run]:
    """Read what :func:`save_derived` wrote.

    Raises:
        ValueError: a key is missing; names the file.
    """
    found: dict[RunKey, Run] = {}
    try:
        for name, runs in read_json(path).items():
            for run in runs:
                key = (str(name), int(run["seed"]), str(run["configuration_hash"]))
                found[key] = Run(
                    seed=key[1],
                    configuration_hash=key[2],
                    status="finished",
                    updates=int(run["updates"]),
                    metrics=run["metrics"],
                    environment=run["environment"],
                )
    except KeyError as error:
        raise ValueError(f"{path}: missing key {error.args[0]}") from None
    return found
