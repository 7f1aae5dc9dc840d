"""``results/<campaign>/``: the committed record of what was measured, and how it grows (edge).

::

    campaign.yaml               the campaign as it was last collected: title, budget, order of rows
    experiments.yaml            each experiment's title, budget, schedule, *current* configuration
    runs.csv                    a line for each experiment, seed and configuration hash
    configurations/<hash>.yaml  the resolved configuration behind a hash
    curves/<experiment>.csv     about 200 points a run; every evaluation is kept; "/" becomes "__"
    range_tests/<name>.json     the suggestion with its curve
    metrics.json                means for ``dvc metrics show``
    verdicts.json               what the claims say of this campaign

Collecting merges and never replaces: a clone without runs, or a campaign with fewer seeds, removes
no line. A run measured again under the same key takes the new measurement. When an experiment's
configuration changes, its old lines stay in ``runs.csv`` and ``experiments.yaml`` points at the new
hash; tables, figures and claims read the lines of that hash alone.
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from anneal.claims import Judgement
from anneal.curves import COLUMNS, Curve, Point, thin
from anneal.layout import (
    CAMPAIGN_FILE,
    CURVE,
    CURVES,
    EVALUATIONS,
    EXPERIMENTS,
    GIVEN,
    RANGE_TESTS,
    RECORD,
    SUGGESTION,
)
from anneal.metrics import METRICS, Evidence, Run, Status
from anneal.statistics import mean_interval
from anneal.tables import ours_words, paper_words
from anneal.yaml_files import read_json, read_yaml, write_whole

POINTS_PER_RUN = 200
ENVIRONMENT = ("device", "precision", "threads", "commit", "torch", "started", "seconds")
_KEY = ("experiment", "seed", "configuration_hash")
_FIRST = (*_KEY, "status", "updates")
_CURVE_KEY = ("configuration_hash", "seed", "update")

RunKey = tuple[str, int, str]  # experiment, seed, configuration hash


@dataclass(frozen=True, kw_only=True)
class MeasuredExperiment:
    """One experiment of a campaign under its current configuration.

    Args:
        name: ``<paper>/<row>``.
        title: what a reader calls this row.
        paper: where the row stands, or None when it stands for no row of a paper.
        configuration_hash: the current one.
        budget_fraction: of the updates at full budget, in (0, 1].
        total_steps: updates as run.
        full_total_steps: updates at full budget.
        schedule: description of the schedule as run.
        momentum_schedule: of the momentum's, where it has one.
        range_test: name, rule and bounds where the bounds come from a range test.
        about: dataset, model, optimizer and batch size, for captions.
    """

    name: str
    title: str
    paper: str | None
    configuration_hash: str
    budget_fraction: float
    total_steps: int
    full_total_steps: int
    schedule: Mapping[str, Any]
    momentum_schedule: Mapping[str, Any] | None
    range_test: Mapping[str, Any] | None
    about: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CampaignResults:
    """All that is known of one campaign."""

    campaign: Mapping[str, Any]
    experiments: Mapping[str, MeasuredExperiment]
    runs: Mapping[RunKey, Run]
    configurations: Mapping[str, Mapping[str, Any]]
    range_tests: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The campaign's name."""
        return str(self.campaign["name"])

    def ordered(self) -> list[MeasuredExperiment]:
        """Return the measured experiments: the campaign's order first, earlier ones behind."""
        listed = [name for name in self.campaign["experiments"] if name in self.experiments]
        earlier = sorted(self.experiments.keys() - set(listed))
        return [self.experiments[name] for name in [*listed, *earlier]]

    def evidence(self) -> dict[str, Evidence]:
        """Return, by experiment, the runs of its current configuration."""
        return {name: self._evidence_of(found) for name, found in self.experiments.items()}

    def _evidence_of(self, found: MeasuredExperiment) -> Evidence:
        current = (found.name, found.configuration_hash)
        runs = [run for key, run in self.runs.items() if (key[0], key[2]) == current]
        return Evidence(
            experiment=found.name,
            budget_fraction=found.budget_fraction,
            runs=tuple(sorted(runs, key=lambda run: run.seed)),
            campaigns=(self.name,),
        )


def merge(committed: CampaignResults | None, measured: CampaignResults) -> CampaignResults:
    """Return the union; where both hold the same key, what was measured now.

    A configuration file never changes once it is there, since its name is its hash.
    """
    if committed is None:
        return measured
    return CampaignResults(
        campaign=measured.campaign,
        experiments={**committed.experiments, **measured.experiments},
        runs={**committed.runs, **measured.runs},
        configurations={**measured.configurations, **committed.configurations},
        range_tests={**committed.range_tests, **measured.range_tests},
    )


def gather_evidence(campaigns: Sequence[CampaignResults]) -> dict[str, Evidence]:
    """Return the best evidence on each experiment over all campaigns.

    That is the largest budget, then the most finished runs, then the first campaign by name. Runs
    of the same configuration in other campaigns join it; a seed measured in several of them counts
    once, as the chosen campaign has it.
    """
    by_name: dict[str, list[Evidence]] = {}
    for results in sorted(campaigns, key=lambda found: found.name):
        for name, evidence in results.evidence().items():
            if evidence.runs:
                by_name.setdefault(name, []).append(evidence)
    return {name: _join(parts) for name, parts in sorted(by_name.items())}


def _join(parts: Sequence[Evidence]) -> Evidence:
    def weight(part: Evidence) -> tuple[float, int]:
        return part.budget_fraction, len(part.runs) - part.num_diverged

    best = max(parts, key=weight)
    configuration = best.runs[0].configuration_hash
    same = [part for part in parts if part.runs[0].configuration_hash == configuration]
    runs = {run.seed: run for part in [*same, best] for run in part.runs}
    return dataclasses.replace(
        best,
        runs=tuple(runs[seed] for seed in sorted(runs)),
        campaigns=tuple(campaign for part in same for campaign in part.campaigns),
    )


# What the evaluate and range_test stages left


def read_measured(root: Path, campaign: str) -> CampaignResults:
    """Read what lies under ``evaluations/``, ``range_tests/`` and ``experiments/`` of a campaign.

    Raises:
        ValueError: the campaign was not composed, or a record is not as it should be.
    """
    path = root / EXPERIMENTS / campaign / CAMPAIGN_FILE
    described = read_yaml(path)
    for key in ("name", "title", "experiments", "budget_fraction"):
        if not isinstance(described, Mapping) or key not in described:
            raise ValueError(f"{path}: missing key {key}")
    experiments: dict[str, MeasuredExperiment] = {}
    runs: dict[RunKey, Run] = {}
    configurations: dict[str, Mapping[str, Any]] = {}
    for path in sorted((root / EVALUATIONS / campaign).glob(f"**/{RECORD}")):
        experiment, found, configuration = _read_record(path)
        experiments[experiment.name] = experiment
        configurations[experiment.configuration_hash] = configuration
        runs |= {(experiment.name, run.seed, run.configuration_hash): run for run in found}
    return CampaignResults(
        campaign=_plain(described),
        experiments=experiments,
        runs=runs,
        configurations=configurations,
        range_tests=_read_suggestions(root / RANGE_TESTS / campaign),
    )


def _read_record(path: Path) -> tuple[MeasuredExperiment, list[Run], Mapping[str, Any]]:
    """Read one ``record.json`` with the ``curves.csv`` beside it."""
    record, curves = read_json(path), _read_curves(path.with_name(CURVES))
    try:
        configuration = record["configuration"]
        name, configuration_hash = str(record["experiment"]), str(record["configuration_hash"])
        runs = [
            _read_run(run, configuration_hash, curves.get(("", int(run["seed"]))))
            for run in record["runs"]
        ]
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
    return experiment, runs, configuration


def _read_run(run: Mapping[str, Any], configuration_hash: str, curve: Curve | None) -> Run:
    status = run["status"]
    if status not in ("finished", "diverged"):
        raise ValueError(f"seed {run['seed']}: status must be finished or diverged, got {status!r}")
    metrics = {
        str(name): float(value)
        for name, value in run["metrics"].items()
        if value is not None and math.isfinite(value)
    }
    environment = run["environment"]
    return Run(
        seed=int(run["seed"]),
        configuration_hash=configuration_hash,
        status=cast(Status, status),
        updates=int(run["updates"]),
        metrics={name: float(_short(value)) for name, value in metrics.items()},
        environment={
            key: _environment_words(environment[key])
            for key in ENVIRONMENT
            if environment.get(key) is not None
        },
        curve=None if curve is None else thin(curve, limit=POINTS_PER_RUN),
    )


def _read_suggestions(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Read every finished range test of a campaign: the suggestion with its curve in columns."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(folder.glob(f"**/{SUGGESTION}")):
        name = path.parent.relative_to(folder).as_posix()
        if name == GIVEN:
            continue
        suggestion = _plain(read_json(path))
        if not isinstance(suggestion, dict):
            raise ValueError(f"{path}: must be the suggestion of a range test")
        found[name] = suggestion | {"curve": _read_columns(path.with_name(CURVE))}
    return found


def _read_columns(path: Path) -> dict[str, list[float | None]]:
    """Read a CSV of numbers as columns; empty cells and NaN become None."""
    rows = _read_csv(path)
    columns: dict[str, list[float | None]] = {name: [] for name in (rows[0] if rows else ())}
    for row in rows:
        for name, cell in row.items():
            columns[name].append(_number_or_none(cell))
    return columns


# The committed folder


def load_results(folder: Path) -> CampaignResults | None:
    """Read ``results/<campaign>``; None where nothing was ever collected.

    Raises:
        ValueError: a file is missing or not as it was written.
    """
    if not (folder / CAMPAIGN_FILE).is_file():
        return None
    entries = read_yaml(folder / "experiments.yaml") or {}
    known = {field.name for field in dataclasses.fields(MeasuredExperiment)} - {"name"}
    for name, entry in entries.items():
        if set(entry) != known:
            wrong = sorted(set(entry) ^ known)
            raise ValueError(f"{folder}/experiments.yaml: {name}: unknown or missing keys {wrong}")
    return CampaignResults(
        campaign=read_yaml(folder / CAMPAIGN_FILE),
        experiments={n: MeasuredExperiment(name=n, **entry) for n, entry in entries.items()},
        runs=_load_runs(folder),
        configurations={
            path.stem: read_yaml(path) for path in sorted(folder.glob("configurations/*.yaml"))
        },
        range_tests={
            path.stem.replace("__", "/"): read_json(path)
            for path in sorted(folder.glob("range_tests/*.json"))
        },
    )


def load_all_results(root: Path) -> list[CampaignResults]:
    """Read every campaign under ``results/``, by name."""
    loaded = [load_results(path) for path in sorted(root.glob("*")) if path.is_dir()]
    return [results for results in loaded if results is not None]


def _load_runs(folder: Path) -> dict[RunKey, Run]:
    path = folder / "runs.csv"
    curves: dict[str, dict[tuple[str, int], Curve]] = {}
    runs: dict[RunKey, Run] = {}
    for line, row in enumerate(_read_csv(path), start=2):
        try:
            name, seed, configuration = row["experiment"], int(row["seed"]), row[_KEY[2]]
            if name not in curves:
                curves[name] = _read_curves(folder / "curves" / f"{file_name(name)}.csv")
            measured = {k: v for k, v in row.items() if k not in (*_FIRST, *ENVIRONMENT) and v}
            runs[name, seed, configuration] = Run(
                seed=seed,
                configuration_hash=configuration,
                status=cast(Status, row["status"]),
                updates=int(row["updates"]),
                metrics={key: float(value) for key, value in measured.items()},
                environment={key: row[key] for key in ENVIRONMENT if row.get(key)},
                curve=curves[name].get((configuration, seed)),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return runs


def save_results(folder: Path, results: CampaignResults, judgements: Sequence[Judgement]) -> None:
    """Write ``results/<campaign>``; files that would not change are left alone.

    Each file appears whole or not at all, and none is removed.
    """
    entries = {name: _entry(results.experiments[name]) for name in sorted(results.experiments)}
    files = {
        CAMPAIGN_FILE: _yaml(results.campaign),
        "experiments.yaml": _yaml(entries),
        "runs.csv": _runs_csv(results.runs),
        "metrics.json": _json(_metrics(results)),
        "verdicts.json": _json([_verdict(found) for found in judgements]),
    }
    for configuration, content in results.configurations.items():
        files[f"configurations/{configuration}.yaml"] = _yaml(content)
    for name in sorted({experiment for experiment, _, _ in results.runs}):
        files[f"curves/{file_name(name)}.csv"] = _curves_csv(name, results.runs)
    for name, suggestion in results.range_tests.items():
        files[f"range_tests/{file_name(name)}.json"] = _compact_json(suggestion)
    for path, text in files.items():
        write_if_changed(folder / path, text)


def write_if_changed(path: Path, text: str) -> bool:
    """Write a file whole, unless it already says exactly this; return whether it was written."""
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_whole(path, text)
    return True


def file_name(name: str) -> str:
    """Return an experiment's or range test's name as a file's: ``/`` becomes ``__``."""
    return name.replace("/", "__")


def _entry(experiment: MeasuredExperiment) -> dict[str, Any]:
    entry = {f.name: getattr(experiment, f.name) for f in dataclasses.fields(experiment)}
    return {key: _plain(value) for key, value in entry.items() if key != "name"}


def _runs_csv(runs: Mapping[RunKey, Run]) -> str:
    used = {name for run in runs.values() for name in run.metrics}
    metrics = [name for name in METRICS if name in used] + sorted(used - METRICS.keys())
    rows = []
    for experiment, seed, configuration in sorted(runs):
        run = runs[experiment, seed, configuration]
        rows.append(
            [experiment, str(seed), configuration, run.status, str(run.updates)]
            + [_short(run.metrics[name]) if name in run.metrics else "" for name in metrics]
            + [run.environment.get(key, "") for key in ENVIRONMENT]
        )
    return _csv([*_FIRST, *metrics, *ENVIRONMENT], rows)


def _curves_csv(experiment: str, runs: Mapping[RunKey, Run]) -> str:
    rows = []
    for name, seed, configuration in sorted(runs, key=lambda key: (key[0], key[2], key[1])):
        if name != experiment:
            continue
        for point in runs[name, seed, configuration].curve or ():
            cells = (getattr(point, column) for column in COLUMNS)
            rows.append(
                [configuration, str(seed), str(point.update)]
                + ["" if cell is None else f"{cell:.6g}" for cell in cells]
            )
    return _csv([*_CURVE_KEY, *COLUMNS], rows)


def _read_curves(path: Path) -> dict[tuple[str, int], Curve]:
    """Read curves by (configuration hash, seed); fresh ones carry no hash and get an empty one.

    Numbers are cut to six digits on the way in, so that what was just measured and what comes back
    from the committed file are equal.
    """
    points: dict[tuple[str, int], list[Point]] = {}
    for line, row in enumerate(_read_csv(path), start=2):
        try:
            key = (row.get("configuration_hash", ""), int(row["seed"]))
            values = {column: _number_or_none(row.get(column) or "") for column in COLUMNS}
            points.setdefault(key, []).append(Point(update=int(row["update"]), **values))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return {key: tuple(sorted(found, key=lambda p: p.update)) for key, found in points.items()}


def _metrics(results: CampaignResults) -> dict[str, Any]:
    """Return what ``dvc metrics show`` lists: a few numbers for each experiment."""
    evidence = results.evidence()
    shown: dict[str, Any] = {}
    for experiment in results.ordered():
        part = evidence[experiment.name]
        values = list(part.values("test_accuracy_pct@final").values())
        entry: dict[str, Any] = {"n": len(values), "diverged": part.num_diverged}
        if values:
            interval = mean_interval(values)
            entry["test_accuracy_pct@final"] = round(interval.mean, 4)
            if interval.half_width is not None:
                entry["half_width_pct"] = round(interval.half_width, 4)
        shown[experiment.name] = entry
    return shown


def _verdict(found: Judgement) -> dict[str, Any]:
    ours = found.ours
    numbers = None
    if ours is not None:
        numbers = {
            key: None if value is None else round(value, 6)
            for key, value in (("mean", ours.mean), ("low", ours.low), ("high", ours.high))
        } | {"method": ours.method}
    return {
        "claim": found.claim.id,
        "paper": paper_words(found.claim),
        "ours": ours_words(found),
        "numbers": numbers,
        "n": found.n,
        "diverged": found.num_diverged,
        "budget_fraction": found.budget_fraction,
        "verdict": found.verdict,
        "label": found.label,
        "reason": found.reason,
    }


# Text formats


def _read_csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(file)]


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def _yaml(content: Any) -> str:
    return yaml.safe_dump(_plain(content), sort_keys=False, default_flow_style=False, width=100)


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _compact_json(content: Mapping[str, Any]) -> str:
    """Write one line for each entry, so that a curve is a line for each column."""
    curve = content.get("curve", {})
    lines = [f"    {json.dumps(name)}: {json.dumps(column)}" for name, column in curve.items()]
    shown = {key: value for key, value in content.items() if key != "curve"} | {"curve": None}
    text = json.dumps(shown, indent=2, allow_nan=False)
    body = "{\n" + ",\n".join(lines) + "\n  }" if lines else "{}"
    return text.removesuffix("null\n}") + body + "\n}\n"


def _number_or_none(cell: str) -> float | None:
    if not cell:
        return None
    value = float(cell)
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _short(value: float) -> str:
    return f"{value:.10g}"


def _environment_words(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """Return dicts, lists and scalars; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
