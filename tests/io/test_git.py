"""Git: what a checkout says of itself, and what is said where there is none."""

from pathlib import Path

import pytest

from anneal.io.git import commit_of, copy_tree, read_git, run_git


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
    assert commit_of(checkout) == head
    (checkout / "src" / "one").write_text("2")
    assert commit_of(checkout) == f"{head}+"


def test_refusal_is_none_or_an_empty_line(checkout: Path) -> None:
    assert run_git("rev-parse", "--verify", "--quiet", "nothing") is None
    assert read_git("rev-parse", "--verify", "--quiet", "nothing") == ""


def test_there_is_no_commit_without_a_repository_or_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_of(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path) is None
    with pytest.raises(OSError, match="git"):
        run_git("status")


def test_copy_has_tracked_files_as_they_are_and_changes_nothing_here(checkout: Path) -> None:
    (checkout / ".git" / "info" / "exclude").write_text("local/\n")
    (checkout / "notes" / "one").write_text("changed")
    before = read_git("status", "--porcelain")
    folder = checkout / "local" / "copy"
    assert copy_tree(folder)
    assert (folder / "notes" / "one").read_text() == "changed"
    assert (folder / "src" / "one").read_text() == "1"
    assert read_git("status", "--porcelain") == before == "M notes/one"
    assert read_git("stash", "list") == ""


def test_copy_of_the_same_tree_is_left_alone(checkout: Path) -> None:
    (checkout / ".git" / "info" / "exclude").write_text("local/\n")
    folder = checkout / "local" / "copy"
    assert copy_tree(folder)
    (folder / "notes" / "one").write_text("made there")
    (folder / "new").write_text("made there")
    assert not copy_tree(folder)
    assert (folder / "notes" / "one").read_text() == "made there"
    (checkout / "src" / "one").write_text("2")
    assert copy_tree(folder)
    assert (folder / "notes" / "one").read_text() == "1"
    assert (folder / "new").is_file()


def test_copy_without_a_commit_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_git("init", "-q")
    with pytest.raises(ValueError, match=r"^git \w+ failed: "):
        copy_tree(tmp_path / "copy")
