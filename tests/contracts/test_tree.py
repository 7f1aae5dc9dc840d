"""The tree keeps its promises: names, sizes, the lock, the Makefile, the README's commands."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

SOURCE_LINES = 350
NAMELESS = {"utils", "util", "common", "helpers", "helper", "base", "misc", "shared", "tools"}


def files_of(repository: Path) -> list[str]:
    """Return the files that Git has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if (repository / name).exists()]


def verbs_of(repository: Path) -> set[str]:
    """Return the verbs of the Makefile."""
    rules = re.findall(r"^\.PHONY: (.+)$", (repository / "Makefile").read_text(), re.MULTILINE)
    return {verb for rule in rules for verb in rule.split()}


def test_every_module_has_a_name_that_says_what_it_holds(repository: Path) -> None:
    modules = [Path(name) for name in files_of(repository) if name.endswith(".py")]
    nameless = [str(m) for m in modules if NAMELESS & {m.stem, *m.parent.parts}]
    assert nameless == []


def test_no_source_file_is_longer_than_can_be_read_at_once(repository: Path) -> None:
    lengths = {
        str(path.relative_to(repository)): len(path.read_text().splitlines())
        for path in (repository / "src").rglob("*.py")
    }
    assert {name: n for name, n in lengths.items() if n > SOURCE_LINES} == {}


def test_there_is_one_gitignore(repository: Path) -> None:
    found = [name for name in files_of(repository) if Path(name).name == ".gitignore"]
    assert sorted(found) == [".dvc/.gitignore", ".gitignore"]


def test_what_runs_produce_is_ignored_and_what_is_committed_is_not(repository: Path) -> None:
    def ignored(name: str) -> bool:
        command = ["git", "check-ignore", "--quiet", "--no-index", name]
        return subprocess.run(command, cwd=repository, check=False).returncode == 0

    produced = [
        "runs/quick/x",
        "range_tests/x",
        "evaluations/x",
        "experiments/x",
        "data/x",
        "multirun/x",
        "advice/x",
        "local/x",
    ]
    assert [
        name for name in [*produced, "wandb/x", ".venv/x", ".frameworks/x"] if not ignored(name)
    ] == []
    committed = [
        "results/quick/runs.csv",
        "paper/report.md",
        "paper/figures/x.svg",
        "params.yaml",
        "dvc.lock",
    ]
    assert [name for name in committed if ignored(name)] == []


LOCKS = ["requirements.lock", "requirements-all.lock"]


def pins_of(lock: Path) -> dict[str, str]:
    """Return name -> version of a lock."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", [*LOCKS, "requirements-frameworks.lock"])
def test_lock_has_a_hash_for_each_pin_and_no_place_in_it(repository: Path, lock: str) -> None:
    text = (repository / lock).read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text.split("\n", 2)[2])
    pins = [entry.split()[0] for entry in entries]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin)] == []
    assert [e.split()[0] for e in entries if "--hash=sha256:" not in e] == []
    assert (
        re.findall(r"://|^--|find-links|file:|/(?:home|tmp|root|opt)/| @ ", text, re.MULTILINE)
        == []
    )
    assert "make lock" in text.splitlines()[1]
    if lock in LOCKS:
        assert {"torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"} <= set(pins)
        assert {"uv", "setuptools"} <= {pin.split("==")[0] for pin in pins}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_every_dependency_of_pyproject(repository: Path, lock: str) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    chosen = extras if "all" in lock else ("torch", "pipeline", "dev")
    wanted = project["dependencies"] + [line for name in chosen for line in extras[name]]
    pins = pins_of(repository / lock)
    for requirement in wanted:
        if requirement.startswith(f"{project['name']}["):  # another extra of ours
            continue
        name, _, version = re.fullmatch(r"([A-Za-z0-9._-]+)(==)?(.*)", requirement).groups()
        pinned = pins.get(name.lower().replace("_", "-"))
        assert pinned is not None, f"{name} is not in the lock: run `make lock`"
        if "==" in requirement:
            assert pinned == version, f"{name}: run `make lock`"


def test_base_lock_pins_what_the_lock_of_all_extras_pins(repository: Path) -> None:
    base, whole = (pins_of(repository / lock) for lock in LOCKS)
    assert base.items() <= whole.items()


def test_lock_of_frameworks_has_only_what_the_base_lock_has_not(repository: Path) -> None:
    base, more = (
        pins_of(repository / lock) for lock in ("requirements.lock", "requirements-frameworks.lock")
    )
    asked = (repository / "requirements-frameworks.in").read_text().split("\n", 1)[1].split()
    assert set(asked) <= more.keys()
    assert base.keys() & more.keys() == set()


def test_library_alone_needs_numpy_and_scipy(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["name"] == "anneal-lr"
    names = [re.split(r"[<>=]", line)[0] for line in project["dependencies"]]
    assert names == ["numpy", "scipy"]
    assert set(project["optional-dependencies"]) == {
        "torch", "pipeline", "eeg", "imagenet", "cluster", "remote", "docs", "dev",
    }  # fmt: skip


def test_make_adds_every_extra_that_is_not_set_up_anyway(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    (listed,) = re.findall(r"^ALL_EXTRAS := (.*)$", (repository / "Makefile").read_text(), re.M)
    assert set(listed.split()) == {*project["optional-dependencies"]} - {"torch", "pipeline", "dev"}


def test_make_alone_lists_each_verb_with_one_line(repository: Path) -> None:
    listed = subprocess.run(["make"], cwd=repository, capture_output=True, text=True, check=True)
    lines = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    assert {line[1] for line in lines} == verbs_of(repository)
    assert [line for line in lines if len(line) < 3 or line[0] != "make"] == []
    asked = {"setup", "reproduce", "renew-quick", "test", "check", "params", "report", "faults"}
    assert asked <= verbs_of(repository)


@pytest.fixture
def bare_checkout(repository: Path, tmp_path: Path) -> Path:
    """Return a folder, with a space in its name, with what the set-up reads."""
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(repository / name, checkout)
    return checkout


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder that is a PATH with make, git, Python and little else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("make", "sh", "git", "test", "uname", "sed", "printf", "mkdir", "touch"):
        found = shutil.which(name)
        if found is not None:
            (folder / name).symlink_to(found)
    return folder


def a_program(folder: Path, name: str, body: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def python_that_works(folder: Path) -> None:
    a_program(folder, "python3.11", f'exec "{sys.executable}" "$@"')


def make_says(checkout: Path, programs: Path, *arguments: str) -> str:
    """Run make where it must fail, and return the one line that it says."""
    make = shutil.which("make") or "make"
    failed = subprocess.run(
        [make, *arguments],
        cwd=checkout,
        env={"PATH": str(programs), "HOME": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert failed.returncode != 0
    assert failed.stdout == ""
    (line,) = failed.stderr.splitlines()
    return line


def test_without_python_the_setup_says_so_in_one_line(bare_checkout: Path, programs: Path) -> None:
    assert "Python 3.11 or newer is needed" in make_says(bare_checkout, programs, "setup")


def test_old_python_is_no_python(bare_checkout: Path, programs: Path) -> None:
    a_program(programs, "python3", "exit 1")
    assert "Python 3.11 or newer is needed" in make_says(bare_checkout, programs, "setup")
    said = make_says(bare_checkout, programs, "setup", "PYTHON=python3")
    assert "PYTHON=python3 is not Python 3.11 or newer" in said


def test_without_the_venv_module_the_setup_says_so(bare_checkout: Path, programs: Path) -> None:
    a_program(
        programs,
        "python3.11",
        f'case "$2" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"',
    )
    assert "python3.11 has no venv module" in make_says(bare_checkout, programs, "setup")


def test_without_git_the_setup_says_so(bare_checkout: Path, programs: Path) -> None:
    python_that_works(programs)
    (programs / "git").unlink()
    assert "git is needed" in make_says(bare_checkout, programs, "setup")


def test_elsewhere_than_on_linux_the_setup_says_so(bare_checkout: Path, programs: Path) -> None:
    python_that_works(programs)
    a_program(programs, "uname", "echo Darwin")
    assert "the pipeline is locked for Linux" in make_says(bare_checkout, programs, "setup")


def test_outside_git_or_dvc_there_is_nothing_to_reproduce(
    bare_checkout: Path, programs: Path
) -> None:
    (bare_checkout / ".venv").mkdir()
    (bare_checkout / ".venv" / ".installed").touch()  # as after the set-up
    assert "not a Git repository" in make_says(bare_checkout, programs, "reproduce")
    subprocess.run(["git", "init", "--quiet"], cwd=bare_checkout, check=True)
    assert ".dvc/config is missing" in make_says(bare_checkout, programs, "reproduce")


def test_dvc_sends_nothing_and_composes_conf(repository: Path) -> None:
    config = (repository / ".dvc" / "config").read_text()
    for line in ("analytics = false", "check_update = false", "autostage = false"):
        assert line in config
    assert re.search(
        r"\[hydra\]\s+enabled = true\s+config_dir = conf\s+config_name = config", config
    )


def test_ci_calls_make(repository: Path) -> None:
    ci = repository / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    workflow = (repository / ".github" / "workflows" / "ci.yml").read_text()
    for verb in ("make lint", "make test"):
        assert verb in ci.read_text()
        assert verb in workflow
    assert "make reproduce" in (repository / ".github" / "workflows" / "nightly.yml").read_text()
    assert "make docs" in (repository / ".github" / "workflows" / "docs.yml").read_text()
    assert "build sbom" in (repository / ".github" / "workflows" / "release.yml").read_text()


def test_hooks_run_the_locked_ruff_and_need_no_network(repository: Path) -> None:
    (source,) = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())["repos"]
    assert source["repo"] == "local"
    assert [hook["id"] for hook in source["hooks"]] == ["ruff-format", "ruff-check"]
    for hook in source["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/ruff ")


def test_fast_tests_of_make_check_leave_out_only_files_that_exist(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text().replace("\\\n", " ")
    for name, ending in (("FAST", ""), ("NOT_FAST", ".py")):
        (listed,) = re.findall(rf"^{name} := (.+)$", makefile, re.MULTILINE)
        missing = [n for n in listed.split() if not (repository / f"tests/{n}{ending}").exists()]
        assert missing == []


WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_pins_its_actions_and_bounds_time_and_permissions(path: Path) -> None:
    uses = re.findall(r"uses: (\S+)(.*)", path.read_text())
    pinned = r"[\w-]+/[\w-]+@[0-9a-f]{40}"
    loose = [
        a for a, version in uses if not re.fullmatch(pinned, a) or not re.match(r" # v\d", version)
    ]
    assert loose == []
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    assert [name for name, job in workflow["jobs"].items() if "timeout-minutes" not in job] == []


def test_commands_of_the_readme_exist(repository: Path) -> None:
    readme = repository / "README.md"
    if not readme.exists():
        pytest.skip("README.md is not written yet")
    blocks = re.findall(r"^```bash\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks, "README.md shows no command in a ```bash block"
    text = "\n".join(blocks)
    unknown_verbs = set(re.findall(r"\bmake ([a-z][a-z-]*)", text)) - verbs_of(repository)
    assert unknown_verbs == set()
    for module in re.findall(r"\bpython -m (anneal[\w.]*)", text):
        path = repository / "src" / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
