"""Snapshots and ensembles on their way from a record into results/, evidence and the report."""

import csv
import json

import pytest

from anneal.commands.stages import collect, report
from anneal.results.campaign import gather_evidence
from anneal.results.ensemble_grid import ensemble_grid_of, ensemble_header, ensemble_rows
from anneal.results.ensemble_store import read_snapshots
from anneal.results.ensembles import ensemble_metric
from anneal.results.metrics import Evidence, Run
from anneal.results.store import load_results

NAME, DIGEST = "digits/sgdr", "0123456789ab"
SCHEDULE = {
    "name": "cosine_restarts",
    "arguments": {"min_lr": 0.0, "max_lr": 0.01, "first_cycle_steps": 100, "growth": 2},
}
UPDATES = [100, 300, 700]
# By group of seeds, M = 1, 2, 3.
GRID = {
    (0,): (94.0, 95.0, 95.5),
    (1,): (93.0, 94.5, 95.0),
    (2,): (95.0, 95.5, 95.0),
    (0, 1): (95.0, 96.0, 96.5),
    (0, 1, 2): (96.0, 96.5, 97.0),
}


def metrics_of(group, accuracies):
    return {ensemble_metric(len(group), m): pct for m, pct in enumerate(accuracies, start=1)}


def evaluate(world, grid, *, name=NAME, seeds=(0, 1, 2), correlation=0.8, **keywords):
    """Write a record as the stage would, with snapshots in it."""
    world.evaluate(name, dict.fromkeys(seeds, 94.0), schedule=SCHEDULE, **keywords)
    file = world.root / "evaluations" / world.campaign / name / "record.json"
    record = json.loads(file.read_text())
    for run in record["runs"]:
        run["metrics"] |= metrics_of((run["seed"],), grid[run["seed"],])
        run["metrics"]["test_accuracy_pct@recommended"] = 94.25
        run["snapshots"] = {
            "updates": UPDATES,
            "accuracy_pct": [60.0, 80.0 + run["seed"], 94.0],
            "disagreement_pct": [[], [30.0], [36.123456789, 12.0]],
            "correlation": [[], [None], [0.5, correlation]],
        }
    record["ensembles"] = [
        {"seeds": list(group), "metrics": metrics_of(group, accuracies)}
        for group, accuracies in grid.items()
        if len(group) > 1
    ]
    file.write_text(json.dumps(record))


def lines(world, name="ensembles.csv"):
    with (world.root / "results" / world.campaign / name).open(newline="") as file:
        return list(csv.DictReader(file))


def grid_in(world):
    found = {}
    for row in lines(world):
        group = tuple(map(int, row["seeds"].split("+")))
        assert (row["experiment"], int(row["num_runs"])) == (NAME, len(group))
        key = row["configuration_hash"], group, int(row["num_snapshots"])
        found[key] = float(row["test_accuracy_pct"])
    return found


def flat(grid, digest=DIGEST):
    return {
        (digest, group, m): pct
        for group, accuracies in grid.items()
        for m, pct in enumerate(accuracies, start=1)
    }


@pytest.fixture
def collected(world):
    world.describe_campaign([NAME], [0, 1, 2])
    evaluate(world, GRID)
    collect.main(["quick"])
    return world


def test_committed_grid_has_every_group_and_every_number_of_snapshots(collected) -> None:
    assert grid_in(collected) == flat(GRID)
    first, *_, last = lines(collected)
    assert (first["seeds"], last["seeds"], last["num_snapshots"]) == ("0", "0+1+2", "3")


def test_what_is_committed_comes_back_and_collecting_again_changes_no_byte(collected) -> None:
    before = collected.files("results")
    collect.main(["quick"])
    assert collected.files("results") == before
    results = load_results(collected.root / "results/quick")
    evidence = results.evidence()[NAME]
    assert evidence.values("test_accuracy_pct@ensemble_1x2") == {0: 95.0, 1: 94.5, 2: 95.5}
    assert evidence.values("test_accuracy_pct@ensemble_2x3") == {0: 96.5}
    assert evidence.values("test_accuracy_pct@ensemble_3x1") == {0: 96.0}
    assert evidence.values("test_accuracy_pct@ensemble_4x1") == {}
    assert evidence.values("test_accuracy_pct@recommended") == dict.fromkeys(range(3), 94.25)
    kept = evidence.runs[1].snapshots
    assert (kept.updates, kept.accuracy_pct) == (tuple(UPDATES), (60.0, 81.0, 94.0))
    assert kept.disagreement_pct == ((), (30.0,), (36.1235, 12.0))
    assert kept.correlation == ((), (None,), (0.5, 0.8))


def test_clone_that_measures_fewer_seeds_loses_no_group(collected) -> None:
    evaluate(collected, {(2,): (90.0, 91.0, 92.0)}, seeds=[2])
    collect.main(["quick"])
    assert grid_in(collected) == flat(GRID | {(2,): (90.0, 91.0, 92.0)})
    (collected.root / "evaluations/quick" / NAME / "record.json").unlink()
    collect.main(["quick"])
    assert grid_in(collected) == flat(GRID | {(2,): (90.0, 91.0, 92.0)})
    rows = lines(collected, "snapshots/digits__sgdr.csv")
    assert [row["seed"] for row in rows] == ["0"] * 3 + ["1"] * 3 + ["2"] * 3


def test_another_configuration_keeps_the_grid_of_the_one_before(collected) -> None:
    grid = {(0,): (80.0,), (1,): (81.0,), (0, 1): (82.0,)}
    evaluate(collected, grid, seeds=[0, 1], configuration_hash="cc" * 6)
    collect.main(["quick"])
    assert grid_in(collected) == flat(GRID) | flat(grid, "cc" * 6)
    evidence = load_results(collected.root / "results/quick").evidence()[NAME]
    assert evidence.values("test_accuracy_pct@ensemble_2x1") == {0: 82.0}
    assert evidence.values("test_accuracy_pct@ensemble_2x2") == {}


def test_group_that_shares_a_run_with_another_is_no_value_of_its_own() -> None:
    """Seeds 1+2 were measured when there was no seed 0."""
    metric = ensemble_metric(2, 1)
    groups = {(0, 1): 90.0, (1, 2): 91.0, (2, 3): 92.0, (4, 5): 93.0}
    evidence = Evidence(
        experiment=NAME,
        budget_fraction=1.0,
        runs=(),
        ensembles={group: {metric: value} for group, value in groups.items()},
    )
    assert evidence.values(metric) == {0: 90.0, 2: 92.0, 4: 93.0}


def test_ensembles_of_several_campaigns_join_as_their_runs_do(collected) -> None:
    first = load_results(collected.root / "results/quick")
    collected.campaign = "more"
    collected.describe_campaign([NAME], [3, 4])
    evaluate(
        collected,
        {(3,): (91.0,), (4,): (92.0,), (3, 4): (93.0,)},
        seeds=[3, 4],
    )
    collect.main(["more"])
    joined = gather_evidence([first, load_results(collected.root / "results/more")])[NAME]
    assert joined.values("test_accuracy_pct@ensemble_1x1") == {0: 94, 1: 93, 2: 95, 3: 91, 4: 92}
    assert joined.values("test_accuracy_pct@ensemble_2x1") == {0: 95.0, 3: 93.0}


def test_results_without_snapshots_have_no_file_of_them(world) -> None:
    world.describe_campaign([NAME], [0, 1])
    world.evaluate(NAME, {0: 94.0, 1: 95.0})
    collect.main(["quick"])
    assert not [n for n in world.files("results") if "ensemble" in n or "snapshots" in n]
    evidence = load_results(world.root / "results/quick").evidence()[NAME]
    assert ensemble_grid_of(evidence) == {}
    report.main([])
    assert "### Snapshots of" not in (world.root / "paper/report.md").read_text()


def test_row_that_is_not_as_it_was_written_names_its_line(collected) -> None:
    file = collected.root / "results/quick/snapshots/digits__sgdr.csv"
    text = file.read_text()
    file.write_text(text.replace(",30,", ",,"))
    with pytest.raises(
        ValueError, match=r"digits__sgdr\.csv, line 3: needs a value for each of the 1"
    ):
        read_snapshots(file)
    file.write_text(text)
    table = collected.root / "results/quick/ensembles.csv"
    table.write_text(table.read_text().replace("0+1,2,1", "0+one,2,1"))
    with pytest.raises(ValueError, match=r"ensembles\.csv, line 11: "):
        load_results(collected.root / "results/quick")


def test_grid_has_a_row_for_each_number_of_runs_with_its_interval() -> None:
    """One run, M = 1: 94, 93, 95: mean 94, sd 1; Student's t 4.3027 / sqrt(3) = 2.48."""
    evidence = Evidence(
        experiment=NAME,
        budget_fraction=1.0,
        runs=tuple(
            Run(
                seed=seed,
                configuration_hash=DIGEST,
                status="finished",
                updates=700,
                metrics=metrics_of((seed,), GRID[seed,]),
            )
            for seed in (0, 1, 2)
        ),
        ensembles={g: metrics_of(g, GRID[g]) for g in GRID if len(g) > 1},
    )
    assert ensemble_header(evidence) == ["runs", "groups", "M = 1", "M = 2", "M = 3"]
    assert ensemble_rows(evidence) == [
        ["N = 1", "3", "94.00 ± 2.48", "95.00 ± 1.24", "95.17 ± 0.72"],
        ["N = 2", "1", "95.00", "96.00", "96.50"],
        ["N = 3", "1", "96.00", "96.50", "97.00"],
    ]


def test_report_has_the_grid_and_one_picture_of_it(collected) -> None:
    report.main([])
    text = (collected.root / "paper/report.md").read_text()
    assert "### Snapshots of sgdr" in text
    assert "Weights were kept after 100, 300, 700 updates." in text
    assert "| N = 1 | 3 | 94.00 ± 2.48 | 95.00 ± 1.24 | 95.17 ± 0.72 |" in text
    assert "figures/quick-ensemble-digits-sgdr.svg" in text
    picture = collected.root / "paper/figures/quick-ensemble-digits-sgdr.svg"
    before = picture.read_bytes()
    assert before.startswith(b"<?xml")
    evaluate(collected, GRID, correlation=-0.4)
    collect.main(["quick"])
    report.main([])
    assert picture.read_bytes() != before  # the matrix is drawn from what was measured
