"""``results/<campaign>/``: the committed results of a campaign.

::

    campaign.yaml               the campaign at its last collection: title, budget, order of rows
    experiments.yaml            each experiment's title, budget, schedule, *current* configuration
    runs.csv                    a row for each experiment, seed and configuration hash
    configurations/<hash>.yaml  the resolved configuration of a hash
    ensembles.csv               N runs with M snapshots each: the accuracy of their mean output
    snapshots/<experiment>.csv  each snapshot of a run, and its difference from the earlier ones
    curves/<experiment>.csv     about 200 points a run, with every evaluation; "/" becomes "__"
    range_tests/<name>.json     the suggestion with its curve
    metrics/<experiment>.json   means for ``dvc metrics show``, a row each
    plots/<quantity>.csv        all experiments' curves over seeds, for ``dvc plots show``
    verdicts.json               verdicts of this campaign on the claims about its experiments,
                                written by :mod:`anneal.claims.store`
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from anneal.io.csv_files import csv_text, number_or_none, read_rows, short
from anneal.io.files import json_text, read_json, read_yaml_mapping, write_if_changed
from anneal.results.campaign import CampaignResults, MeasuredExperiment, RunKey
from anneal.results.curves import COLUMNS, Curve, Point, band
from anneal.results.ensemble_store import (
    ENSEMBLES,
    ensembles_csv,
    read_ensembles,
    read_snapshots,
    snapshots_csv,
)
from anneal.results.ensembles import SnapshotSet
from anneal.results.metrics import METRICS, Evidence, Run, RunEnding
from anneal.results.statistics import mean_interval
from anneal.runs.committed import RUNS_FILE, read_run_rows
from anneal.runs.layout import CAMPAIGN_FILE
from anneal.runs.subjects import split_name

ENVIRONMENT = ("device", "precision", "kernels", "threads", "commit", "torch", "started", "seconds")
UNRECORDED = {"kernels": "unrecorded"}  # of runs older than the column
_KEY = ("experiment", "seed", "configuration_hash")
_FIRST = (*_KEY, "status", "updates")
PLOTTED = ("test_accuracy_pct", "train_loss", "lr")
_CURVE_KEY = ("configuration_hash", "seed", "update")


def load_results(folder: Path) -> CampaignResults | None:
    """Read ``results/<campaign>``; None if nothing was collected.

    Raises:
        ValueError: a file is missing or invalid.
    """
    if not (folder / CAMPAIGN_FILE).is_file():
        return None
    entries = read_yaml_mapping(folder / "experiments.yaml")
    known = {field.name for field in dataclasses.fields(MeasuredExperiment)} - {"name"}
    for name, entry in entries.items():
        if set(entry) != known:
            wrong = sorted(map(str, set(entry) ^ known))
            raise ValueError(f"{folder}/experiments.yaml: {name}: unknown or missing keys {wrong}")
    return CampaignResults(
        campaign=read_yaml_mapping(folder / CAMPAIGN_FILE),
        experiments={n: MeasuredExperiment(name=n, **entry) for n, entry in entries.items()},
        runs=_load_runs(folder),
        configurations={
            path.stem: read_yaml_mapping(path)
            for path in sorted(folder.glob("configurations/*.yaml"))
        },
        range_tests={
            path.stem.replace("__", "/"): read_json(path)
            for path in sorted(folder.glob("range_tests/*.json"))
        },
        ensembles=read_ensembles(folder / ENSEMBLES),
    )


def load_all_results(root: Path) -> list[CampaignResults]:
    """Read every campaign under ``results/``, by name."""
    loaded = [load_results(path) for path in sorted(root.glob("*")) if path.is_dir()]
    return [results for results in loaded if results is not None]


def _load_runs(folder: Path) -> dict[RunKey, Run]:
    curves: dict[str, dict[tuple[str, int], Curve]] = {}
    snapshots: dict[str, dict[tuple[str, int], SnapshotSet]] = {}
    runs: dict[RunKey, Run] = {}
    for line, row in enumerate(read_run_rows(folder), start=2):
        try:
            name, seed, configuration = row["experiment"], int(row["seed"]), row[_KEY[2]]
            if name not in curves:
                curves[name] = read_curves(folder / "curves" / f"{file_name(name)}.csv")
                snapshots[name] = read_snapshots(folder / "snapshots" / f"{file_name(name)}.csv")
            measured = {k: v for k, v in row.items() if k not in (*_FIRST, *ENVIRONMENT) and v}
            runs[name, seed, configuration] = Run(
                seed=seed,
                configuration_hash=configuration,
                status=cast(RunEnding, row["status"]),
                updates=int(row["updates"]),
                metrics={key: float(value) for key, value in measured.items()},
                environment=UNRECORDED | {key: row[key] for key in ENVIRONMENT if row.get(key)},
                curve=curves[name].get((configuration, seed)),
                snapshots=snapshots[name].get((configuration, seed)),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"{folder / RUNS_FILE}, line {line}: {error}") from None
    return runs


def read_curves(path: Path) -> dict[tuple[str, int], Curve]:
    """Read curves by (configuration hash, seed); new ones have no hash and get an empty one.

    Numbers are rounded to six digits on reading, so that new and committed curves are equal.
    """
    points: dict[tuple[str, int], list[Point]] = {}
    for line, row in enumerate(read_rows(path), start=2):
        try:
            key = (row.get("configuration_hash", ""), int(row["seed"]))
            values = {column: number_or_none(row.get(column) or "") for column in COLUMNS}
            points.setdefault(key, []).append(Point(update=int(row["update"]), **values))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return {key: tuple(sorted(found, key=lambda p: p.update)) for key, found in points.items()}


def save_results(folder: Path, results: CampaignResults) -> None:
    """Write ``results/<campaign>`` without its verdicts; do not touch unchanged files.

    Files are written atomically, and none is removed.
    """
    entries = {name: _entry(results.experiments[name]) for name in sorted(results.experiments)}
    files = {
        CAMPAIGN_FILE: _yaml(results.campaign),
        "experiments.yaml": _yaml(entries),
        RUNS_FILE: _runs_csv(results.runs),
    }
    for configuration, content in results.configurations.items():
        files[f"configurations/{configuration}.yaml"] = _yaml(content)
    for name in sorted({experiment for experiment, _, _ in results.runs} & entries.keys()):
        files[f"curves/{file_name(name)}.csv"] = _curves_csv(name, results.runs)
        if kept := {
            (configuration, seed): run.snapshots
            for (experiment, seed, configuration), run in results.runs.items()
            if experiment == name and run.snapshots
        }:
            files[f"snapshots/{file_name(name)}.csv"] = snapshots_csv(kept)
    if any(run.snapshots for run in results.runs.values()):
        files[ENSEMBLES] = ensembles_csv(results.runs, results.ensembles)
    evidence = {n: e for n, e in results.evidence().items() if split_name(n)[1] is None}
    for name in sorted(evidence):  # of several subjects, the experiment over all of them
        files[f"metrics/{file_name(name)}.json"] = json_text(_metrics(evidence[name]))
    for column in PLOTTED:
        files[f"plots/{column}.csv"] = _plot_csv(column, evidence)
    for name, suggestion in results.range_tests.items():
        files[f"range_tests/{file_name(name)}.json"] = _compact_json(suggestion)
    for path, text in files.items():
        write_if_changed(folder / path, text)


def file_name(name: str) -> str:
    """Return the file name of an experiment or range test: ``/`` becomes ``__``."""
    return name.replace("/", "__")


def _entry(experiment: MeasuredExperiment) -> dict[str, Any]:
    entry = {f.name: getattr(experiment, f.name) for f in dataclasses.fields(experiment)}
    return {key: plain(value) for key, value in entry.items() if key != "name"}


def _runs_csv(runs: Mapping[RunKey, Run]) -> str:
    used = {name for run in runs.values() for name in run.metrics}
    metrics = [name for name in METRICS if name in used] + sorted(used - METRICS.keys())
    rows = []
    for experiment, seed, configuration in sorted(runs):
        run = runs[experiment, seed, configuration]
        rows.append(
            [experiment, str(seed), configuration, run.status, str(run.updates)]
            + [short(run.metrics[name]) if name in run.metrics else "" for name in metrics]
            + [run.environment.get(key, "") for key in ENVIRONMENT]
        )
    return csv_text([*_FIRST, *metrics, *ENVIRONMENT], rows)


def _curves_csv(experiment: str, runs: Mapping[RunKey, Run]) -> str:
    rows = []
    for name, seed, configuration in sorted(runs, key=lambda key: (key[0], key[2], key[1])):
        if name != experiment:
            continue
        for point in runs[name, seed, configuration].curve or ():
            cells = (getattr(point, column) for column in COLUMNS)
            rows.append(
                [configuration, str(seed), str(point.update)]
                + ["" if cell is None else _six_digits(cell) for cell in cells]
            )
    return csv_text([*_CURVE_KEY, *COLUMNS], rows)


def _metrics(part: Evidence) -> dict[str, Any]:
    """Return the numbers of one experiment for ``dvc metrics show``."""
    values = list(part.values("test_accuracy_pct@final").values())
    entry: dict[str, Any] = {"n": len(values), "diverged": part.num_diverged}
    if values:
        interval = mean_interval(values)
        entry["test_accuracy_pct@final"] = round(interval.mean, 4)
        if interval.half_width is not None:
            entry["half_width_pct"] = round(interval.half_width, 4)
    return entry


def _plot_csv(column: str, evidence: Mapping[str, Evidence]) -> str:
    """Return one quantity of every experiment: mean, lowest and highest over its seeds.

    It has a row for each update that all seeds share, for one plot of ``dvc plots``.
    """
    rows = []
    for name, part in sorted(evidence.items()):
        curves = [run.curve for run in part.runs if run.curve is not None]
        if curves:
            found = band(curves, column)
            values = zip(found.updates, found.mean, found.low, found.high, strict=True)
            rows += [[name, str(update), *map(_six_digits, three)] for update, *three in values]
    return csv_text(["experiment", "update", column, "lowest", "highest"], rows)


def _six_digits(value: float) -> str:
    return f"{value:.6g}"


def _yaml(content: Any) -> str:
    return yaml.safe_dump(plain(content), sort_keys=False, default_flow_style=False, width=100)


def _compact_json(content: Mapping[str, Any]) -> str:
    """Return JSON with one line for each column of the curve."""
    curve = content.get("curve", {})
    lines = [f"    {json.dumps(name)}: {json.dumps(column)}" for name, column in curve.items()]
    shown = {key: value for key, value in content.items() if key != "curve"} | {"curve": None}
    text = json.dumps(shown, indent=2, allow_nan=False)
    body = "{\n" + ",\n".join(lines) + "\n  }" if lines else "{}"
    return text.removesuffix("null\n}") + body + "\n}\n"


def plain(value: Any) -> Any:
    """Convert to dicts, lists and scalars; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
