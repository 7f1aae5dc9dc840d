"""A copy of the project with a small campaign in it, and the commands run there."""

import os
import shutil
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from tests.warm import warm_programs

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURE = Path(__file__).parent / "conf"
COLD = Path(sys.executable).parent


class Project:
    """A copy of the project in a folder of its own.

    Args:
        root: The folder.
        programs: Of ``python`` and ``dvc``; the stages that DVC starts find these too.
    """

    def __init__(self, root, programs=COLD):
        self.root = root
        self.programs = programs

    def environment(self):
        """Return the variables of a command there: this copy's sources, and its programs."""
        return os.environ | {
            "PATH": os.pathsep.join([str(self.programs), str(COLD), os.environ["PATH"]]),
            "PYTHONPATH": str(self.root / "src"),
        }

    def run(self, *command, expect=0, **environment):
        """Run a command there; return what it printed."""
        done = subprocess.run(
            command,
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=self.environment() | environment,
        )
        said = done.stdout + done.stderr
        assert done.returncode == expect, said
        return said

    def start(self, *arguments, **environment):
        """Start ``python`` there; a fork of the warm one ends with it, by the same signal."""
        return subprocess.Popen(
            [str(self.programs / "python"), *arguments],
            cwd=self.root,
            env=self.environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def python(self, *arguments, **keywords):
        """Run ``python`` there."""
        return self.run(str(self.programs / "python"), *arguments, **keywords)

    def commit(self, message):
        """Commit everything there."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", message)


def copy_project(destination, programs=COLD):
    """Copy what Git tracks, or would, and add the small campaign."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        source = REPOSITORY / name
        if source.is_file() and not name.startswith(("results/", "dvc.lock")):
            compiled = [cache_from_source(str(source))] if source.suffix == ".py" else []
            for file in filter(Path.is_file, [source, *map(Path, compiled)]):
                target = destination / file.relative_to(REPOSITORY)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)
    shutil.copytree(FIXTURE, destination / "conf", dirs_exist_ok=True)
    project = Project(destination, programs)
    project.run("git", "init", "-q", "-b", "main")
    project.python("-m", "anneal", "params", "campaign=smoke", "tracking=off", "hardware=cpu",
                   "hardware.threads=1")  # fmt: skip
    project.commit("the project with a small campaign")
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a fresh copy of the project; its processes are forked from a warm one."""
    return copy_project(tmp_path_factory.mktemp("pipeline") / "project", warm_programs())
