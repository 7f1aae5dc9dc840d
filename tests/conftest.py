"""What all tests share: which of them run here, and what they are kept away from."""

import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.room_times import start_order, times_by_room
from tests.servers import NEEDED, reason_to_skip

REPOSITORY = Path(__file__).resolve().parents[1]
WRONG_PROCESSOR = "wrong processor: "  # how a test's reason to skip begins


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first; skip, with the reason, what this machine cannot run."""
    items.sort(key=lambda item: start_order(item.nodeid))
    if "ANNEAL_ARCHIVES" not in os.environ:
        no_archives = pytest.mark.skip(reason="ANNEAL_ARCHIVES names no folder of real archives")
        for item in items:
            if item.get_closest_marker("archives"):
                item.add_marker(no_archives)
    if "ANNEAL_FRAMEWORKS" not in os.environ:
        reason = "ANNEAL_FRAMEWORKS names no folder of frameworks; `make frameworks` makes one"
        for item in items:
            if item.get_closest_marker("frameworks"):
                item.add_marker(pytest.mark.skip(reason=reason))
    for marker in NEEDED:
        if (reason := reason_to_skip(marker)) is not None:
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=reason))
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _has_gpu():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each room took, and what was skipped for want of which processor."""
    phases = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
    ]
    lines = times_by_room(phases)
    if len(lines) > 1:
        terminalreporter.section("time by room, summed over processes")
    for line in lines if len(lines) > 1 else []:
        terminalreporter.line(line)
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ").removeprefix(WRONG_PROCESSOR)
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and WRONG_PROCESSOR in report.longrepr[2]
    )
    if reasons:
        terminalreporter.section("not tested for want of a processor")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} {'test' if count == 1 else 'tests'}: {reason}")


def _has_gpu() -> bool:
    import torch  # seconds: only when a test asks for it

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def archives() -> Path:
    """Return the folder of real archives (for tests marked ``archives``)."""
    return Path(os.environ["ANNEAL_ARCHIVES"])


@pytest.fixture(scope="session")
def _settings_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings")


@pytest.fixture(autouse=True)
def _keep_to_itself(monkeypatch: pytest.MonkeyPatch, _settings_folder: Path) -> None:
    """No network, no account and no settings of the person's home, in subprocesses neither."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "DVC_", "ANNEAL_"))]:
        if name != "ANNEAL_ARCHIVES":
            monkeypatch.delenv(name)
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # these tests run under `make` themselves
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    settings = {
        "no_proxy": "localhost,127.0.0.1",
        "NO_PROXY": "localhost,127.0.0.1",
        "NETRC": str(_settings_folder / "netrc"),
        "WANDB_MODE": "offline",
        "WANDB_CONFIG_DIR": str(_settings_folder / "wandb"),
        "WANDB_CACHE_DIR": str(_settings_folder / "wandb"),
        "WANDB_DATA_DIR": str(_settings_folder / "wandb"),
        "WANDB_DIR": str(_settings_folder),
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(_settings_folder / "dvc"),
        "DVC_SYSTEM_CONFIG_DIR": str(_settings_folder / "dvc"),
        "DVC_SITE_CACHE_DIR": str(_settings_folder / "dvc"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "anneal",
        "GIT_AUTHOR_EMAIL": "anneal@example.org",
        "GIT_COMMITTER_NAME": "anneal",
        "GIT_COMMITTER_EMAIL": "anneal@example.org",
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(_settings_folder / "cache"),
        "MPLBACKEND": "Agg",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    connect = socket.socket.connect

    def connect_here_only(self: socket.socket, address: object) -> None:
        here = {"127.0.0.1", "::1", "localhost"}
        if self.family != socket.AF_UNIX and isinstance(address, tuple) and address[0] not in here:
            raise OSError(f"a test tried to reach {address[0]}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect_here_only)


@pytest.fixture(autouse=True)
def _torch_as_found() -> Iterator[None]:
    """Leave torch's threads and default type as they were for the tests that follow."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
