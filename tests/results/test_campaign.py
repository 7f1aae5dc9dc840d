import csv
import dataclasses
import json
import shutil

import pytest
import yaml

from anneal.commands.stages import collect
from anneal.results.campaign import CampaignResults, MeasuredExperiment, gather_evidence, merge
from anneal.results.curves import series
from anneal.results.metrics import Run
from anneal.results.store import load_all_results, load_results

TWO = ["digits/fixed", "digits/decay"]
NEW = "ba9876543210"


def run_lines(world, campaign="quick"):
    with (world.root / "results" / campaign / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def keys(world):
    return [(r["experiment"], r["seed"], r["configuration_hash"][:2]) for r in run_lines(world)]


@pytest.fixture
def collected(world):
    world.describe_campaign(TWO, [0, 1, 2])
    world.evaluate("digits/fixed", {0: 94.0, 1: 95.0, 2: None})
    world.evaluate("digits/decay", {0: 96.0, 1: 96.5, 2: 97.0}, configuration_hash="aa" * 6)
    world.test_range("digits")
    collect.main(["quick"])
    return world


def test_collecting_again_changes_no_byte_and_touches_no_file(collected):
    before = collected.files("results")
    times = {p: p.stat().st_mtime_ns for p in (collected.root / "results").rglob("*")}
    collect.main(["quick"])
    assert collected.files("results") == before
    assert {p: p.stat().st_mtime_ns for p in (collected.root / "results").rglob("*")} == times


def test_rows_are_ordered_and_complete(collected):
    assert keys(collected) == [
        *(("digits/decay", seed, "aa") for seed in "012"),
        *(("digits/fixed", seed, "01") for seed in "012"),
    ]
    first, last = run_lines(collected)[0], run_lines(collected)[-1]
    assert first["test_accuracy_pct@final"] == "96"
    assert first["started"] == "2026-03-04T05:06:07+00:00"
    assert (last["status"], last["updates"], last["test_accuracy_pct@final"]) == (
        "diverged",
        "233",
        "",
    )


def test_kernels_of_a_run_are_recorded_and_of_an_old_one_unrecorded(world):
    world.describe_campaign(TWO, [0, 1])
    world.evaluate("digits/fixed", {0: 94.0, 1: 95.0}, kernels={1: "none"})
    world.evaluate("digits/decay", {0: 94.0}, kernels={0: "cpu"})
    collect.main(["quick"])
    assert [(line["experiment"], line["kernels"]) for line in run_lines(world)] == [
        ("digits/decay", "cpu"),
        ("digits/fixed", "unrecorded"),
        ("digits/fixed", "none"),
    ]


def test_table_without_the_column_kernels_reads_unrecorded(collected):
    path = collected.root / "results/quick/runs.csv"
    lines = run_lines(collected)
    with path.open("w", newline="") as file:
        old = csv.DictWriter(
            file, [name for name in lines[0] if name != "kernels"], extrasaction="ignore"
        )
        old.writeheader()
        old.writerows(lines)
    runs = load_results(path.parent).runs.values()
    assert {run.environment["kernels"] for run in runs} == {"unrecorded"}


def test_clone_without_runs_removes_nothing(collected):
    before = collected.files("results")
    shutil.rmtree(collected.root / "evaluations")
    shutil.rmtree(collected.root / "range_tests")
    collect.main(["quick"])
    assert collected.files("results") == before


def test_merging_with_nothing_is_what_was_there(collected):
    committed = load_results(collected.root / "results" / "quick")
    nothing = dataclasses.replace(
        committed, experiments={}, runs={}, configurations={}, range_tests={}
    )
    assert merge(committed, nothing) == committed
    assert merge(None, committed) == committed


def test_records_without_runs_remove_nothing(collected):
    before = collected.files("results")
    collected.evaluate("digits/fixed", {})
    collected.evaluate("digits/decay", {}, configuration_hash="aa" * 6)
    collect.main(["quick"])
    assert collected.files("results") == before


def test_fewer_seeds_remove_no_row_and_more_seeds_add_some(collected):
    before = collected.files("results/quick/curves")
    collected.evaluate("digits/fixed", {0: 94.0})
    collect.main(["quick"])
    assert len(keys(collected)) == 6
    assert collected.files("results/quick/curves") == before
    collected.evaluate("digits/fixed", {7: 93.0})
    collect.main(["quick"])
    assert ("digits/fixed", "7", "01") in keys(collected)
    assert len(keys(collected)) == 7


def test_run_measured_again_takes_the_new_measurement(collected):
    collected.evaluate("digits/fixed", {2: 93.5})
    collect.main(["quick"])
    last = run_lines(collected)[-1]
    assert (last["status"], last["test_accuracy_pct@final"]) == ("finished", "93.5")
    assert len(keys(collected)) == 6


def test_changed_configuration_keeps_old_rows_and_becomes_current(collected):
    collected.evaluate("digits/fixed", {0: 90.0}, configuration_hash=NEW)
    collect.main(["quick"])
    assert ("digits/fixed", "0", "01") in keys(collected)
    assert ("digits/fixed", "0", "ba") in keys(collected)
    folder = collected.root / "results" / "quick"
    assert yaml.safe_load((folder / "experiments.yaml").read_text())["digits/fixed"][
        "configuration_hash"
    ] == NEW  # fmt: skip
    evidence = load_results(folder).evidence()["digits/fixed"]
    assert evidence.values("test_accuracy_pct@final") == {0: 90.0}
    metrics = json.loads((folder / "metrics/digits__fixed.json").read_text())
    assert metrics == {"n": 1, "diverged": 0, "test_accuracy_pct@final": 90.0}
    assert {p.stem for p in folder.glob("configurations/*")} == {"0123456789ab", "aa" * 6, NEW}


def test_metrics_hold_mean_half_width_and_counts(collected):
    folder = collected.root / "results/quick/metrics"
    metrics = {file.stem: json.loads(file.read_text()) for file in folder.iterdir()}
    assert metrics.keys() == {"digits__fixed", "digits__decay"}
    assert metrics["digits__fixed"]["n"] == 2
    assert metrics["digits__fixed"]["diverged"] == 1
    assert metrics["digits__decay"]["test_accuracy_pct@final"] == 96.5
    assert metrics["digits__decay"]["half_width_pct"] == pytest.approx(1.2421, abs=1e-4)


def test_plots_hold_mean_and_range_over_seeds_of_each_evaluation(collected):
    with (collected.root / "results/quick/plots/test_accuracy_pct.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0]) == ["experiment", "update", "test_accuracy_pct", "lowest", "highest"]
    assert {row["experiment"] for row in rows} == set(TWO)
    evidence = load_results(collected.root / "results/quick").evidence()["digits/decay"]
    curves = [dict(zip(*series(run.curve, "test_accuracy_pct"), strict=True))
              for run in evidence.runs]  # fmt: skip
    rows = [row for row in rows if row["experiment"] == "digits/decay"]
    assert [int(row["update"]) for row in rows] == sorted(curves[0])
    for row in rows:
        values = [curve[int(row["update"])] for curve in curves]
        expected = {
            "test_accuracy_pct": sum(values) / len(values),
            "lowest": min(values),
            "highest": max(values),
        }
        found = {name: float(row[name]) for name in expected}
        assert found == pytest.approx(expected, rel=1e-5)  # six digits


def test_plotted_rate_is_the_schedules(collected):
    with (collected.root / "results/quick/plots/lr.csv").open(newline="") as opened:
        rates = {(row["lr"], row["lowest"], row["highest"]) for row in csv.DictReader(opened)}
    assert rates == {("0.001",) * 3}


def test_curves_are_compact_and_keep_every_evaluation(collected):
    with (collected.root / "results/quick/curves/digits__decay.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["seed"] == "0"]
    assert 190 <= len(rows) <= 200
    assert sum(r["test_accuracy_pct"] != "" for r in rows) == 35
    assert (rows[0]["update"], rows[-1]["update"]) == ("1", "700")
    assert all(len(cell) <= 12 for row in rows for cell in row.values())


def test_range_test_comes_along_and_the_placeholder_does_not(collected):
    folder = collected.root / "results/quick/range_tests"
    assert [p.name for p in folder.iterdir()] == ["digits.json"]
    suggestion = json.loads((folder / "digits.json").read_text())
    assert suggestion["max_lr"] == 0.006
    assert len(suggestion["curve"]["lr"]) == 120


def test_what_the_claims_say_is_beside_the_results(world):
    world.campaign, world.budget_fraction = "clr_cifar10_short", 0.1
    world.describe_campaign(["clr/cifar10_fixed"], [0])
    world.evaluate("clr/cifar10_fixed", {0: 75.0})
    collect.main([world.campaign])
    verdicts = json.loads((world.root / "results/clr_cifar10_short/verdicts.json").read_text())
    by_claim = {found["claim"]: found for found in verdicts}
    fixed = by_claim["clr/table1/cifar10/fixed"]
    assert (fixed["verdict"], fixed["numbers"]["mean"]) == ("shorter run", 75.0)
    assert by_claim["clr/table1/cifar10/triangular2_not_below_fixed"]["verdict"] == "not run"
    assert "clr/table1/cifar10/decay" not in by_claim  # no experiment of this campaign


def test_largest_budget_is_the_evidence_and_equal_configurations_join(world):
    for campaign, budget, finals, configuration in (
        ("short", 0.1, {0: 70.0, 1: 70.0, 2: 70.0}, "c" * 12),
        ("full", 1.0, {0: 81.0, 1: 82.0}, "f" * 12),
        ("more", 1.0, {1: 99.0, 2: 83.0}, "f" * 12),
    ):
        world.campaign, world.budget_fraction = campaign, budget
        world.describe_campaign(["clr/cifar10_fixed"], [0])
        world.evaluate("clr/cifar10_fixed", finals, configuration_hash=configuration)
        collect.main([campaign])
    evidence = gather_evidence(load_all_results(world.root / "results"))["clr/cifar10_fixed"]
    assert evidence.values("test_accuracy_pct@final") == {0: 81.0, 1: 82.0, 2: 83.0}
    assert evidence.campaigns == ("full", "more")


def test_evidence_at_equal_budget_is_the_configuration_run_last():
    def campaign(name, configuration, day, finals):
        runs = {
            ("a", seed, configuration): Run(
                seed=seed, configuration_hash=configuration, updates=9,
                status="diverged" if final is None else "finished",
                metrics={} if final is None else {"test_accuracy_pct@final": final},
                environment={"started": day},
            )
            for seed, final in finals.items()
        }  # fmt: skip
        experiment = MeasuredExperiment(
            name="a", title="a", paper=None, configuration_hash=configuration, total_steps=9,
            budget_fraction=1.0, full_total_steps=9,
            about={"dataset": "d", "model": "m", "optimizer": "o"}, schedule={},
            momentum_schedule=None, range_test=None,
        )  # fmt: skip
        return CampaignResults(
            campaign={"name": name, "budget_fraction": 1.0}, experiments={"a": experiment},
            runs=runs, configurations={}, range_tests={},
        )  # fmt: skip

    old = campaign("old", "0" * 12, "2026-03-01", {0: 90.0, 1: 91.0, 2: 92.0})
    new = campaign("new", "1" * 12, "2026-03-02", {0: 80.0, 1: None})
    evidence = gather_evidence([new, old])["a"]
    assert evidence.campaigns == ("new",)
    assert evidence.values("test_accuracy_pct@final") == {0: 80.0}


def test_derived_runs_are_those_of_the_configuration_that_ran_last():
    def run(seed, digest, started):
        return Run(
            seed=seed, configuration_hash=digest, status="finished", updates=0,
            metrics={"test_accuracy_pct@final": 90.0 + seed}, environment={"started": started},
        )  # fmt: skip

    both = [run(0, "old", "2026-03-01"), run(1, "old", "2026-03-01"), run(0, "new", "2026-03-02")]
    results = CampaignResults(
        campaign={"name": "one", "budget_fraction": 1.0}, experiments={},
        runs={("a", run.seed, run.configuration_hash): run for run in both},
        configurations={}, range_tests={},
    )  # fmt: skip
    assert results.evidence()["a"].runs == (both[2],)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"runs": [{"seed": 0}]}, "missing key status"),
        ({"runs": [{"seed": 0, "status": "lost"}]}, "status must be finished or diverged"),
        ({"title": None, "configuration": {}}, "missing key dataset"),
        ([], "must be the record of an experiment"),
    ],
)
def test_record_that_is_not_one_is_refused_by_name(collected, capsys, damage, message):
    path = collected.root / "evaluations/quick/digits/fixed/record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | damage if isinstance(damage, dict) else damage))
    before = collected.files("results")
    with pytest.raises(SystemExit) as end:
        collect.main(["quick"])
    assert end.value.code != 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "record.json" in said
    assert message in said
    assert collected.files("results") == before


def test_campaign_that_was_never_composed_is_refused_by_name(world, capsys):
    with pytest.raises(SystemExit):
        collect.main(["quikc"])
    assert "experiments/quikc/campaign.yaml is missing" in capsys.readouterr().err


def test_damaged_line_of_the_committed_record_is_named(collected, capsys):
    path = collected.root / "results/quick/runs.csv"
    path.write_text(path.read_text().replace("digits/fixed,1,", "digits/fixed,one,"))
    with pytest.raises(SystemExit):
        collect.main(["quick"])
    assert "results/quick/runs.csv, line 6:" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["campaign.yaml", "experiments.yaml", "runs.csv"])
def test_emptied_file_of_results_is_refused(collected, name):
    folder = collected.root / "results" / "quick"
    (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match=name):
        load_results(folder)


def test_write_that_fails_leaves_the_old_file_and_no_partial_one(collected, monkeypatch, capsys):
    before = collected.files("results")

    def refuse(*_):
        raise OSError(28, "No space left on device", "results/quick/runs.csv")

    collected.evaluate("digits/fixed", {5: 50.0})
    monkeypatch.setattr("anneal.io.files.write_whole", refuse)
    with pytest.raises(SystemExit):
        collect.main(["quick"])
    assert "No space left" in capsys.readouterr().err
    assert collected.files("results") == before


def test_interval_that_decides_and_its_confidence_are_kept(world):
    world.campaign = "clr_cifar10"
    rows = ["clr/cifar10_fixed", "clr/cifar10_exp"]
    world.describe_campaign(rows, [0, 1, 2])
    world.evaluate(rows[0], {0: 81.3, 1: 81.4, 2: 81.5})
    world.evaluate(rows[1], {0: 79.0, 1: 79.1, 2: 79.2}, configuration_hash="ee" * 6)
    collect.main([world.campaign])
    verdicts = json.loads((world.root / "results/clr_cifar10/verdicts.json").read_text())
    fixed = next(v for v in verdicts if v["claim"] == "clr/table1/cifar10/fixed")
    assert (fixed["verdict"], fixed["borrows"], fixed["num_more"]) == ("reproduced", False, None)
    # by hand: sd 0.1; Student's t at 90 %, two degrees: 2.920
    ends = [fixed["numbers"][end] for end in ("low", "high")]
    assert ends == pytest.approx([81.2314, 81.5686], abs=1e-4)
    assert fixed["numbers"]["confidence"] == 0.9
    assert fixed["confidence"] > 0.98
    assert fixed["post_hoc"] is True  # made-up runs of March
    assert fixed["like_paper"]["low"] == pytest.approx(80.9032, abs=1e-4)
    assert fixed["like_paper"]["words"].endswith("contains the paper's 81.4")
