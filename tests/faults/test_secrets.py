"""No planted key reaches a log, a configuration, a run directory, W&B's files or the report."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.campaigns import _make_world
from tests.warm import warm_python

from anneal.commands.stages import collect, report

KEYS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "DATABASE_PASSWORD": "correct-horse-battery-staple",
    "HF_TOKEN": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
}
IN_NETRC, IN_AWS, IN_REMOTE, IN_SETTINGS, IN_CHANGE = (
    "netrc-password-83731", "aws-home-secret-83731", "remote-token-83731", "settings-key-83731",
    "uncommitted-change-83731",
)  # fmt: skip
PLANTED = [*KEYS.values(), IN_NETRC, IN_AWS, IN_REMOTE, IN_SETTINGS, IN_CHANGE]
CHANGED = "local.ini"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant keys in a home and in the environment."""
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {IN_NETRC}\n")
    (home / ".netrc").chmod(0o600)
    (home / ".aws/credentials").write_text(f"[default]\naws_secret_access_key = {IN_AWS}\n")
    (home / ".config/wandb").mkdir(parents=True)
    (home / ".config/wandb/settings").write_text(f"[default]\napi_key = {IN_SETTINGS}\n")
    monkeypatch.setenv("HOME", str(home))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def make_clone(place: Path) -> None:
    """Make a repository whose remote's address has a token, and a tracked file a new key."""
    place.mkdir(exist_ok=True)
    (place / CHANGED).write_text("key = none\n")
    remote = f"https://user:{IN_REMOTE}@example.org/us/project.git"
    name = ["-c", "user.name=us", "-c", "user.email=us@example.org"]
    for words in (
        ["init", "-q"],
        ["remote", "add", "origin", remote],
        ["add", CHANGED],
        [*name, "commit", "-q", "-m", "A file"],
    ):
        subprocess.run(["git", *words], cwd=place, check=True)
    (place / CHANGED).write_text(f"key = {IN_CHANGE}\n")


def found_in(place: Path, *texts: str) -> list[str]:
    """Return which keys are in the files of a folder, but for those of Git, or in texts."""
    own = {".git", CHANGED}
    files = [path for path in place.rglob("*") if path.is_file() and own.isdisjoint(path.parts)]
    assert files
    contents = [(str(path), path.read_bytes()) for path in files]
    contents += [("printed", text.encode()) for text in texts]
    return [f"{key} in {name}" for name, content in contents for key in PLANTED
            if key.encode() in content]  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("planted")
def test_run_and_its_tracker_keep_no_key(tmp_path: Path) -> None:
    place = tmp_path / "project"
    make_clone(place)
    environment = os.environ | {"WANDB_MODE": "offline", "WANDB_DIR": str(place)}
    ended = subprocess.run(
        [warm_python(), "-m", "anneal", "run", "tracking=offline", "hardware=cpu",
         "dataset.image_size=16", "training.length=3 steps", "training.batch_size=10",
         "training.log_lines=3", "training.evaluations=1", "scheduler=constant"],
        cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert list(place.glob("wandb/offline-run-*/*.wandb")), "tracked"
    assert list(place.glob("multirun/*/seed-0/result.json"))
    assert found_in(place, ended.stdout, ended.stderr) == []


@pytest.mark.usefixtures("planted")
def test_results_and_report_keep_no_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "project"
    make_clone(place)
    monkeypatch.chdir(place)
    world = _make_world(place)
    world.describe_campaign(["digits/fixed"], [0])
    world.evaluate("digits/fixed", {0: 94.0})
    collect.main(["quick"])
    report.main([])
    assert (place / "paper/report.html").is_file()
    assert found_in(place, *capsys.readouterr()) == []
