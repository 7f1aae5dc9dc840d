"""Git: what a checkout says of itself, and what is said where there is none."""

from pathlib import Path

import pytest

from anneal.io.git import current_commit, read_git, run_git


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with one commit, as the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("GIT_AUTHOR", "us"), ("GIT_COMMITTER", "us")):
        monkeypatch.setenv(f"{name}_NAME", value)
        monkeypatch.setenv(f"{name}_EMAIL", "us@example.org")
    run_git("init", "-q")
    for folder in ("src", "notes"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one").write_text("1")
    run_git("add", "-A")
    run_git("commit", "-qm", "one")
    return tmp_path


def test_commit_has_a_plus_where_tracked_sources_differ(checkout: Path) -> None:
    head = read_git("rev-parse", "HEAD")[:12]
    assert len(head) == 12
    (checkout / "notes" / "one").write_text("2")
    (checkout / "src" / "new").write_text("untracked")
    assert current_commit() == head
    (checkout / "src" / "one").write_text("2")
    assert current_commit() == f"{head}+"
    assert current_commit(checkout / "src" / "..") == f"{head}+"


def test_refusal_is_none_or_an_empty_line(checkout: Path) -> None:
    assert run_git("rev-parse", "--verify", "--quiet", "nothing") is None
    assert read_git("rev-parse", "--verify", "--quiet", "nothing") == ""


def test_there_is_no_commit_without_a_repository_or_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert current_commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert current_commit() is None
    with pytest.raises(OSError, match="git"):
        run_git("status")
