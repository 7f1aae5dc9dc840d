"""Snapshots as docs/usage.md has them, run small; in a campaign none is measured twice."""

import csv
import json
import re

import pytest

pytestmark = pytest.mark.slow
SMALL = (
    "training.length=30 steps", "training.batch_size=20", "training.evaluations=3",
    "tracking=off", "hardware=cpu", "hardware.threads=1",
)  # fmt: skip


def usage_commands(project):
    """Return the page's commands about snapshots, without their comments."""
    text = (project.root / "docs/usage.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if "anneal ensemble" in block]
    return [line.split("#")[0].split() for line in block.splitlines()]


def test_usage_commands_save_snapshots_and_evaluate_ensembles(project):
    run, measure = usage_commands(project)
    said = project.python("-m", *run, *SMALL)
    (folder,) = {path.parent.parent for path in project.root.glob("multirun/*/seed-*/result.json")}
    assert str(folder.relative_to(project.root)) in said
    assert measure[-2:] == ["multirun/<configuration", "hash>"]
    said = project.python("-m", *measure[:-2], str(folder.relative_to(project.root)))
    assert re.search(r"^N = 3 +1 ", said, re.MULTILINE)
    with (folder / "ensemble/ensemble.csv").open() as file:
        rows = list(csv.DictReader(file))
    kept = sorted(int(f.stem) for f in folder.glob("seed-0/snapshots/*.pt"))
    assert kept == [4, 12, 28]
    assert {row["seeds"] for row in rows} == {"0", "1", "2", "0+1", "0+1+2"}
    assert {row["num_snapshots"] for row in rows} == {"1", "2", "3"}
    assert (folder / "ensemble/ensemble.svg").read_text().startswith("<?xml")


def test_campaign_records_ensembles_and_added_seed_measures_its_own(project):
    experiment = project.root / "conf/experiment/smoke/plain.yaml"
    text = experiment.read_text()
    experiment.write_text(text.replace("log_lines: 20", "log_lines: 20\n  snapshots: last 2"))
    folder = project.root / "evaluations/smoke/smoke/plain"
    for seeds in ("[0,1]", "[0,1,2]"):
        project.python("-m", "anneal", "params", "campaign=smoke", "tracking=off",
                       "hardware=cpu", "hardware.threads=1", f"seeds={seeds}")  # fmt: skip
        before = {p: p.stat().st_mtime_ns for p in folder.glob("seed-*/*.npy")}
        project.run("dvc", "repro", "evaluate@smoke/plain")
        assert before == {p: p.stat().st_mtime_ns for p in before}
    project.python("-m", "anneal.commands.stages.collect", "smoke")
    record = json.loads((folder / "record.json").read_text())
    assert [group["seeds"] for group in record["ensembles"]] == [[0, 1], [0, 1, 2]]
    with (project.root / "results/smoke/ensembles.csv").open() as file:
        found = {
            (r["seeds"], r["num_snapshots"]): r["test_accuracy_pct"] for r in csv.DictReader(file)
        }
    assert len(found) == 5 * len(record["runs"][0]["snapshots"]["updates"])
    one = record["runs"][1]["metrics"]["test_accuracy_pct@ensemble_1x1"]
    assert float(found["1", "1"]) == pytest.approx(one)
