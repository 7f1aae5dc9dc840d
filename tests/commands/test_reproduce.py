"""A campaign run in a copy of the tree and compared, with a stand-in for its trainings."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from anneal.commands import reproduce
from anneal.io.git import run_git

QUICK = Path("results/quick")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """Return a repository with the default campaign and its results, as the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("conf", "pyproject.toml"):
        (tmp_path / name).symlink_to(repository / name)
    shutil.copy(repository / "params.yaml", tmp_path)
    shutil.copytree(repository / QUICK, tmp_path / QUICK)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "us")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "us@example.org")
    run_git("init", "-q")
    (tmp_path / ".git" / "info" / "exclude").write_text("local/\n")
    run_git("add", "-A")
    run_git("commit", "-qm", "one")
    return tmp_path


def grid(
    monkeypatch: pytest.MonkeyPatch, checkout: Path, *, status: int = 0
) -> list[dict[str, Any]]:
    """Replace the trainings by a copy of the committed results; return how it is called."""
    asked: list[dict[str, Any]] = []

    def run(program: list[str], *, environment: dict[str, str], folder: Path) -> int:
        asked.append({"program": program[1:], "began_with": (folder / QUICK).is_dir()})
        assert environment["PYTHONPATH"] == "src"
        assert environment["ANNEAL_ARCHIVES"] == str(checkout / "archives")
        if not status:
            shutil.copytree(checkout / QUICK, folder / QUICK, dirs_exist_ok=True)
        return status

    monkeypatch.setenv("ANNEAL_ARCHIVES", "archives")
    monkeypatch.setattr(reproduce, "run_stoppable", run)
    return asked


def test_campaign_is_run_in_a_copy_without_results_and_compared(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = grid(monkeypatch, checkout)
    reproduce.main([])
    reproduce.main([])  # continues the copy
    assert [call["began_with"] for call in asked] == [False, True]
    assert asked[0]["program"] == ["-m", "anneal", "grid"]
    said = capsys.readouterr().out
    assert said.count("digits/fixed") == 2
    assert "anneal compare results/quick local/reproduce/results/quick" in said
    assert (run_git("status", "--porcelain") or b"") == b""


def test_failed_run_ends_the_reproduction_with_its_status(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid(monkeypatch, checkout, status=1)
    with pytest.raises(SystemExit) as ended:
        reproduce.main([])
    assert ended.value.code == 1
    assert capsys.readouterr().out == ""


def test_campaign_without_results_is_refused_before_it_is_run(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = grid(monkeypatch, checkout)
    shutil.rmtree(QUICK)
    with pytest.raises(SystemExit):
        reproduce.main([])
    assert asked == []
    assert "no folder 'results/quick'" in capsys.readouterr().err
