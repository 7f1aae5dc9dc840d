"""conf/ composes, mirrors the code and says what it means; params.yaml is what it makes."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contracts.conftest import Compose

from anneal.commands.stages.compose import check_campaign
from anneal.config.compose import (
    GROUPS,
    check_experiment,
    compose_campaign,
    compose_experiments,
    compose_run,
    write_params,
)
from anneal.config.options import options
from anneal.config.schema import CampaignConfig
from anneal.config.strict import parse
from anneal.config.tables import load_rows
from anneal.runs.optimizers import OPTIMIZERS, has_momentum
from anneal.runs.plan import check_plan
from anneal.schedules import SCHEDULES

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
OF_THE_MOMENTUM = {"one_cycle_momentum"}  # schedules of a momentum, named in another's file
NEEDS = {("dataset", "imagefolder"): ["dataset.folder=photos"]}  # what only a person can say


pytestmark = pytest.mark.usefixtures("compose_once")


def files_of(folder: str) -> list[str]:
    """Return the options of a group as its files are named."""
    below = CONF / folder
    return sorted(f.relative_to(below).with_suffix("").as_posix() for f in below.rglob("*.yaml"))


def plain_file(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((CONF / f"{name}.yaml").read_text()))


def scalars(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of each scalar below mappings; a list is one value."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from scalars(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


OPTIONS = [(group, option) for group in GROUPS for option in files_of(group)]
TABLES = load_rows(CONF)
RECIPES = files_of("recipe")
CAMPAIGNS = files_of("campaign")
LARGE = 10  # experiments of a campaign whose composition takes seconds


# All rows take long together: `make test` has them, `make check` the first of each recipe.
FIRST = {row.recipe: name for name, row in reversed(TABLES.items())}
ROWS = [
    name if name in FIRST.values() else pytest.param(name, marks=pytest.mark.slow)
    for name in TABLES
]
SOME_CAMPAIGNS = [
    pytest.param(name, marks=pytest.mark.slow)
    if len(plain_file(f"campaign/{name}")["campaign"]["experiments"]) > LARGE
    else name
    for name in CAMPAIGNS
]


def test_groups_are_the_folders_of_conf() -> None:
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert folders == {*GROUPS, "recipe", "table", "campaign", "hydra"}
    assert {path.name for path in CONF.glob("*.yaml")} == {"advise.yaml", "config.yaml", "run.yaml"}
    for group in GROUPS:
        assert options(group) == files_of(group) != []


def test_launcher_of_slurm_keeps_jobs_that_are_preempted() -> None:
    """With 60 minutes or fewer submitit takes a preemption for the end of the job's time."""
    launcher = yaml.safe_load((CONF / "hydra/launcher/slurm.yaml").read_text())
    assert launcher["timeout_min"] > 60
    assert launcher["additional_parameters"] == {"requeue": True}


def test_launcher_of_slurm_has_only_what_its_plugin_knows() -> None:
    plugin = pytest.importorskip(
        "hydra_plugins.hydra_submitit_launcher.config", reason="the extra cluster is not installed"
    )
    launcher = yaml.safe_load((CONF / "hydra/launcher/slurm.yaml").read_text())
    known = {field.name for field in fields(plugin.SlurmQueueConf)}
    assert launcher.keys() - {"defaults"} <= known


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_is_valid(group: str, option: str) -> None:
    experiment = compose_run([f"{group}={option}", *NEEDS.get((group, option), [])])
    check_plan(experiment, where="conf/run.yaml")
    assert getattr(experiment, group).name == plain_file(f"{group}/{option}")["name"]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_carries_the_name_of_its_file(group: str, option: str) -> None:
    assert plain_file(f"{group}/{option}")["name"] == option


def test_any_scheduler_goes_with_any_optimizer_and_any_model() -> None:
    """A row of a grid, not the whole: each option of one group with another of the next."""
    rows = zip(
        files_of("scheduler"), files_of("optimizer") * 3, files_of("model") * 9, strict=False
    )
    for scheduler, optimizer, model in rows:
        asked = [f"scheduler={scheduler}", f"optimizer={optimizer}", f"model={model}"]
        if not has_momentum(optimizer):  # then there is none to schedule
            asked.append("scheduler.momentum=null")
        check_plan(compose_run(asked), where="conf/run.yaml")


def test_every_schedule_has_a_file_and_every_file_a_schedule() -> None:
    assert {*files_of("scheduler")} == {*SCHEDULES} - OF_THE_MOMENTUM
    named = {plain_file(f"scheduler/{o}")["momentum"] is not None for o in files_of("scheduler")}
    assert named == {True, False}, "one of them shows how a momentum is written"


def test_every_update_rule_has_a_file_and_every_file_a_rule() -> None:
    assert {*files_of("optimizer")} == {*OPTIMIZERS}


def test_nothing_in_conf_names_code() -> None:
    """`_target_` would let YAML call any function: options are keys of dicts in the code."""
    naming = [path.name for path in CONF.rglob("*.yaml") if "_target_" in path.read_text()]
    assert naming == []


def test_defaults_lists_start_with_their_own_values() -> None:
    """`_self_` last would let an option undo what the file itself says."""
    roots = [plain_file("config")["defaults"], plain_file("run")["defaults"]]
    assert [defaults[0] for defaults in roots] == ["_self_", "_self_"]


# --- experiments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_row_composes_with_its_recipe_and_keeps_its_own_values(
    name: str, compose_once: Compose
) -> None:
    row, plain = TABLES[name], compose_once("run", [f"experiment={name}"])
    assert (plain["name"], plain["title"], plain["paper"]) == (name, row.title, row.paper)
    composed = dict(scalars(plain))
    own = {k: v for k, v in scalars(row.node()) if k != "defaults"}
    recipe = {k: v for k, v in scalars(plain_file(f"recipe/{row.recipe}")) if k != "defaults"}
    assert {k: composed.get(k) for k in own} == own
    kept = {k: v for k, v in recipe.items() if not any(f"{k}.".startswith(f"{o}.") for o in own)}
    kept = {k: v for k, v in kept.items() if not any(o.startswith(f"{k}.") for o in own)}
    assert {k: composed.get(k) for k in kept} == kept
    for group in GROUPS:
        if group in row.changes:
            assert plain[group]["name"] == row.changes[group]
    del plain["seed"], plain["paths"]
    experiment = check_experiment(plain, where=row.place)
    check_plan(experiment, where=row.place)


@pytest.mark.slow
def test_no_two_rows_of_a_table_are_one_configuration(compose_once: Compose) -> None:
    """Where two are, one of them does not say what it means to change."""
    seen: dict[str, str] = {}
    for name in TABLES:  # of two tables, rows may be one: M = 6 of Snapshot Ensembles
        plain = compose_once("run", [f"experiment={name}"])
        plain = {k: v for k, v in plain.items() if k not in ("name", "title", "paper")}
        key = f"{TABLES[name].file} {json.dumps(plain, sort_keys=True)}"
        assert key not in seen, f"{name} is {seen[key]}"
        seen[key] = name


def test_every_recipe_is_global_and_some_row_uses_it() -> None:
    parents = set()
    for name in RECIPES:
        text = (CONF / "recipe" / f"{name}.yaml").read_text()
        assert text.startswith("# @package _global_\n# "), "and says what it is of"
        including = [d for d in plain_file(f"recipe/{name}")["defaults"] if isinstance(d, str)]
        parents |= {d.removeprefix("/recipe/") for d in including}
        assert {"name", "title", "paper"}.isdisjoint(plain_file(f"recipe/{name}"))
    assert {*RECIPES} == {row.recipe for row in TABLES.values()} | parents
    deep = [p for p in parents if "/recipe/" in (CONF / "recipe" / f"{p}.yaml").read_text()]
    assert deep == [], "a recipe adds to one other at most"


def test_no_row_is_offered_that_is_none() -> None:
    assert options("experiment") == sorted(TABLES)
    assert {row.name.partition("/")[0] for row in TABLES.values()} == {
        row.file.parent.name for row in TABLES.values()
    }


@pytest.mark.parametrize("name", ROWS)
def test_papers_experiment_says_where_in_the_paper_it_stands(
    name: str, compose_once: Compose
) -> None:
    paper = compose_once("run", [f"experiment={name}"])["paper"]
    if name.startswith(("digits/", "imagenet32_imitation/")):
        assert paper is None, f"{name} is a demonstration of ours"
    else:
        place = r"(\d{4}\.\d{5}(v\d+)?, (Table|Figure|section)|BVLC/caffe@\w+, models/)"
        assert re.match(place, paper or ""), name


# --- campaigns ------------------------------------------------------------------------------------


def composed_by(config: CampaignConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the experiments of a campaign and those of its range tests."""
    tests = {name: test.experiment for name, test in config.campaign.range_tests.items()}
    found = compose_experiments({*config.campaign.experiments, *tests.values()}, config)
    composed = {name: found[name] for name in config.campaign.experiments}
    return composed, {name: found[row] for name, row in tests.items()}


@pytest.mark.parametrize("name", SOME_CAMPAIGNS)
def test_every_campaign_agrees_with_its_experiments(name: str) -> None:
    config = compose_campaign(name)
    assert config.campaign.name == name
    composed, tested = composed_by(config)
    check_campaign(config.campaign, composed, tested)
    for experiment in [*composed.values(), *tested.values()]:
        assert experiment.budget_fraction == config.budget_fraction
        own = TABLES[experiment.name].node().get("hardware", {})
        assert set(own) <= {"precision"}
        assert experiment.hardware == replace(config.hardware, **own)
        assert experiment.tracking == config.tracking


def test_each_row_has_the_seeds_that_the_campaign_says() -> None:
    config = compose_campaign("clr_cifar10")
    five = {f"clr/cifar10_{row}" for row in ("fixed", "triangular2", "decay", "exp_range")}
    three = {f"clr/cifar10_{row}" for row in ("exp", "triangular2_shuffled")}
    for count, rows in ((5, five), (3, three), (1, {*config.campaign.experiments} - five - three)):
        assert all(config.seeds_of(row) == tuple(range(count)) for row in rows)
    tested = compose_experiments(["clr/cifar10_range_test"], config)[
        "clr/cifar10_range_test"
    ].range_test
    assert tested.seeds == (0, 1, 2, 3, 4)


def wrong_campaign(compose_once: Compose, **changes: Any) -> CampaignConfig:
    """Return the quick campaign with parts of it replaced."""
    plain = compose_once("config", ["campaign=quick"])
    plain["campaign"] |= changes
    return parse(CampaignConfig, plain, where="x")


EXPERIMENT = "digits/triangular2_found"
WRONG_CAMPAIGNS = [
    ({"experiments": {"digits/sgdr": {"dataset": "cifar10", "range_test": "given"}}},
     "campaign.experiments.digits/sgdr.dataset must agree with the experiment (digits), got "
     "cifar10"),
    ({"datasets": ["cifar10"]}, "campaign.datasets must list digits"),
    ({"experiments": {"digits/sgdr": {"dataset": "digits", "range_test": "digits"}}},
     "campaign.experiments.digits/sgdr.range_test must be given, as conf/table/digits/quick.yaml: "
     "row sgdr says bounds: given, got digits"),
    ({"experiments": {EXPERIMENT: {"dataset": "digits", "range_test": "given"}}},
     "must be a range test, as conf/table/digits/quick.yaml: row triangular2_found says "
     "bounds: range_test, got given"),
    ({"range_tests": {}}, "campaign.range_tests must have digits"),
    ({"range_tests": {"digits": {"dataset": "cifar10", "experiment": EXPERIMENT}}},
     "campaign.range_tests.digits.dataset must agree with the experiment (digits), got cifar10"),
    ({"range_tests": {"digits": {"dataset": "cifar10_caffe",
                                 "experiment": "clr/cifar10_range_test"}}},
     "range_test must be of the same dataset, model, optimizer, batch size"),
    ({"references": {"digits/x": "cifar10"}},
     "campaign.references.digits/x must be of campaign.datasets, got cifar10"),
    ({"ensembles": {"digits/x": {"first": "digits/exp", "second": "digits/other"}}},
     "campaign.ensembles.digits/x must be of campaign.experiments, got digits/other"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), WRONG_CAMPAIGNS)
def test_campaign_that_disagrees_is_refused_with_its_key(
    changes: dict[str, Any], said: str, compose_once: Compose
) -> None:
    config = wrong_campaign(compose_once, **changes)
    composed, tested = composed_by(config)
    with pytest.raises(ValueError, match=r"^conf/campaign/quick\.yaml: ") as refused:
        check_campaign(config.campaign, composed, tested)
    assert said in str(refused.value)


def test_campaign_plans_each_of_its_experiments(compose_once: Compose) -> None:
    config = wrong_campaign(
        compose_once, experiments={"digits/sgdr": {"dataset": "digits", "range_test": "given"}}
    )
    experiment = compose_experiments(["digits/sgdr"], config)["digits/sgdr"]
    arguments = dict(experiment.scheduler.arguments) | {"max_lr": -1.0}
    wrong = replace(experiment, scheduler=replace(experiment.scheduler, arguments=arguments))
    with pytest.raises(
        ValueError, match=r"^conf/table/digits/quick\.yaml: row sgdr: scheduler: max_lr"
    ):
        check_campaign(config.campaign, {"digits/sgdr": wrong}, {})


# --- params.yaml ----------------------------------------------------------------------------------

KEYS = ["seeds", "budget_fraction", "campaign", "hardware", "tracking"]


def test_params_yaml_is_fresh(tmp_path: Path) -> None:
    write_params(output=tmp_path / "params.yaml")
    fresh = (tmp_path / "params.yaml").read_bytes()
    assert (ROOT / "params.yaml").read_bytes() == fresh, "run `make params`"


@pytest.mark.parametrize("overrides", [[], ["campaign=clr_cifar10_short", "seeds=[0,1]"]])
def test_params_yaml_is_what_dvc_itself_would_write(tmp_path: Path, overrides: list[str]) -> None:
    from dvc.utils.hydra import compose_and_dump

    plugins = tmp_path / ".dvc"
    plugins.mkdir()
    compose_and_dump(tmp_path / "dvc.yaml", str(CONF), None, "config", str(plugins), overrides)
    write_params(overrides, output=tmp_path / "ours.yaml")
    assert (tmp_path / "ours.yaml").read_bytes() == (tmp_path / "dvc.yaml").read_bytes()


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_root_of_params_yaml_has_five_keys(name: str, compose_once: Compose) -> None:
    plain = compose_once("config", [f"campaign={name}"])
    assert sorted(plain) == sorted(KEYS)
    assert sorted(yaml.safe_load((ROOT / "params.yaml").read_text())) == sorted(KEYS)


def test_dvc_reads_the_same_root_of_conf() -> None:
    settings = (ROOT / ".dvc" / "config").read_text()
    hydra = dict(re.findall(r"(\w+) = (\w+)", settings.split("[hydra]")[1]))
    assert hydra == {"enabled": "true", "config_dir": "conf", "config_name": "config"}


def test_root_with_another_key_is_not_written(tmp_path: Path) -> None:
    output = tmp_path / "params.yaml"
    output.write_text("as it was")
    with pytest.raises(ValueError, match="unknown key 'foo'"):
        write_params(["+foo=1"], output=output)
    assert output.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [output]
