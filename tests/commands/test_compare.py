"""``anneal compare``: its sides, its table and its mistakes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from anneal.commands import compare
from anneal.commands.stages import collect
from anneal.io.files import write_json, write_yaml
from anneal.results.compare import compare as compare_sides
from anneal.results.compare_sources import read_side
from anneal.results.compare_words import answer_lines
from anneal.results.multirun import Cell, write_cell

ROWS = ("digits/fixed", "digits/hann")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def measure(world: Any, accuracies: dict[str, dict[int, float | None]], **others: Any) -> None:
    """Evaluate and collect a campaign of these rows."""
    world.describe_campaign(list(accuracies), [0, 1, 2])
    for name, finals in accuracies.items():
        world.evaluate(name, finals, updates=40, **others)
    collect.main(["quick"])


@pytest.fixture
def history(world: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Two commits with results between which one row moved; and a change since."""
    git("init", "-q", "-b", "main")
    same = {0: 90.0, 1: 91.0, 2: 92.0}
    measure(world, {"digits/fixed": same, "digits/hann": {0: 80.0, 1: 82.0, 2: 84.0}})
    git("add", "-A")
    git("commit", "-qm", "before")
    measure(world, {"digits/fixed": same, "digits/hann": {0: 85.0, 1: 87.1, 2: 88.9}})
    git("commit", "-qam", "after")
    measure(world, {"digits/fixed": same, "digits/hann": {0: 10.0, 1: 10.0, 2: 10.0}})
    capsys.readouterr()
    return world


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    compare.main([*arguments, "--json"])
    return dict(json.loads(capsys.readouterr().out))


def test_two_commits_of_a_campaign_show_which_row_moved(
    history: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Differences 5.0, 5.1, 4.9: mean 5, sd 0.1, 5 +- 4.3027 x 0.1 / sqrt(3) = 0.248."""
    compare.main(["quick@HEAD~1", "quick@HEAD"])
    said = capsys.readouterr().out
    fixed, hann = (next(line for line in said.splitlines() if row in line) for row in ROWS)
    assert "the same" in fixed
    assert "82.00 ± 4.97 (n=3)" in hann
    assert "+5.00 [+4.75, +5.25]" in hann
    assert "higher, p < 0.001" in hann
    assert "1 of 2 rows differ beyond noise (1 higher, 0 lower)" in said
    assert "Holm's correction over 1 row," in said
    assert said.startswith("A  results/quick at commit ")
    assert ", before" in said.splitlines()[0]


def test_answer_says_which_rows_agree_with_what_is_committed(history: Any) -> None:
    before, after = read_side("quick@HEAD~1").cells, read_side("quick@HEAD").cells
    after |= {"digits/new": after["digits/fixed"]}
    said = answer_lines(compare_sides(before, after, metric=compare.METRIC))
    fixed, hann, new = (next(line for line in said if row in line) for row in (*ROWS, "digits/new"))
    assert fixed.split() == ["digits/fixed", *["91.00", "±", "2.48", "(n=3)"] * 2, "agrees"]
    assert hann.endswith("82.00 ± 4.97 (n=3)  87.00 ± 4.85 (n=3)  differs: higher")
    assert new.endswith("not committed")
    assert said[-1].startswith("1 of 3 experiments agree with what is committed")


def test_a_commit_is_read_without_touching_what_is_checked_out(
    history: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    status, tree = git("status", "--porcelain"), history.files("results")
    index = Path(".git/index").read_bytes()
    found = as_json(capsys, "quick@HEAD~1", "quick")
    assert [row["after"]["mean"] for row in found["rows"]] == [91.0, 10.0]
    assert [row["before"]["mean"] for row in found["rows"]] == [91.0, 82.0]
    assert Path(".git/index").read_bytes() == index
    assert (git("status", "--porcelain"), history.files("results")) == (status, tree)
    assert git("log", "--format=%s") == "after\nbefore"


def test_any_name_of_a_commit_will_do(history: Any) -> None:
    sha = git("rev-parse", "HEAD~1")
    for name in (sha, sha[:8], "main~1", "HEAD@{1}", "HEAD^{/before}"):
        assert read_side(f"quick@{name}").cells["digits/hann"].evidence.values(
            "test_accuracy_pct@final"
        ) == {0: 80.0, 1: 82.0, 2: 84.0}


def test_a_copy_of_a_results_folder_is_a_side(
    history: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Path("results/quick").rename(tmp_path / "theirs")
    found = as_json(capsys, "quick@HEAD", str(tmp_path / "theirs"))
    assert [row["movement"] for row in found["rows"]] == ["the same", "lower"]
    assert found["after"] == str(tmp_path / "theirs")


def test_another_metric_can_be_asked_for(history: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, "quick@HEAD~1", "quick", "--metric", "test_loss@final")
    assert found["metric"] == "test_loss@final"
    assert {row["movement"] for row in found["rows"]} == {"the same"}  # 0.5 in every run


def test_budget_configuration_and_machine_are_said_in_the_row(
    world: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(world, {"digits/fixed": {0: 90.0, 1: 91.0}}, configuration_hash="000000000000")
    Path("results/quick").rename("small")
    record = Path("evaluations/quick/digits/fixed/record.json")
    world.budget_fraction = 0.1
    world.evaluate("digits/fixed", {0: 80.0, 1: None}, configuration_hash="111111111111")
    changed = json.loads(record.read_text())
    changed["configuration"]["scheduler"]["lr"] = 0.002
    changed["configuration"]["training"]["batch_size"] = 50
    changed["runs"][0]["environment"] |= {"device": "H200", "precision": "float32"}
    write_json(record, changed)
    collect.main(["quick"])
    capsys.readouterr()
    compare.main(["small", "quick"])
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "digits/fixed" in line)
    assert "90.50 ± 6.35 (n=2)" in row
    assert "80.00 (n=1, 1 diverged)" in row
    assert " diverged  " in row
    for words in ("budget full → 1/10", "scheduler.lr 0.001 → 0.002", "device cpu → H200 / cpu"):
        assert words in row


def test_a_row_of_which_a_seed_now_diverges_says_so_and_is_counted(
    world: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(world, {"digits/fixed": {0: 90.0, 1: 91.0, 2: 92.0}})
    Path("results/quick").rename("earlier")
    measure(world, {"digits/fixed": {0: 90.0, 1: 91.0, 2: None}})
    capsys.readouterr()
    compare.main(["earlier", "quick"])
    said = capsys.readouterr().out
    (row,) = (line for line in said.splitlines() if "digits/fixed" in line)
    assert "(n=2, 1 diverged)" in row
    assert "the same" not in row
    assert (
        "0 of 1 rows differ beyond noise (0 higher, 0 lower); 1 diverged on one side only" in said
    )


# --- a multirun's folder --------------------------------------------------------------------------


def job(
    folder: Path,
    stamp: str,
    number: int,
    *,
    combination: str,
    configuration_hash: str,
    seed: int,
    final: float | None,
    name: str = "run/digits",
) -> None:
    """Leave what one job of a multirun leaves."""
    run = folder / configuration_hash / f"seed-{seed}"
    run.mkdir(parents=True, exist_ok=True)
    plan = {
        "configuration_hash": configuration_hash,
        "total_steps": 60,
        "schedule": {"name": "hann"},
        "momentum_schedule": None,
        "configuration": {"name": name, "budget_fraction": 1.0, "of": configuration_hash},
    }
    write_yaml(run / "experiment.yaml", plan)
    status = "diverged" if final is None else "finished"
    result: dict[str, Any] = {"status": status, "updates": 60, "code": None}
    if final is not None:
        result |= {"test_accuracy_pct@final": final, "best_update": 60}
    write_json(run / "result.json", result | {"configuration_hash": configuration_hash})
    environment = {
        "commit": "abc",
        "cpu": "a processor",
        "gpu": None,
        "settings": {"device": "cpu", "precision": "bf16", "threads": 2},
        "versions": {"torch": "2.11.0"},
        "started": "2026-01-01T00:00:00Z",
        "seconds": 1.0,
    }
    write_json(run / "environment.json", [environment])
    if combination:
        line = Cell(
            combination=combination,
            configuration_hash=configuration_hash,
            seed=seed,
            status=status,
            updates=60,
            accuracy_pct=final,
            best_accuracy_pct=final,
        )
        write_cell(folder / ".hydra" / stamp / str(number) / "job.json", line)


def test_combinations_of_two_multiruns_are_matched_by_their_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, shift in (("mine", 0.0), ("theirs", 1.0)):
        for number, seed in enumerate((0, 1, 2)):
            job(
                tmp_path / folder,
                "2026-01-01",
                number,
                combination="scheduler=hann",
                configuration_hash=f"{int(shift)}" * 12,
                seed=seed,
                final=80.0 + seed + shift * (1 + seed / 50),
            )
    found = as_json(capsys, str(tmp_path / "mine"), str(tmp_path / "theirs"))
    (row,) = found["rows"]
    assert (row["name"], row["test"], row["movement"]) == ("scheduler=hann", "paired", "higher")
    assert row["configuration"] == [{"key": "of", "before": "0" * 12, "after": "1" * 12}]


def test_a_label_stands_for_the_configuration_it_was_last_run_with(tmp_path: Path) -> None:
    """The tenth job is later than the second, and what conf/ said before does not count."""
    folder = tmp_path / "multirun"
    for stamp, configuration_hash in (("2026-01-01", "a" * 12), ("2026-01-02", "b" * 12)):
        for number, seed in ((2, 0), (10, 1)):
            job(
                folder, stamp, number,
                combination="scheduler=hann", configuration_hash=configuration_hash,
                seed=seed, final=50.0 if configuration_hash[0] == "a" else 90.0,
            )  # fmt: skip
    job(
        folder, "2026-01-02", 9,
        combination="scheduler=hann", configuration_hash="a" * 12, seed=3, final=50.0,
    )  # fmt: skip
    cells = read_side(str(folder)).cells
    assert list(cells) == ["scheduler=hann"]
    values = cells["scheduler=hann"].evidence.values("test_accuracy_pct@final")
    assert values == {0: 90.0, 1: 90.0}


def test_runs_without_job_have_own_name_and_replaced_ones_are_ignored(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "multirun"
    for configuration_hash in ("a" * 12, "b" * 12):
        job(
            folder, "x", 0,
            combination="", configuration_hash=configuration_hash, seed=0, final=None,
        )  # fmt: skip
    (folder / ".replaced").mkdir()
    (folder / ("a" * 12)).rename(folder / ".replaced" / ("c" * 12))
    job(folder, "x", 0, combination="", configuration_hash="a" * 12, seed=0, final=9.0)
    (folder / ("d" * 12) / "seed-0").mkdir(parents=True)  # not ended
    cells = read_side(str(folder)).cells
    assert sorted(cells) == ["run/digits", f"run/digits {'b' * 12}"]
    runs = cells["run/digits"].evidence.runs
    assert runs[0].environment["device"] == "a processor"


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quick"], "needs two sides to compare, got quick"),
        (["quik", "quick"], "no campaign with results and no folder 'quik'; did you mean 'quick'?"),
        (["quick@nobody", "quick"], "quick@nobody: Git knows no commit 'nobody' here"),
        (["quik@HEAD", "quick"], "has no results of 'quik'; did you mean 'quick'?"),
        (["quick@--output=x", "quick"], "Git knows no commit '--output=x' here"),
        (["quick", "paper"], "paper has neither campaign.yaml (the results of a campaign) nor"),
        (["quick", "quick", "--metrik=x"], "unknown option '--metrik=x'; did you mean '--metric'?"),
        (["quick", "quick", "--metric"], "--metric needs the name of a metric"),
        (["quick", "quick", "--metric=test_los@final"], "did you mean 'test_loss@final'"),
    ],
)
def test_a_mistake_is_one_line(
    history: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        compare.main(arguments)
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert said in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")


def test_a_damaged_record_in_a_commit_is_named_by_commit_and_file(
    history: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("results/quick/experiments.yaml").write_text("digits/fixed: {title: x}\n")
    git("commit", "-qam", "damaged")
    with pytest.raises(SystemExit):
        compare.main(["quick@HEAD", "quick@HEAD~1"])
    said = capsys.readouterr().err
    assert f"commit {git('rev-parse', 'HEAD')[:10]}: results/quick/experiments.yaml: " in said
