"""Where configurations come from: the clone, the package, or the folder of ``--config-dir``."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from anneal.config import folders
from anneal.config.compose import compose_plain, compose_run
from anneal.config.folders import (
    conf_folder,
    conf_folders,
    in_repository,
    own_folder_first,
    require_repository,
)
from anneal.config.options import options

OTHER_PROJECT = '[project]\nname = "theirs"\n'


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, where we are."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a folder of somebody's own: another value, another option, another root value."""
    folder = tmp_path / "own"
    write(folder / "scheduler" / "constant.yaml", "name: constant\nmomentum: null\nlr: 0.5\n")
    write(folder / "scheduler" / "slow_start.yaml", "name: constant\nmomentum: null\nlr: 0.25\n")
    return folder


# --- which conf/ ----------------------------------------------------------------------------------


def test_empty_folder_reads_the_conf_of_the_package(here: Path, repository: Path) -> None:
    assert not in_repository()
    assert conf_folder() == repository / "conf"
    assert compose_run(["scheduler=constant"]).scheduler.name == "constant"
    assert "one_cycle" in options("scheduler")


@pytest.mark.parametrize("project", [None, OTHER_PROJECT, "no toml", "project = 1\n"])
def test_conf_of_another_project_is_never_read(
    here: Path, repository: Path, project: str | None
) -> None:
    for root in ("config.yaml", "run.yaml"):
        write(here / "conf" / root, "theirs: true\n")
    write(here / "conf" / "scheduler" / "constant.yaml", "name: theirs\n")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(repository / name, here)
    if project is not None:
        write(here / "pyproject.toml", project)
    assert conf_folder() == repository / "conf"
    assert "theirs" not in compose_plain("run", ["scheduler=constant"])
    with pytest.raises(ValueError, match=r"^anneal params needs the project's repository: run it"):
        require_repository("anneal params")


def test_clone_reads_its_own_conf(here: Path, repository: Path) -> None:
    shutil.copy(repository / "pyproject.toml", here)
    shutil.copytree(repository / "conf", here / "conf")
    write(here / "conf" / "scheduler" / "constant.yaml", "name: constant\nmomentum: null\nlr: 7\n")
    assert in_repository()
    require_repository("anything")
    assert compose_run(["scheduler=constant"]).scheduler.arguments["lr"] == 7


def test_clone_without_conf_says_which_file_is_missing(here: Path, repository: Path) -> None:
    shutil.copy(repository / "pyproject.toml", here)
    with pytest.raises(
        ValueError, match=r"^conf/config\.yaml is missing: anneal-lr is not installed completely"
    ):
        compose_plain("run")


def test_installed_wheel_reads_the_conf_beside_its_modules(
    here: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = here / "site-packages" / "anneal"
    shutil.copytree(repository / "conf", package / "conf")
    monkeypatch.setattr(folders, "PACKAGE", package)
    assert conf_folder() == package / "conf"
    assert compose_run(["scheduler=one_cycle"]).scheduler.name == "one_cycle"


# --- --config-dir ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["--config-dir {}", "--config-dir={}", "-cd {}"])
def test_own_folder_comes_before_the_shipped_one(here: Path, own: Path, form: str) -> None:
    arguments = [*form.format(own).split(), "scheduler=constant"]
    with own_folder_first(arguments) as left:
        assert left == ["scheduler=constant"]
        assert conf_folders() == [own, conf_folder()]
        assert compose_run(left).scheduler.arguments["lr"] == 0.5
        assert compose_run(["scheduler=slow_start"]).scheduler.arguments["lr"] == 0.25
        assert compose_run(["scheduler=hann"]).scheduler.name == "hann"
        with pytest.raises(ValueError, match="no option 'slow_strat'; did you mean 'slow_start'"):
            compose_run(["scheduler=slow_strat"])
    assert compose_run(left).scheduler.arguments["lr"] == 0.001
    assert "slow_start" not in options("scheduler")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--config-dir"], "nothing"), (["--config-dir="], "nothing"), (["-cd", "gone"], "gone")],
)
def test_own_folder_that_is_none_is_refused(here: Path, arguments: list[str], said: str) -> None:
    with (
        pytest.raises(ValueError, match=f"^--config-dir needs a folder of .*, got {said}$"),
        own_folder_first(arguments),
    ):
        pass


def test_run_takes_its_configuration_from_the_own_folder(here: Path, own: Path) -> None:
    command = [sys.executable, "-m", "anneal", "run", "--config-dir", str(own), "--cfg", "job"]
    ended = subprocess.run(
        [*command, "scheduler=constant"], capture_output=True, text=True, check=False, timeout=240
    )
    assert ended.returncode == 0, ended.stderr
    assert yaml.safe_load(ended.stdout)["scheduler"]["lr"] == 0.5
