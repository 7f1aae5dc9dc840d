"""What DVC shows of the committed results: metrics, plots and experiments, also between commits."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import vl_convert
import yaml
from tests.pipeline.conftest import REPOSITORY, Project
from tests.warm import warm_programs

from anneal.results.store import load_results, save_results

pytestmark = pytest.mark.slow
CAMPAIGN = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["campaign"]["name"]
RESULTS = f"results/{CAMPAIGN}"
MOVED_PCT = -9.0


def move(root: Path, experiment: str) -> None:
    """Measure one experiment again, so to speak: every run ends lower."""
    results = load_results(root / RESULTS)
    assert results is not None
    runs = {
        key: dataclasses.replace(run, metrics={n: v + MOVED_PCT for n, v in run.metrics.items()})
        if key[0] == experiment
        else run
        for key, run in results.runs.items()
    }
    save_results(root / RESULTS, dataclasses.replace(results, runs=runs))


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """Return a clone with two commits of results, and the experiment that differs in them."""
    root = tmp_path_factory.mktemp("views")
    results = load_results(REPOSITORY / RESULTS)
    if results is None:
        pytest.skip(f"no results of {CAMPAIGN} are committed")
    for name in ("dvc.yaml", "params.yaml", "Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root / name)
    for name in ("config", "plots"):
        source = REPOSITORY / ".dvc" / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        (root / ".dvc").mkdir(exist_ok=True)
        copy(source, root / ".dvc" / name)
    save_results(root / RESULTS, results)
    (root / ".venv").mkdir()
    (root / ".venv/.installed").touch()  # as after the set-up
    project = Project(root, warm_programs())
    project.run("git", "init", "-q", "-b", "main")
    (root / ".gitignore").write_text(".venv\n")
    project.commit("before")
    experiment = results.ordered()[0].name
    move(root, experiment)
    project.commit("after")
    return project, experiment


def file_of(experiment: str) -> str:
    return f"{RESULTS}/metrics/{experiment.replace('/', '__')}.json"


def test_metrics_are_a_row_for_each_experiment(moved: tuple[Project, str]) -> None:
    project, _ = moved
    said = project.run("dvc", "metrics", "show", "--md")
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in said.splitlines()
        if line.startswith("|")
    ]
    assert header == ["Path", "diverged", "half_width_pct", "n", "test_accuracy_pct@final"]
    results = load_results(project.root / RESULTS)
    assert results is not None
    evidence = results.evidence()
    assert [row[0] for row in rows] == sorted(map(file_of, evidence))
    for name, part in evidence.items():
        values = list(part.values("test_accuracy_pct@final").values())
        (row,) = (row for row in rows if row[0] == file_of(name))
        assert float(row[4]) == pytest.approx(sum(values) / len(values), abs=1e-4)
        assert int(row[3]) == len(values)


def test_difference_between_commits_is_the_experiment_that_moved(
    moved: tuple[Project, str],
) -> None:
    project, experiment = moved
    said = json.loads(project.run("dvc", "metrics", "diff", "HEAD~1", "HEAD", "--json"))
    assert list(said) == [file_of(experiment)]
    assert list(said[file_of(experiment)]) == ["test_accuracy_pct@final"]
    change = said[file_of(experiment)]["test_accuracy_pct@final"]
    assert change["new"] - change["old"] == pytest.approx(MOVED_PCT)
    assert change["diff"] == pytest.approx(MOVED_PCT)
    words = project.run("dvc", "metrics", "diff", "HEAD~1")
    assert len([line for line in words.splitlines() if experiment.split("/")[1] in line]) == 1


def test_quantity_is_one_plot_with_lines_by_experiment_and_commit(
    moved: tuple[Project, str],
) -> None:
    project, _ = moved
    said = json.loads(project.run("dvc", "plots", "diff", "HEAD~1", "HEAD", "--json"))
    assert "errors" not in said
    columns = ("test_accuracy_pct", "train_loss", "lr")
    assert set(said["data"]) == {f"{RESULTS}/plots/{column}.csv" for column in columns}
    for column in columns:
        (picture,) = said["data"][f"{RESULTS}/plots/{column}.csv"]
        assert picture["revisions"] == ["HEAD~1", "HEAD"]
        content = picture["content"]
        with (project.root / RESULTS / f"plots/{column}.csv").open() as file:
            rows = list(csv.DictReader(file))
        drawn = content["data"]["values"]
        assert len(drawn) == 2 * len(rows)
        experiments = {row["experiment"] for row in rows}
        assert len(experiments) == len(load_results(project.root / RESULTS).experiments)
        assert "<DVC" not in json.dumps(content)
        layers = [layer["mark"]["type"] for layer in content["layer"]]
        assert layers == ["area", "line"]
        drawing = vl_convert.vegalite_to_svg(content)
        assert drawing.count('aria-roledescription="line mark"') == 2 * len(experiments)


def test_make_experiments_shows_accuracies_and_no_dependency(moved: tuple[Project, str]) -> None:
    project, experiment = moved
    said = project.run("make", "experiments", COLUMNS="2000")
    head = next(line for line in said.splitlines() if "Experiment" in line)
    columns = head.replace("\u2502", " ").split()
    accuracies = [column for column in columns if column.endswith(":test_accuracy_pct@final")]
    results = load_results(project.root / RESULTS)
    assert results is not None
    assert len(accuracies) == len(results.experiments)
    assert f"{file_of(experiment)}:test_accuracy_pct@final" in accuracies
    others = [column for column in columns if column not in accuracies]
    assert others == [
        "Experiment", "Created", "campaign.name", "seeds", "budget_fraction", "hardware.name",
        "tracking.name",
    ]  # fmt: skip
