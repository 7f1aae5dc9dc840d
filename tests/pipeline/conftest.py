"""A copy of the project with a small campaign in it, and the commands run there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURE = Path(__file__).parent / "conf"


class Project:
    """A copy of the project in a folder of its own."""

    def __init__(self, root):
        self.root = root

    def run(self, *command, expect=0, **environment):
        """Run a command there, with this copy's sources; return what it printed."""
        programs = str(Path(sys.executable).parent)
        done = subprocess.run(
            command,
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=os.environ
            | {
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(self.root / "src"),
            }
            | environment,
        )
        said = done.stdout + done.stderr
        assert done.returncode == expect, said
        return said

    def python(self, *arguments, **keywords):
        """Run ``python`` there."""
        return self.run(sys.executable, *arguments, **keywords)

    def commit(self, message):
        """Commit everything there."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", message)


def copy_project(destination):
    """Copy what Git tracks, or would, and add the small campaign."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        source, target = REPOSITORY / name, destination / name
        if source.is_file() and not name.startswith(("results/", "dvc.lock")):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    shutil.copytree(FIXTURE, destination / "conf", dirs_exist_ok=True)
    project = Project(destination)
    project.run("git", "init", "-q", "-b", "main")
    project.python("-m", "anneal", "params", "campaign=smoke", "tracking=off", "hardware=cpu")
    project.commit("the project with a small campaign")
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a fresh copy of the project."""
    return copy_project(tmp_path_factory.mktemp("pipeline") / "project")
