"""Tables of papers: what a file says becomes rows, and what is wrong is refused with its place."""

import pickle
import shutil
from pathlib import Path

import pytest

from anneal.config.compose import _RowNode, compose_campaign, compose_experiments, compose_run
from anneal.config.folders import own_folder_first
from anneal.config.options import options, place_of_experiment
from anneal.config.tables import Row, load_rows
from anneal.runs.plan import check_plan

TABLE = """\
paper: 1234.56789v1, Table 1
recipe: new/recipe
set: {training.evaluations: 5}
name: new/{data}_{rate}
title: "{rate}{data}"
over:
  data: {digits: {title: ""}, cifar10: {title: ", CIFAR-10", dataset: cifar10}}
  rate: {low: {scheduler.lr: 1e-4}, high: {title: "0.1", scheduler: {lr: 0.1}}}
without: [cifar10_low]
rows:
  other: {title: other, paper: "1234.56789v1, Table 2", scheduler: triangular, bounds: range_test}
"""
RECIPE = """\
# @package _global_
# A recipe.
defaults:
  - override /dataset: digits
  - override /scheduler: constant

training: {evaluations: 20, length: 40 steps}
"""


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """Return a copy of conf/ with a table and a recipe of another paper."""
    shutil.copytree(repository / "conf", tmp_path / "conf")
    shutil.copy(repository / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, text in (("table/new/table1.yaml", TABLE), ("recipe/new/recipe.yaml", RECIPE)):
        (tmp_path / "conf" / name).parent.mkdir()
        (tmp_path / "conf" / name).write_text(text)
    return Path("conf")


def rows_of_new(conf: Path) -> list[Row]:
    return [row for name, row in load_rows(conf).items() if name.startswith("new/")]


def test_product_and_listed_rows_come_in_the_order_of_the_file(conf: Path) -> None:
    found = {row.name: (row.title, row.paper) for row in rows_of_new(conf)}
    first, second = "1234.56789v1, Table 1", "1234.56789v1, Table 2"
    assert found == {
        "new/digits_low": ("low", first),
        "new/digits_high": ("0.1", first),
        "new/cifar10_high": ("0.1, CIFAR-10", first),
        "new/other": ("other", second),
    }


def test_row_composes_as_its_file_would(conf: Path) -> None:
    row = compose_run(["experiment=new/cifar10_high"])
    file = conf / "experiment" / "new" / "plain.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "# @package _global_\ndefaults:\n  - /recipe/new/recipe\n  - override /dataset: cifar10\n"
        'name: new/cifar10_high\ntitle: "0.1, CIFAR-10"\npaper: 1234.56789v1, Table 1\n'
        "training: {evaluations: 5}\nscheduler: {lr: 0.1}\n"
    )
    assert compose_run(["experiment=new/plain"]) == row
    assert {"new/plain", "new/digits_low"} <= {*options("experiment")}
    assert options("experiment/new")[-2:] == ["other", "plain"]


def test_numbers_are_read_as_hydra_reads_them(conf: Path) -> None:
    experiment = compose_run(["experiment=new/digits_low"])
    assert experiment.scheduler.arguments["lr"] == 1e-4


def test_edited_table_is_read_again(conf: Path) -> None:
    assert compose_run(["experiment=new/digits_high"]).scheduler.arguments["lr"] == 0.1
    (conf / "table/new/table1.yaml").write_text(TABLE.replace("lr: 0.1", "lr: 0.2"))
    assert compose_run(["experiment=new/digits_high"]).scheduler.arguments["lr"] == 0.2


def test_new_row_is_one_line(conf: Path) -> None:
    table = conf / "table/sgdr/table1.yaml"
    line = (
        '    t0_20: {title: "T0 = 20, Tmult = 1", scheduler: {first_cycle: 20 epochs, growth: 1}}\n'
    )
    before = {*load_rows(conf)}
    table.write_text(table.read_text() + line)
    names = {
        f"sgdr/{d}_{m}_t0_20" for d in ("cifar10", "cifar100") for m in ("wrn28_10", "wrn28_20")
    }
    assert {*load_rows(conf)} - before == names
    experiment = compose_run(["experiment=sgdr/cifar100_wrn28_20_t0_20"])
    assert experiment.title == "WRN-28-20, T0 = 20, Tmult = 1, CIFAR-100"
    assert experiment.scheduler.arguments["first_cycle"] == "20 epochs"


WRONG = [
    ("recipe: new/recipe", "recipe: new/receipt", "row digits_low: recipe must be an option of "
     "conf/recipe, got 'new/receipt'; did you mean 'new/recipe'"),
    ("recipe: new/recipe\n", "", "row digits_low: recipe must be an option of conf/recipe"),
    ("paper: 1234.56789v1, Table 1\n", "", "missing key paper"),
    ("set:", "sets:", "unknown key 'sets'; did you mean 'set'?"),
    ("dataset: cifar10}", "dataset: cifar11}", "row cifar10_high: dataset must be an option of "
     "conf/dataset, got 'cifar11'; did you mean 'cifar10'"),
    ("training.evaluations", "training.evaluation", "row digits_low: unknown key "
     "'training.evaluation'; did you mean 'evaluations'"),
    ("bounds: range_test", "bonds: range_test", "row other: unknown key 'bonds'; did you mean "
     "'bounds'?"),
    ("bounds: range_test", "name: x", "row other: unknown key 'name'"),
    ("bounds: range_test", "bounds.a: x", "row other: unknown key 'bounds.a'"),
    ("title: other, ", "", "row other: title must be some text, got None"),
    ("  other:", "  digits_low:", "row digits_low is in conf/table/new/table1.yaml too"),
    ("without: [cifar10_low]", "without: [cifar10_lo]", "without must name combinations of over, "
     "got cifar10_lo"),
    ("name: new/", "name: old/", "over needs a title, and a name that begins with new/"),
    ("{data}_{rate}", "{data}_{rat}", "name must have only {data}, {rate}, got"),
    ("_{rate}\n", "\n", "without must name combinations of over, got cifar10_low"),
    ("low: {", "0.80: {", "the key 0.8 must be text; put it in quotes"),
    ("low: {", "high: {", "line 8: the key high is given twice"),
    ('title: ""}', 'scheduler.lr: 1.0}', "row digits_low: scheduler.lr is set by two dimensions"),
    ("scheduler: {lr: 0.1}", "scheduler: {lr: 0.1}, scheduler.lr: 1", "row digits_high: "
     "scheduler.lr is set twice"),
    ("scheduler: {lr: 0.1}", "scheduler: {lr: 0.1}, scheduler.lr.x: 1", "row digits_high: "
     "scheduler.lr.x is set twice"),
    (TABLE, "paper: null\n", "a block must have rows or over"),
    (TABLE, "", "a table must have rows or over, it is empty"),
    (TABLE, "- a\n", "the whole file must be a mapping"),
    (TABLE, "a: [\n", "line 2: "),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_wrong_table_is_refused_with_file_and_row(
    conf: Path, old: str, new: str, said: str
) -> None:
    file = conf / "table/new/table1.yaml"
    assert old in TABLE
    file.write_text(TABLE.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"^conf/table/new/table1\.yaml[:, ]") as refused:
        load_rows(conf)
    assert said in str(refused.value)


def test_row_of_two_tables_is_refused(conf: Path) -> None:
    (conf / "table/new/table2.yaml").write_text(TABLE)
    with pytest.raises(ValueError, match=r"^conf/table/new/table2.yaml: row digits_low is in conf/"
                                         r"table/new/table1.yaml too"):  # fmt: skip
        options("experiment")


def test_row_that_is_a_file_too_is_refused(conf: Path) -> None:
    file = conf / "experiment/new/other.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("name: new/other\n")
    with pytest.raises(ValueError, match=f"row other is in {file} too"):
        load_rows(conf)


def test_table_beside_its_papers_folder_is_refused(conf: Path) -> None:
    (conf / "table/stray.yaml").write_text(TABLE)
    with pytest.raises(ValueError, match=r"^conf/table/stray.yaml: a table must be conf/table/"):
        load_rows(conf)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("training.evaluations: 5", "training.evaluations: many",
         "training.evaluations must be a whole number, got 'many'"),
        ("scheduler: {lr: 0.1}", "scheduler.lr: -1.0", "scheduler: lr must"),
        ("scheduler: {lr: 0.1}", "scheduler.lrr: 1.0", "scheduler"),
    ],
)  # fmt: skip
def test_wrong_value_names_the_row_of_its_table(conf: Path, old: str, new: str, said: str) -> None:

    (conf / "table/new/table1.yaml").write_text(TABLE.replace(old, new, 1))

    def compose_and_plan() -> None:
        (experiment,) = compose_experiments(["new/digits_high"], compose_campaign("quick")).values()
        check_plan(experiment, where=place_of_experiment(experiment.name))

    with pytest.raises(ValueError, match=r"table1.yaml: row digits_high: ") as refused:
        compose_and_plan()
    assert said in str(refused.value)


def test_row_in_hydras_store_reaches_another_process(conf: Path) -> None:
    """A launcher of joblib or submitit hands the store to the process of each job."""
    row = load_rows(conf)["new/digits_low"]
    there = pickle.loads(pickle.dumps(_RowNode(row)))
    assert (there.node, there.package) == (row.node(), "_global_")


def test_table_of_an_own_folder_may_choose_shipped_options(conf: Path, tmp_path: Path) -> None:
    table = tmp_path / "own/table/mine/t.yaml"
    table.parent.mkdir(parents=True)
    row = "low: {title: low, scheduler: cosine}"
    table.write_text(f"paper: null\nrecipe: new/recipe\nrows: {{{row}}}\n")
    with own_folder_first(["--config-dir", str(tmp_path / "own")]):
        assert "mine/low" in options("experiment")
        assert compose_run(["experiment=mine/low"]).scheduler.name == "cosine"
    assert "mine/low" not in options("experiment")
