"""Runs of one machine on another, through DVC's remotes: a server of ssh, a shared folder."""

import pytest
from tests.pipeline.conftest import Project, copy_project
from tests.ssh.server import running_server
from tests.warm import warm_programs

pytestmark = [pytest.mark.ssh, pytest.mark.slow]
CAMPAIGN = """\
# @package _global_
seeds: [0]
budget_fraction: 0.05
campaign:
  name: smoke
  title: One run
  rerun_committed: false
  datasets: [small_digits]
  range_tests: {}
  experiments:
    smoke/plain: {dataset: small_digits, range_test: given}
"""
MADE = ("runs", "evaluations", "experiments", "range_tests", "data")


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Return a project with a finished campaign, as the cluster has it, and its bare repository."""
    folder = tmp_path_factory.mktemp("remotes")
    project = copy_project(folder / "cluster", warm_programs())
    (project.root / "conf/campaign/smoke.yaml").write_text(CAMPAIGN)
    project.python("-m", "anneal", "params", "campaign=smoke", "tracking=off", "hardware=cpu",
                   "hardware.threads=1")  # fmt: skip
    project.commit("a campaign of one run")
    project.run("git", "clone", "-q", "--bare", ".", str(folder / "origin.git"))
    project.run("git", "remote", "add", "origin", str(folder / "origin.git"))
    project.run("dvc", "repro")
    return project


@pytest.fixture(params=["ssh", "folder"])
def remote(request, tmp_path):
    """Return name and address of a remote, and what else this machine must know of it."""
    stored = tmp_path / "stored"
    stored.mkdir()
    if request.param == "folder":
        yield request.param, str(stored), {}
        return
    pytest.importorskip("dvc_ssh", reason="the extra remote is not installed")
    with running_server(tmp_path / "sshd") as server:
        yield request.param, server.address(stored), {"keyfile": str(server.key)}


def files(root):
    """Return every file of the stages' outputs, without the locks of runs."""
    found = (path for name in MADE for path in (root / name).rglob("*") if path.is_file())
    return {p.relative_to(root): p.read_bytes() for p in found if p.suffix != ".lock"}


def know(project, remote, settings):
    for name, value in settings.items():
        project.run("dvc", "remote", "modify", "--local", remote, name, value)


def make(project, verb):
    """Run a verb of the Makefile with the programs of the project."""
    environment = project.root / ".venv"
    if not environment.exists():
        environment.mkdir()
        (environment / "bin").symlink_to(project.programs)
        (environment / ".installed").touch()
    return project.run("make", "--old-file=.venv/.installed", verb)


def test_fresh_clone_reports_runs_that_it_pulled(computed, remote, tmp_path):
    name, address, settings = remote
    laptop = Project(tmp_path / "laptop", computed.programs)
    computed.run("git", "clone", "-q", "../origin.git", str(laptop.root))
    computed.run("dvc", "remote", "add", "--default", name, address)
    know(computed, name, settings)
    computed.commit("Results")
    said = make(computed, "push")
    assert said.index("runs") < said.index("files pushed")
    computed.run("git", "push", "-q", "origin", "main")

    laptop.run("git", "pull", "-q")
    know(laptop, name, settings)
    assert "files fetched" in laptop.run("dvc", "pull")
    assert files(laptop.root) == files(computed.root)
    (laptop.root / "paper/report.md").unlink()
    said = make(laptop, "report")
    assert "updates" not in said  # of a run that trains
    assert files(laptop.root) == files(computed.root)
    report = (computed.root / "paper/report.md").read_text()
    assert (laptop.root / "paper/report.md").read_text() == report
    assert "up to date" in laptop.run("dvc", "status")
