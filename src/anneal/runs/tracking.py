"""Tracking in Weights & Biases: a view of the run; the record is on disk.

W&B runs in a background process that reads JSON lines from a non-blocking pipe. If it raises, hangs
or dies, the run continues unchanged and prints one warning at its end. The import of W&B (seconds)
happens once for all runs of a process and delays none of them.
"""

import configparser
import contextlib
import json
import logging
import netrc
import os
import re
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TextIO
from urllib.parse import urlsplit

from anneal.config.schema import TrackingConfig
from anneal.runs.side_process import CLOSE_SECONDS, SideProcess

ID_FILE = "tracking.json"
TAG_CHARACTERS = 64  # W&B's limit
HELPER = (sys.executable, "-P", "-m", "anneal.runs.tracking")
_ID = re.compile(r"[0-9a-z]{8,32}")
_log = logging.getLogger(__name__)


class Tracker:
    """Tracked view of one run; does nothing with ``mode: off``. No method raises or blocks.

    A context manager: its exit closes the view as ``finished``, or as ``failed`` after an
    exception, unless :meth:`close` was called before.
    """

    def __init__(self, helper: SideProcess | None = None, *, close_seconds: float = CLOSE_SECONDS):
        self._helper = helper
        self._close_seconds = close_seconds

    def log(self, update: int, values: Mapping[str, Any]) -> None:
        """Log the values measured after ``update`` updates."""
        if self._helper is not None:
            self._helper.send({"do": "log", "update": update, "values": dict(values)})

    def summary(self, values: Mapping[str, Any]) -> None:
        """Log values of the whole run."""
        if self._helper is not None:
            self._helper.send({"do": "summary", "values": dict(values)})

    def close(self, status: str = "finished") -> None:
        """Close the view with the run's status; any but ``finished`` shows as failed.

        Waits a few seconds at most, then abandons the tracker with a warning.
        """
        helper, self._helper = self._helper, None
        if helper is None:
            return
        problem = helper.end_run(status, seconds=self._close_seconds)
        if problem is not None:
            _log.warning("tracking failed: %s; the record on disk is complete", problem)

    def __enter__(self) -> Self:
        """Return the tracker itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the view."""
        self.close("finished" if error is None else "failed")


def open_tracker(
    config: TrackingConfig,
    *,
    run_dir: Path,
    group: str,
    job_type: str,
    name: str,
    tags: Iterable[str] = (),
    configuration: Mapping[str, Any] | None = None,
    resume_from_update: int | None = None,
    command: Sequence[str] = HELPER,
    close_seconds: float = CLOSE_SECONDS,
) -> Tracker:
    """Open the view of one run.

    Args:
        config: mode, project and entity.
        run_dir: folder of ``tracking.json``, which has the run's id.
        group: the experiment.
        job_type: the stage.
        name: in the list of runs.
        tags: paper, schedule, dataset.
        configuration: the resolved one.
        resume_from_update: update of the checkpoint that the run resumes from; the view with the
            id in ``run_dir`` resumes too. None: a new run with a new id.
        command: of the background process (tests pass a broken one).
        close_seconds: time limit for closing.
    """
    mode = resolve_mode(config.mode, os.environ)
    if mode == "off":
        return Tracker()
    try:
        run_id = _keep_id(run_dir / ID_FILE, resume=resume_from_update is not None)
        helper = SideProcess.take(tuple(command))
    except OSError as error:
        _log.warning("tracking failed: %s; the record on disk is complete", error)
        return Tracker()
    if helper is None:
        return Tracker()
    helper.send(
        {
            "do": "open",
            "id": run_id,
            "mode": mode,
            "project": config.project,
            "entity": config.entity,
            "group": group,
            "job_type": job_type,
            "name": name,
            "tags": [tag[:TAG_CHARACTERS] for tag in tags if tag],
            "configuration": dict(configuration or {}),
            "first_update": resume_from_update or 0,
        }
    )
    return Tracker(helper, close_seconds=close_seconds)


def resolve_mode(mode: str, environment: Mapping[str, str]) -> str:
    """Return ``off``, ``offline`` or ``online``.

    ``auto`` follows WANDB_MODE if it is set, then W&B's settings files (written by ``wandb
    disabled``, ``wandb offline`` and ``wandb online``). Otherwise it is online if there is a key in
    WANDB_API_KEY or in the netrc file, and offline if not.

    >>> resolve_mode("auto", {"WANDB_API_KEY": "x"}), resolve_mode("off", {"WANDB_API_KEY": "x"})
    ('online', 'off')
    """
    if mode != "auto":
        return mode
    asked = environment.get("WANDB_MODE") or read_settings(environment).get("mode", "")
    if asked in ("offline", "dryrun"):
        return "offline"
    if asked == "disabled":
        return "off"
    if asked == "online" or has_key(environment):
        return "online"
    return "offline"


def read_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Read W&B's settings files: the user's, overridden by the folder's.

    The places are those of the client (wandb 0.31.0, sdk/wandb_settings.py), without its import.
    """
    home = Path(environment.get("HOME", "~")).expanduser()
    ours = environment.get("WANDB_CONFIG_DIR")
    root = Path(environment.get("WANDB_DIR", "."))
    folder = root / (".wandb" if (root / ".wandb").exists() else "wandb")
    parser = configparser.ConfigParser(interpolation=None)
    for path in (
        (Path(ours) if ours else home / ".config/wandb") / "settings",
        folder / "settings",
    ):
        with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
            parser.read_string(path.read_text())
    return dict(parser["default"]) if parser.has_section("default") else {}


def has_key(environment: Mapping[str, str]) -> bool:
    """Return whether WANDB_API_KEY or the netrc file has a key for W&B's server."""
    if environment.get("WANDB_API_KEY"):
        return True
    settings = read_settings(environment)
    address = environment.get("WANDB_BASE_URL") or settings.get("base_url", "https://api.wandb.ai")
    server = urlsplit(address).hostname or ""
    home = Path(environment.get("HOME", "~")).expanduser()
    named = environment.get("NETRC")
    for path in [Path(named)] if named else [home / ".netrc", home / "_netrc"]:
        with contextlib.suppress(OSError, netrc.NetrcParseError, UnicodeDecodeError):
            return server in netrc.netrc(path).hosts
    return False


def _keep_id(path: Path, *, resume: bool) -> str:
    """Return the run's id: the one in its file when resuming, else a new one, written there."""
    if resume:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(path.read_text())["id"]
            if _ID.fullmatch(kept):
                return str(kept)
    run_id = secrets.token_hex(4)  # uses none of the seeded streams
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"id": run_id}) + "\n")
    temporary.replace(path)
    return run_id


class Backend(Protocol):
    """Interface to W&B, or to a test's substitute."""

    def open(self, message: Mapping[str, Any]) -> None:
        """Start or resume a run."""

    def log(self, update: int, values: Mapping[str, Any]) -> None:
        """Log values at an update."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Log values of the whole run."""

    def close(self, status: str) -> None:
        """Finish the run."""


class WandbBackend:
    """Interface to W&B."""

    def open(self, message: Mapping[str, Any]) -> None:
        """Import W&B and start the run, or resume the one with this id."""
        import wandb

        self._run = wandb.init(
            id=message["id"],
            resume="allow",
            mode=message["mode"],
            project=message["project"],
            entity=message["entity"],
            group=message["group"],
            job_type=message["job_type"],
            name=message["name"],
            tags=message["tags"],
            config=dict(message["configuration"]),
            dir=os.environ.get("WANDB_DIR", "."),
            settings=wandb.Settings(
                silent=True,
                console="off",
                save_code=False,
                disable_code=True,
                disable_git=True,  # the record has the commit; a diff stays private
                x_save_requirements=False,
                x_stats_pid=os.getppid(),  # the run's process, not this one
            ),
        )
        self._first_update = int(message["first_update"])

    def log(self, update: int, values: Mapping[str, Any]) -> None:
        """Log values at an update, unless a run before the resume logged it."""
        if update >= self._first_update:
            self._run.log(dict(values), step=update)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Write the run's summary."""
        self._run.summary.update(dict(values))

    def close(self, status: str) -> None:
        """Finish the run."""
        self._run.summary.update({"status": status})
        self._run.finish(exit_code=0 if status == "finished" else 1)


def serve(messages: Iterable[str], backend: Backend, answers: TextIO) -> None:
    """Process messages until they end; answer each ``close`` with the run's first problem."""
    problem: str | None = None
    is_open = False
    for line in messages:
        if not line.endswith("\n"):  # truncated: the run's process was killed while writing
            break
        message = json.loads(line)
        do = message["do"]
        try:
            if do == "open":
                problem, is_open = None, False
                backend.open(message)
                is_open = True
            elif is_open and do == "log":
                backend.log(message["update"], message["values"])
            elif is_open and do == "summary":
                backend.summary(message["values"])
            elif is_open and do == "close":
                is_open = False
                backend.close(message["status"])
        except Exception as error:  # noqa: BLE001 - no error may stop the run
            problem = problem or " ".join(f"{type(error).__name__}: {error}".split())
        if do == "close":
            answers.write(json.dumps({"problem": problem}) + "\n")
            answers.flush()
    if is_open:  # the run's process was killed
        backend.close("failed")


def serve_pipe(backend: Backend) -> None:
    """Serve on standard input and output; discard all other output."""
    with os.fdopen(os.dup(1), "w") as answers:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        serve(sys.stdin, backend, answers)


if __name__ == "__main__":
    serve_pipe(WandbBackend())
