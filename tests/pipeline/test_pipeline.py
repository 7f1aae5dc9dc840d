"""The whole pipeline on a small campaign, as a person runs it."""

import csv
import json
import shutil

import pytest
import yaml

pytestmark = pytest.mark.slow
STAGES = 5  # compose, download, range test, collect, report; and two for each experiment


@pytest.fixture(scope="module")
def reproduced(project):
    """Return the project after ``dvc repro``, and what that said."""
    return project, project.run("dvc", "repro")


def ran(said):
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]


def rows(project):
    with (project.root / "results/smoke/runs.csv").open() as file:
        return list(csv.DictReader(file))


def snapshot(project, *folders):
    return {
        path.relative_to(project.root): path.read_bytes()
        for folder in folders
        for path in sorted((project.root / folder).rglob("*"))
        if path.is_file()
    }


def edit(project, name, **values):
    """Change the rates of one experiment as a person would, and compose."""
    file = project.root / "conf/experiment/smoke" / f"{name}.yaml"
    header, content = file.read_text().split("\n", 1)
    plain = yaml.safe_load(content)
    plain["scheduler"] = plain.get("scheduler", {}) | values
    file.write_text(header + "\n" + yaml.safe_dump(plain, sort_keys=False))


# The tests below follow one another in one project, as an afternoon's work would.


def test_one_command_runs_every_stage_and_writes_the_report(reproduced):
    project, said = reproduced
    assert len(ran(said)) == STAGES + 2 * 3
    report = (project.root / "paper/report.md").read_text()
    assert "A small campaign for the tests" in report
    assert {row["experiment"] for row in rows(project)} == {
        "smoke/plain",
        "smoke/diverging",
        "smoke/found",
    }
    figures = list((project.root / "paper/figures").glob("*.svg"))
    assert len(figures) >= 3


def test_diverged_run_is_recorded_and_the_campaign_goes_on(reproduced):
    project, _ = reproduced
    diverged = [row for row in rows(project) if row["experiment"] == "smoke/diverging"]
    assert [row["status"] for row in diverged] == ["diverged", "diverged"]
    assert [row["status"] for row in rows(project) if row["experiment"] == "smoke/plain"] == [
        "finished",
        "finished",
    ]
    assert "2 diverged" in (project.root / "paper/report.md").read_text()


def test_bounds_of_the_range_test_are_trained_with_and_recorded(reproduced):
    project, _ = reproduced
    said = json.loads((project.root / "range_tests/smoke/digits/suggestion.json").read_text())
    run = project.root / "runs/smoke/smoke/found/seed-0"
    plan = yaml.safe_load((run / "experiment.yaml").read_text())
    assert plan["schedule"]["arguments"]["base_lr"] == said["base_lr"]
    assert plan["schedule"]["arguments"]["max_lr"] == said["max_lr"]
    assert plan["range_test"]["rule"] == "smith"
    first = json.loads((run / "history.jsonl").read_text().splitlines()[0])
    assert said["base_lr"] <= first["lr"] <= said["max_lr"]


def test_second_reproduction_has_nothing_to_do(reproduced):
    project, _ = reproduced
    before = snapshot(project, "results", "paper")
    assert ran(project.run("dvc", "repro")) == []
    assert "up to date" in project.run("dvc", "status").lower()
    project.python("-m", "anneal.commands.stages.collect", "smoke")
    project.python("-m", "anneal.commands.stages.report")
    assert snapshot(project, "results", "paper") == before


def test_metrics_and_plots_are_there_for_dvc_to_show(reproduced):
    project, _ = reproduced
    shown = project.run("dvc", "metrics", "show", "--md")
    assert "smoke__plain" in shown
    project.run("dvc", "plots", "show", "--out", "plots_shown")
    page = (project.root / "plots_shown/index.html").read_text()
    assert "test_accuracy_pct" in page


def test_status_says_that_all_have_ended(reproduced):
    project, _ = reproduced
    assert "6 of 6 runs ended" in project.python("-m", "anneal", "status")


def test_editing_one_experiment_reruns_that_one(reproduced):
    project, _ = reproduced
    others = snapshot(project, "runs/smoke/smoke/diverging", "runs/smoke/smoke/found")
    kept = {path: (project.root / path).stat().st_mtime_ns for path in others}
    edit(project, "plain", max_lr=0.004)
    stages = ran(project.run("dvc", "repro"))
    assert stages == [
        "compose", "train@smoke/plain", "evaluate@smoke/plain", "collect", "report",
    ]  # fmt: skip
    assert kept == {path: (project.root / path).stat().st_mtime_ns for path in others}
    plain = [row for row in rows(project) if row["experiment"] == "smoke/plain"]
    assert len(plain) == 4  # the older configuration's rows are still there
    assert len({row["configuration_hash"] for row in plain}) == 2
    aside = list((project.root / "runs/smoke/.replaced/smoke/plain").iterdir())
    assert len(aside) == 2  # and nothing of the older runs is lost


def test_seed_more_trains_that_seed_only(reproduced):
    project, _ = reproduced
    old = snapshot(project, "runs/smoke/smoke/plain/seed-0", "runs/smoke/smoke/plain/seed-1")
    project.python(
        "-m",
        "anneal",
        "params",
        "campaign=smoke",
        "tracking=off",
        "hardware=cpu",
        "hardware.threads=1",
        "seeds=[0,1,2]",
    )
    project.run("dvc", "repro", "train@smoke/plain")
    now = snapshot(project, "runs/smoke/smoke/plain")
    assert {path: now[path] for path in old} == old
    assert (project.root / "runs/smoke/smoke/plain/seed-2/result.json").is_file()


def test_fresh_clone_regenerates_the_report_from_results_alone(reproduced, tmp_path):
    project, _ = reproduced
    project.commit("results")
    before = snapshot(project, "paper")
    project.run("git", "clone", "-q", str(project.root), str(tmp_path / "clone"))
    clone = type(project)(tmp_path / "clone", project.programs)
    shutil.rmtree(clone.root / "paper/figures")
    (clone.root / "paper/report.md").unlink()
    clone.python("-m", "anneal.commands.stages.report")
    assert snapshot(clone, "paper") == before


def test_committed_row_is_not_run_again(reproduced):
    project, _ = reproduced
    shutil.rmtree(project.root / "runs")
    said = project.run("dvc", "repro", "train@smoke/plain")
    assert said.count("already in results/smoke, not run again") >= 2
    assert not (project.root / "runs/smoke/smoke/plain/seed-0").exists()


def test_override_that_nothing_reads_is_refused(reproduced):
    project, _ = reproduced
    before = (project.root / "params.yaml").read_bytes()
    said = project.run("dvc", "exp", "run", "-S", "+colour=green", expect=255)
    assert "unknown key 'colour'" in said
    assert "Traceback" not in said
    (project.root / "params.yaml").write_bytes(before)
