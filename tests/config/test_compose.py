"""Hydra's complaints in one line, with the nearest right spelling."""

import dataclasses
import shlex
import shutil
from pathlib import Path

import pytest

from anneal.commands.params import main as params_command
from anneal.commands.stages.compose import main as compose_stage
from anneal.config.compose import (
    compose_campaign,
    compose_experiments,
    compose_plain,
    compose_run,
    load_campaign,
    write_params,
)
from anneal.config.schema import CampaignConfig
from anneal.config.strict import parse
from anneal.io.files import read_yaml


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.chdir(repository)


def complaint(*overrides: str) -> str:
    with pytest.raises(ValueError, match=r".") as refused:
        compose_run(overrides)
    said = str(refused.value)
    assert "\n" not in said
    assert "hydra.errors" not in said
    return said


@pytest.mark.parametrize(
    "folder",
    ["/data/Füße", "/data/写真", "~/photos", "/photos(1)", "/a=b", "/[x]", "/{x}", "/a#b", "/a'b",
     '/a"b', "C:\\photos(1)", "(\\", '(\\"b\\\\'],
)  # fmt: skip
def test_text_that_hydra_cannot_read_is_shown_quoted(folder: str) -> None:
    said = complaint("dataset=imagefolder", f"dataset.folder={folder}")
    assert said.startswith(f"Hydra cannot read dataset.folder={folder}; text is quoted twice")
    (quoted,) = shlex.split(said.rpartition("and for Hydra: ")[2])
    assert compose_run(["dataset=imagefolder", quoted]).dataset.folder == folder


def test_override_without_a_value_is_named() -> None:
    assert complaint("digits") == "Hydra cannot read digits: <key>=<value> is expected"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("scheduler=triangluar", "conf/scheduler has no option 'triangluar'; did you mean "
         "'triangular' or 'triangular2'?"),
        ("dataset=digit", "conf/dataset has no option 'digit'; did you mean 'digits'?"),
        ("hardware=", "hardware= has no value; there is auto, cpu, cuda, mps"),
        ("seed=0,1", "seed=0,1: several values need -m, as in anneal run -m seed=0,1"),
        ("scheduler=[triangular,triangluar]", "conf/scheduler has no option 'triangluar'; did you "
         "mean 'triangular' or 'triangular2'?"),
        ("hardware=gpu", "conf/hardware has no option 'gpu'; did you mean 'cpu'?"),
        ("tracking=zzz", "conf/tracking has no option 'zzz'; there is auto, off, offline, online"),
    ],
)  # fmt: skip
def test_unknown_option_is_answered_with_the_near_ones(override: str, said: str) -> None:
    assert complaint(override) == said


def test_unknown_experiment_is_answered_with_the_near_ones_of_its_paper() -> None:
    said = complaint("experiment=clr/cifar10_triangular3")
    assert said.startswith("conf/experiment/clr has no option 'cifar10_triangular3'; did you mean")
    assert "'cifar10_triangular2'" in said
    said = complaint("experiment=nosuch/row")
    assert "there is baselines/cifar100_constant_depth110, " in said
    assert said.endswith(" more")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("schedule=triangular", "unknown key 'schedule'; did you mean 'scheduler'?"),
        ("training.lenght=3 steps", "unknown key 'training.lenght'; did you mean 'length'?"),
        ("trainig.length=3 steps", "unknown key 'trainig.length'; did you mean 'training'"),
        ("scheduler.base_rl=1", "unknown key 'scheduler.base_rl'; did you mean 'base_lr'?"),
        ("scheduler.stages.first=1", "unknown key 'scheduler.stages.first'; there is base_lr, "),
        ("zzz=1", "unknown key 'zzz'; there is bounds, budget_fraction, dataset, "),
        ("+trainings=1", "conf/run.yaml: unknown key 'trainings'; did you mean 'training'"),
        ("+dataset.image_sise=1", "conf/dataset/digits.yaml (or an override): unknown key "
         "'image_sise'; did you mean 'image_size'?"),
        ("~training.length", "conf/run.yaml: missing key training.length"),
    ],
)  # fmt: skip
def test_unknown_key_is_answered_with_its_neighbours(override: str, said: str) -> None:
    assert complaint(override).startswith(said)


def test_neighbours_are_those_of_the_options_that_were_chosen() -> None:
    said = complaint("scheduler=one_cycle", "scheduler.final_rl=1")
    assert said == "unknown key 'scheduler.final_rl'; did you mean 'final_lr'?"
    assert "'final_lr'" not in complaint("scheduler=constant", "scheduler.final_rl=1")


def test_group_that_is_none_of_a_runs_is_an_unknown_key() -> None:
    """It once ended in an endless recursion."""
    assert complaint("campaign=quick").startswith("unknown key 'campaign'; there is bounds, ")


@pytest.mark.parametrize(
    "override",
    ["training.length=[1", "scheduler", "--foo", "seed=1=2", "dataset=null", "dataset.name=${no}"],
)
def test_whatever_else_hydra_says_is_one_line(override: str) -> None:
    assert complaint(override)


def test_interpolations_are_resolved() -> None:
    plain = compose_plain("run", ["scheduler=constant"])
    assert plain["name"] == "run/digits_caffe_cifar_constant"


def test_value_of_an_option_is_refused_with_the_options_own_file() -> None:
    said = complaint("model=timm", "model.small_images=3")
    assert said.startswith("conf/model/timm.yaml (or an override): small_images must be true or")


# --- campaigns and params.yaml --------------------------------------------------------------------


def test_experiment_has_hardware_tracking_and_budget_of_campaign() -> None:
    campaign = compose_campaign("quick")
    campaign = dataclasses.replace(
        campaign, budget_fraction=0.5, hardware=dataclasses.replace(campaign.hardware, threads=3)
    )
    experiment = compose_experiments(["digits/sgdr"], campaign)["digits/sgdr"]
    assert (experiment.budget_fraction, experiment.hardware.threads) == (0.5, 3)
    assert experiment.tracking == campaign.tracking
    with pytest.raises(ValueError, match="no option 'digits/sgd'; did you mean 'digits/sgdr'"):
        compose_experiments(["digits/sgd"], campaign)["digits/sgd"]


def test_experiment_may_set_precision_but_no_other_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    shutil.copytree(repository / "conf", tmp_path / "conf")
    shutil.copy(repository / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    campaign = compose_campaign("precision_check")
    campaign = dataclasses.replace(
        campaign, hardware=dataclasses.replace(campaign.hardware, threads=3)
    )
    for precision in ("float32", "bf16"):
        name = f"clr/cifar10_triangular2_{precision}"
        experiment = compose_experiments([name], campaign)[name]
        assert experiment.hardware == dataclasses.replace(campaign.hardware, precision=precision)
    table = Path("conf/table/clr/table1_readings.yaml")
    table.write_text(table.read_text().replace("precision: bf16", "threads: 1"))
    said = (
        r"table1_readings.yaml: row cifar10_triangular2_bf16: hardware must be set by the campaign"
    )
    with pytest.raises(ValueError, match=said):
        compose_experiments([name], campaign)[name]


@pytest.mark.parametrize(
    ("num_seeds", "trained"), [(None, (4, 5, 6)), (1, (4,)), (2, (4, 5)), (9, (4, 5, 6))]
)
def test_experiment_is_trained_with_the_first_seeds_of_its_campaign(
    num_seeds: int | None, trained: tuple[int, ...]
) -> None:
    plain = compose_plain("config", ["campaign=quick", "seeds=[4,5,6]"])
    plain["campaign"]["experiments"]["digits/sgdr"]["num_seeds"] = num_seeds
    campaign = parse(CampaignConfig, plain, where="x")
    assert campaign.seeds_of("digits/sgdr") == trained
    assert campaign.seeds_of("digits/exp") == (4, 5, 6)


def test_compose_writes_the_seeds_of_each_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    for name in ("conf", "pyproject.toml"):
        (tmp_path / name).symlink_to(repository / name)
    monkeypatch.chdir(tmp_path)
    write_params(["campaign=clr_cifar10", "seeds=[7,8,9]"])
    compose_stage([])
    written = {
        name: read_yaml(Path(f"experiments/clr_cifar10/clr/{name}.yaml"))["seeds"]
        for name in ("cifar10_fixed", "cifar10_adam_fixed_70000")
    }
    assert written == {"cifar10_fixed": [7, 8, 9], "cifar10_adam_fixed_70000": [7]}


def test_unknown_campaign_is_answered_with_the_near_ones() -> None:
    with pytest.raises(
        ValueError, match="conf/campaign has no option 'quik'; did you mean 'quick'"
    ):
        compose_campaign("quik")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+foo=1", "conf/config.yaml: unknown key 'foo'; there is budget_fraction, campaign, "),
        ("sedes=[1]", "unknown key 'sedes'; did you mean 'seeds'?"),
        ("experiment=clr/row", "unknown key 'experiment'; there is budget_fraction, campaign, "),
        ("seeds=[0,a]", "conf/config.yaml: seeds[1] must be a whole number, got 'a'"),
        ("seeds=[0,0]", "conf/config.yaml: seeds must be one or more different whole numbers"),
        ("seeds=[]", "conf/config.yaml: seeds must be one or more different whole numbers"),
        ("budget_fraction=0", "conf/config.yaml: budget_fraction must be in (0, 1], got 0"),
        ("hardware=gpus", "conf/hardware has no option 'gpus'"),
    ],
)
def test_wrong_campaign_is_refused_and_params_yaml_stays(
    tmp_path: Path, override: str, said: str
) -> None:
    output = tmp_path / "params.yaml"
    output.write_text("as it was")
    with pytest.raises(ValueError, match=r".") as refused:
        write_params([override], output=output)
    assert str(refused.value).startswith(said)
    assert output.read_text() == "as it was"


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    output = tmp_path / "params.yaml"
    written = write_params(["seeds=[4,5]", "hardware=cpu"], output=output)
    assert load_campaign(output) == written
    assert (written.seeds, written.hardware.device) == ((4, 5), "cpu")


def test_params_yaml_edited_by_hand_is_checked_with_its_name(tmp_path: Path) -> None:
    output = tmp_path / "params.yaml"
    write_params(output=output)
    output.write_text(output.read_text() + "foo: 1\n")
    with pytest.raises(ValueError, match=rf"^{output}: unknown key 'foo'"):
        load_campaign(output)


def test_command_says_what_it_wrote(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    repository: Path,
) -> None:
    for name in ("conf", "pyproject.toml"):
        (tmp_path / name).symlink_to(repository / name)
    monkeypatch.chdir(tmp_path)
    params_command(["seeds=[7]"])
    said = capsys.readouterr().out
    assert said == "params.yaml: campaign quick, 8 experiments, seeds 7\n"
    assert load_campaign().seeds == (7,)
