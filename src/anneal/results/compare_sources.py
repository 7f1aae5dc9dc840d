"""Sources of a comparison: a campaign, a commit, a results folder, a multirun.

A commit is read with ``git archive`` into a temporary folder; the working tree is not touched.
"""

import io
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal.config.folders import require_repository
from anneal.io.files import read_yaml
from anneal.io.git import read_git, run_git
from anneal.io.text import did_you_mean, shorten
from anneal.results.compare import ComparedExperiment
from anneal.results.evaluate import environment_of
from anneal.results.metrics import Evidence, Run
from anneal.results.multirun import JOB, read_cells
from anneal.results.record import read_run
from anneal.results.store import load_results
from anneal.runs.directory import PLAN, RunDirectory
from anneal.runs.result_file import RESULT
from anneal.runs.layout import CAMPAIGN_FILE, RESULTS

_HASH = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison: its description and its cells by name."""

    words: str
    cells: Mapping[str, ComparedExperiment]


def read_side(asked: str) -> Side:
    """Read one side.

    Args:
        asked: a campaign's name (``results/<name>``), ``<name>@<commit>``, or the folder of results
            or of a multirun.

    Raises:
        ValueError: it does not exist (names what does), or its files are invalid.
    """
    name = asked.removeprefix(f"{RESULTS}/").strip("/")
    if (RESULTS / name / CAMPAIGN_FILE).is_file():
        return Side(words=str(RESULTS / name), cells=_cells_of_results(RESULTS / name))
    folder = Path(asked)
    if folder.is_dir():
        return Side(words=str(folder), cells=_cells_of_folder(folder))
    if not RESULTS.is_dir():
        require_repository(f"{asked!r} is not a folder; a campaign")
    if "@" in name:
        campaign, _, commit = name.partition("@")
        return _read_commit(campaign, commit)
    campaigns = [path.parent.name for path in RESULTS.glob(f"*/{CAMPAIGN_FILE}")]
    raise ValueError(
        f"there is no campaign with results and no folder {asked!r}{did_you_mean(name, campaigns)}"
    )


def _read_commit(campaign: str, commit: str) -> Side:
    """Read a campaign's results as they were committed."""
    sha = read_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if not sha:
        raise ValueError(f"{campaign}@{commit}: Git knows no commit {commit!r} here")
    there = read_git("ls-tree", "--name-only", sha, f"{RESULTS}/")
    campaigns = [Path(line).name for line in there.splitlines()]
    if campaign not in campaigns:
        raise ValueError(
            f"commit {sha[:10]} has no results of {campaign!r}{did_you_mean(campaign, campaigns)}"
        )
    packed = run_git("archive", "--format=tar", sha, f"{RESULTS}/{campaign}")
    assert packed is not None
    with tempfile.TemporaryDirectory(prefix="anneal-") as temporary:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(temporary, filter="data")
        try:
            cells = _cells_of_results(Path(temporary) / RESULTS / campaign)
        except ValueError as error:
            said = str(error).replace(f"{temporary}/", "")
            raise ValueError(f"commit {sha[:10]}: {said}") from None
    about = read_git("log", "-1", "--format=%h of %cs, %s", sha)
    return Side(words=f"{RESULTS / campaign} at commit {shorten(about, 80)}", cells=cells)


def _cells_of_folder(folder: Path) -> dict[str, ComparedExperiment]:
    if (folder / CAMPAIGN_FILE).is_file():
        return _cells_of_results(folder)
    cells = _cells_of_multirun(folder)
    if not cells:
        raise ValueError(
            f"{folder} has neither {CAMPAIGN_FILE} (the results of a campaign) nor a finished "
            "<configuration hash>/seed-<n> (a multirun)"
        )
    return cells


def _cells_of_results(folder: Path) -> dict[str, ComparedExperiment]:
    """Return each experiment of a campaign under its current configuration."""
    results = load_results(folder)
    if results is None:
        raise ValueError(f"{folder}: {CAMPAIGN_FILE} is missing")
    evidence = results.evidence()
    return {
        found.name: ComparedExperiment(
            evidence=evidence[found.name],
            configuration_hash=found.configuration_hash,
            configuration=results.configurations.get(found.configuration_hash, {}),
            as_run=_as_run(vars(found)),
        )
        for found in results.ordered()
    }


def _as_run(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schedules and the length of a plan in updates."""
    return {key: plan[key] for key in ("total_steps", "schedule", "momentum_schedule")}


def _cells_of_multirun(folder: Path) -> dict[str, ComparedExperiment]:
    """Return each combination under the configuration of its last run.

    It has all ended seeds, of any multirun. A configuration without a job's record has the name of
    its experiment.
    """
    ended = {
        path.name: sorted(path.glob(f"seed-*/{RESULT}"))
        for path in sorted(folder.glob("*"))
        if _HASH.fullmatch(path.name)
    }
    jobs = read_cells(sorted(folder.rglob(JOB), key=_in_time))
    labels = {job.combination: job.configuration_hash for job in jobs}
    for configuration_hash in sorted(ended.keys() - {job.configuration_hash for job in jobs}):
        plan = _plan_of(ended[configuration_hash])
        if plan is not None:
            name = str(plan["configuration"]["name"])
            labels[f"{name} {configuration_hash}" if name in labels else name] = configuration_hash
    cells = {}
    for label, configuration_hash in labels.items():
        results = ended.get(configuration_hash, [])
        plan = _plan_of(results)
        if plan is not None:
            cells[label] = _cell_of_runs(label, plan, [path.parent for path in results])
    return cells


def _in_time(path: Path) -> str:
    """Return the sort key of a job: the time of its multirun, then its number."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), str(path))


def _plan_of(results: Sequence[Path]) -> dict[str, Any] | None:
    return dict(read_yaml(results[0].with_name(PLAN))) if results else None


def _cell_of_runs(
    label: str, plan: Mapping[str, Any], folders: Sequence[Path]
) -> ComparedExperiment:
    configuration_hash, configuration = str(plan["configuration_hash"]), plan["configuration"]
    runs = [_read_run(folder, configuration_hash) for folder in folders]
    return ComparedExperiment(
        evidence=Evidence(
            experiment=label,
            budget_fraction=float(configuration["budget_fraction"]),
            runs=tuple(sorted((run for run in runs if run is not None), key=lambda run: run.seed)),
        ),
        configuration_hash=configuration_hash,
        configuration=configuration,
        as_run=_as_run(plan),
    )


def _read_run(folder: Path, configuration_hash: str) -> Run | None:
    directory = RunDirectory(folder, configuration_hash=configuration_hash)
    result = directory.result()
    if result is None:
        return None
    ended = {
        "seed": folder.name.removeprefix("seed-"),
        "metrics": {name: value for name, value in result.items() if "@" in name},
        "environment": environment_of(directory),
    }
    try:
        return read_run(result | ended, configuration_hash)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{folder / RESULT}: {error}") from None
