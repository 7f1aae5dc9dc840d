"""Git: what a checkout says of itself, and what is said where there is none."""

from pathlib import Path

import pytest

from anneal.io.git import commit_of, copy_tree, read_git, run_git

WITHOUT = Path("results/quick")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with one commit, as the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("GIT_AUTHOR", "us"), ("GIT_COMMITTER", "us")):
        monkeypatch.setenv(f"{name}_NAME", value)
        monkeypatch.setenv(f"{name}_EMAIL", "us@example.org")
    run_git("init", "-q")
    (tmp_path / ".git" / "info" / "exclude").write_text("local/\n")
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
    (checkout / "notes" / "one").write_text("changed")
    before = read_git("status", "--porcelain")
    folder = checkout / "local" / "copy"
    assert copy_tree(folder, without=WITHOUT)
    assert (folder / "notes" / "one").read_text() == "changed"
    assert (folder / "src" / "one").read_text() == "1"
    assert read_git("status", "--porcelain") == before == "M notes/one"
    assert read_git("stash", "list") == ""


def test_copy_of_the_same_tree_is_left_alone(checkout: Path) -> None:
    folder = checkout / "local" / "copy"
    assert copy_tree(folder, without=WITHOUT)
    (folder / "notes" / "one").write_text("made there")
    (folder / "new").write_text("made there")
    assert not copy_tree(folder, without=WITHOUT)
    assert (folder / "notes" / "one").read_text() == "made there"
    (checkout / "src" / "one").write_text("2")
    assert copy_tree(folder, without=WITHOUT)
    assert (folder / "notes" / "one").read_text() == "1"
    assert (folder / "new").is_file()


def test_copy_that_was_stopped_is_made_whole_by_the_next_call(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / WITHOUT).mkdir(parents=True)
    (checkout / WITHOUT / "runs.csv").write_text("committed")
    run_git("add", "-A")
    run_git("commit", "-qm", "results")
    folder = checkout / "local" / "copy"

    def stop(*_arguments: object, **_keywords: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            copy_tree(folder, without=WITHOUT)
    assert copy_tree(folder, without=WITHOUT)
    assert (folder / "src" / "one").is_file()
    assert not (folder / WITHOUT).exists()
    assert not copy_tree(folder, without=WITHOUT)


def test_copy_outlives_the_commit_of_modified_files(checkout: Path) -> None:
    folder = checkout / "local" / "copy"
    (checkout / "src" / "one").write_text("2")
    assert copy_tree(folder, without=WITHOUT)
    run_git("checkout", "-q", "src")
    run_git("gc", "--quiet", "--prune=now")
    assert copy_tree(folder, without=WITHOUT)
    assert (folder / "src" / "one").read_text() == "1"


def test_modified_files_of_a_shallow_clone_are_copied(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_git("commit", "-q", "--allow-empty", "-m", "two")
    run_git("clone", "-q", "--depth", "1", f"file://{checkout}", "local/shallow")
    monkeypatch.chdir(checkout / "local" / "shallow")
    Path("src/one").write_text("2")
    assert copy_tree(Path("local/copy"), without=WITHOUT)
    assert Path("local/copy/src/one").read_text() == "2"


def test_copy_without_a_commit_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_git("init", "-q")
    with pytest.raises(ValueError, match=r"^git \w+ failed: "):
        copy_tree(tmp_path / "copy", without=WITHOUT)
