"""Experiments of DVC that run in a copy: the code of the copy is what runs."""

import pytest

pytestmark = pytest.mark.slow
STAGE = "src/anneal/commands/stages/compose.py"


@pytest.fixture
def edit(project):
    """Return a function that has a stage say a word more, without a commit."""
    file = project.root / STAGE
    before = file.read_text()

    def say(word):
        assert 'say(f"{folder}:' in before
        file.write_text(before.replace('say(f"{folder}:', f'say(f"{word}: {{folder}}:'))

    yield say
    file.write_text(before)


def test_queued_experiment_runs_the_code_it_was_queued_with(project, edit):
    edit("the queued stage")
    project.run("dvc", "exp", "run", "--queue", "--name", "queued", "compose")
    project.run("git", "checkout", "--quiet", STAGE)
    assert "the queued stage" in project.run("dvc", "exp", "run", "--run-all")


def test_experiment_in_a_copy_runs_the_code_of_the_copy(project, edit):
    edit("{__file__}")
    said = project.run("dvc", "exp", "run", "--temp", "--name", "copied", "compose")
    ran = next(line for line in said.splitlines() if f"{STAGE}: " in line)
    assert ".dvc/tmp/exps" in ran, "the copy's stage ran the workspace's code"


def test_plain_reproduction_runs_the_code_of_the_workspace(project, edit):
    edit("the workspace's stage")
    assert "the workspace's stage" in project.run("dvc", "repro", "compose")
