"""The real commands, given what they cannot use: one clear line, and nothing is written."""

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.warm import warm_python


@pytest.fixture
def project(tmp_path: Path, repository: Path) -> Path:
    """Return a folder with a project's configuration and nothing else."""
    for name in ("conf", "pyproject.toml"):
        (tmp_path / name).symlink_to(repository / name)
    (tmp_path / "params.yaml").write_bytes((repository / "params.yaml").read_bytes())
    return tmp_path


def run(project: Path, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            warm_python(),
            "-m",
            *(["anneal.commands." + verb] if "." in verb else ["anneal", verb]),
            *arguments,
        ],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def written(project: Path) -> list[str]:
    """Return the files that were not there before, but for what Hydra keeps for itself."""
    files = {path.relative_to(project) for path in project.rglob("*") if path.is_file()}
    return sorted(
        file.as_posix()
        for file in files
        if file.parts[:2] != ("multirun", ".hydra")
        and file.name not in ("params.yaml", "pyproject.toml")
    )


def complaint(project: Path, verb: str, *arguments: str) -> str:
    """Return the one line of error that a command ends with."""
    before = (project / "params.yaml").read_bytes()
    ended = run(project, verb, *arguments)
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert written(project) == []
    assert (project / "params.yaml").read_bytes() == before
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("override", "said", "near"),
    [
        (
            "experiment=clr/cifar10_triangular3",
            "conf/experiment/clr has no option 'cifar10_triangular3'; did you mean",
            "cifar10_triangular2",
        ),
        (
            "scheduler=triangluar",
            "conf/scheduler has no option 'triangluar'; did you mean",
            "triangular",
        ),
        ("dataset=digit", "conf/dataset has no option 'digit'; did you mean", "digits"),
        ("trainig.length=3 steps", "unknown key 'trainig.length'; did you mean", "training"),
    ],
)
def test_unknown_name_is_answered_with_the_near_ones(
    project: Path, override: str, said: str, near: str
) -> None:
    line = complaint(project, "run", override)
    assert line.startswith(said)
    assert f"'{near}'" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("lr: 1\n  - 2: [\n", "own.yaml, line 2: "),
        ("lr: \x00\n", "own.yaml: special characters are not allowed"),
        ("lr: [1\n", "own.yaml, line 2: expected ',' or ']'"),
        ("lr: \xe9\n", "byte 4 of a file is not UTF-8 text"),
        ("lr: &a [*a]\n", "a file is nested too deep, or a part contains itself"),
    ],
)
def test_own_file_that_is_no_yaml_is_named(
    project: Path, tmp_path_factory: pytest.TempPathFactory, content: str, said: str
) -> None:
    folder = tmp_path_factory.mktemp("conf") / "scheduler"
    folder.mkdir()
    (folder / "own.yaml").write_text(content, encoding="latin-1")
    line = complaint(project, "run", f"--config-dir={folder.parent}", "scheduler=own")
    assert said in line
    assert str(folder.parent.resolve()) in line


def test_unknown_option_stops_multirun_before_training(
    project: Path,
) -> None:
    line = complaint(project, "run", "-m", "scheduler=triangluar,constant", "seed=0,1")
    assert line.startswith("conf/scheduler has no option 'triangluar'")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=-1", "conf/run.yaml: seed must be a whole number from 0 to 2**32 - 1, got -1"),
        ("seed=abc", "conf/run.yaml: seed must be a whole number from 0 to 2**32 - 1, got 'abc'"),
        ("scheduler.max_lr=-1", "conf/run.yaml: scheduler: max_lr must not be negative, got -1"),
    ],
)
def test_value_that_cannot_be_is_refused(project: Path, override: str, said: str) -> None:
    assert complaint(project, "run", override) == said


def test_multirun_prints_each_failed_run_and_their_number(
    project: Path,
) -> None:
    ended = run(project, "run", "-m", "seed=-1,abc", "scheduler=constant")
    seed = "conf/run.yaml: seed must be a whole number from 0 to 2**32 - 1, got"
    assert ended.stderr.splitlines() == [
        f"error: seed=-1 scheduler=constant: {seed} -1",
        f"error: seed=abc scheduler=constant: {seed} 'abc'",
        "error: 2 of 2 runs failed",
    ]
    assert (ended.returncode, ended.stdout) == (1, "")
    assert written(project) == []


def test_traceback_shows_what_the_line_hides(project: Path) -> None:
    ended = run(project, "run", "scheduler=triangluar", "--traceback")
    assert ended.returncode == 1
    assert "Traceback (most recent call last):" in ended.stderr
    assert "MissingConfigException" in ended.stderr, "Hydra's own words"
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("ValueError: conf/scheduler has no option 'triangluar'")
    assert "--traceback" not in ended.stderr, "taken off before Hydra sees it"


def test_help_says_what_can_be_said(project: Path) -> None:
    ended = run(project, "run", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("Train one run, or with -m every combination")
    for said in (
        "  anneal run -m scheduler=triangular,triangular2,constant seed=0,1,2",
        "seed: 0 # from 0 to 2**32 - 1; not part of the configuration's hash",
        "  length: 300 steps # or epochs, images",
    ):
        assert said in lines
    (schedulers,) = [line for line in lines if line.startswith("scheduler: ")]
    for option in ("constant", "one_cycle", "triangular2"):
        assert option in schedulers
    assert any("--traceback" in line for line in lines)
    assert written(project) == []


def test_cfg_job_prints_the_configuration_and_trains_nothing(project: Path) -> None:
    ended = run(project, "run", "--cfg", "job", "scheduler=constant", "seed=3")
    assert (ended.returncode, ended.stderr) == (0, "")
    shown = yaml.safe_load(ended.stdout)
    assert shown["scheduler"] == {"name": "constant", "lr": 0.001, "momentum": None}
    assert shown["seed"] == 3
    assert "hydra" not in shown
    assert written(project) == []


@pytest.mark.parametrize("verb", ["status", "plot", "params"])
def test_every_command_without_torch_says_what_it_is_for(project: Path, verb: str) -> None:
    ended = run(project, verb, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"anneal {verb}" in ended.stdout
    assert written(project) == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("params",), "anneal params"),
        (("status", "quick"), "anneal status"),
        (("publish", "quick"), "anneal publish"),
        (("costs",), "the campaign of params.yaml"),
        (("compare", "quick", "quick@HEAD"), "'quick' is not a folder; a campaign"),
    ],
)
def test_command_outside_the_repository_says_where_to_run_it(
    tmp_path: Path, arguments: tuple[str, ...], what: str
) -> None:
    ended = run(tmp_path, *arguments)
    said = f"error: {what} needs the project's repository: run it from the root of a clone\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", said)
    assert list(tmp_path.iterdir()) == []


# --- params.yaml ----------------------------------------------------------------------------------


def test_key_that_nothing_reads_in_params_yaml_is_refused_with_its_name(project: Path) -> None:
    """What `dvc exp run -S +foo=1` leaves there."""
    params = project / "params.yaml"
    params.write_text(params.read_text() + "foo: 1\n")
    assert complaint(project, "stages.compose") == (
        "params.yaml: unknown key 'foo'; "
        "there is budget_fraction, campaign, hardware, seeds, tracking"
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("budget_fraction: 0.01", "budget_fraction: 2", "params.yaml: budget_fraction must be in"),
        ("seeds:\n- 0\n", "seeds:\n- -1\n", "params.yaml: seeds must be one or more different"),
        ("digits/sgdr:", "digits/sgd:", "conf/experiment has no option 'digits/sgd'; did you mean"),
        ("- digits\n", "- digits\n- [\n", "params.yaml, line "),
        ("device: auto", "device: gpu", "params.yaml: hardware.device must be one of auto, cpu"),
    ],
)
def test_params_yaml_that_was_edited_wrongly_is_refused(
    project: Path, old: str, new: str, said: str
) -> None:
    params = project / "params.yaml"
    text = params.read_text()
    assert old in text
    params.write_text(text.replace(old, new, 1))
    assert complaint(project, "stages.compose").startswith(said)


def test_without_params_yaml_a_stage_says_that_it_is_missing(project: Path) -> None:
    (project / "params.yaml").unlink()
    ended = run(project, "stages.compose")
    assert (ended.returncode, ended.stderr) == (1, "error: params.yaml is missing\n")


def test_wrong_experiment_leaves_the_composed_files_of_before(
    project: Path, repository: Path
) -> None:
    assert run(project, "stages.compose").returncode == 0
    before = {name: (project / name).read_bytes() for name in written(project)}
    assert len(before) == 8 + 1 + 1 + 1  # experiments, range test, campaign, "given"
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("range_test: digits", "range_test: given"))
    ended = run(project, "stages.compose")
    assert ended.returncode == 1
    assert "campaign.experiments.digits/triangular2_found.range_test must be" in ended.stderr
    assert {name: (project / name).read_bytes() for name in written(project)} == before
