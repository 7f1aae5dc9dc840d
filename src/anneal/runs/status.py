"""Progress of the runs of a campaign, read from their directories without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anneal.io.files import read_json, read_yaml
from anneal.io.text import duration_words, shorten
from anneal.runs.campaign_runs import CampaignRun
from anneal.runs.directory import ENVIRONMENT_FILE, PLAN, TIMING, read_lines
from anneal.runs.directory_lock import is_held
from anneal.runs.result_file import RESULT, read_result

ENDED = ("done", "diverged", "committed", "skipped")
FAILED = "failed"  # key of the record of an attempt: the last line that it said
LINE = 160  # letters of a failure that are shown


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One seed of one experiment.

    Args:
        state: done, diverged, committed (in results/), skipped (its range test gave no bounds),
            running, stopped, failed (by ``anneal grid``), or left.
        updates: made so far.
        total_steps: to be made.
        seconds_per_update: as measured here; None before the first measurement.
        failure: the last line of a failed attempt, or what is wrong with a result.
    """

    experiment: str
    seed: int
    state: str
    updates: int
    total_steps: int
    seconds_per_update: float | None
    failure: str | None = None

    @property
    def name(self) -> str:
        """What the terminal calls it."""
        return f"{self.experiment} seed {self.seed}"

    @property
    def words(self) -> str:
        """The state, with what is known of the way there."""
        said = self.state
        if self.state in ("running", "stopped"):
            said += f" at {self.updates} of {self.total_steps}"
        if self.state == "running" and self.seconds_per_update:
            left = (self.total_steps - self.updates) * self.seconds_per_update
            said += f", {1 / self.seconds_per_update:.0f} updates/s, {duration_words(left)} left"
        return said


def run_status(run: CampaignRun) -> RunStatus:
    """Return the status of one run."""
    state, updates, pace, failure = "left", 0, None, None
    if run.committed:
        state = "committed"
    elif run.without_bounds:
        state = "skipped"
    path = run.path
    plan = read_yaml(path / PLAN) if (path / PLAN).is_file() else None
    if plan is not None and (
        plan["configuration_hash"] == run.configuration_hash
        if run.configuration_hash is not None
        else plan["total_steps"] == run.total_steps
    ):
        lines = read_lines(path / TIMING)
        updates = int(lines[-1]["update"]) if lines else 0
        pace = _pace(path, lines)
        if state == "left":
            state = "running" if is_held(path) else "stopped"
        try:
            ended = read_result(path / RESULT, planned=plan["configuration_hash"])
        except ValueError as error:
            state, failure = "failed", str(error)
        else:
            if ended is not None:
                state = "done" if ended["status"] == "finished" else str(ended["status"])
    if state in ("stopped", "left") and run.attempt.is_file():
        failure = read_json(run.attempt).get(FAILED)
        state = "failed" if failure is not None else state
    return RunStatus(
        experiment=run.experiment,
        seed=run.seed,
        state=state,
        updates=updates,
        total_steps=run.total_steps,
        seconds_per_update=pace,
        failure=failure,
    )


def accuracy_words(path: Path) -> str:
    """Return the final test accuracy of a run, where it has one."""
    result = read_json(path / RESULT) if (path / RESULT).is_file() else {}
    accuracy = result.get("test_accuracy_pct@final")
    return "" if accuracy is None else f"{accuracy:.2f} %"


def ended_words(status: RunStatus, run: CampaignRun) -> str:
    """Return how a run ended, and its accuracy."""
    return ", ".join(filter(None, [status.state, accuracy_words(run.path)]))


def _pace(path: Path, lines: list[dict[str, float]]) -> float | None:
    """Return the seconds per update of the last start, from its own first update on."""
    if not lines or not (path / ENVIRONMENT_FILE).is_file():
        return None
    made = lines[-1]["update"] - read_json(path / ENVIRONMENT_FILE)[-1]["from_update"]
    return lines[-1]["seconds"] / made if made > 0 else None


def seconds_left(runs: Sequence[RunStatus]) -> float | None:
    """Estimate the seconds that all unended runs still need, one after another.

    An experiment that has not run yet goes at the pace of the others' median. None when nothing
    was measured.
    """
    paces = sorted(r.seconds_per_update for r in runs if r.seconds_per_update is not None)
    if not paces:
        return None
    own = {r.experiment: r.seconds_per_update for r in runs if r.seconds_per_update is not None}
    return sum(
        (r.total_steps - r.updates) * own.get(r.experiment, paces[len(paces) // 2])
        for r in runs
        if r.state not in ENDED
    )


def summary_lines(runs: Sequence[RunStatus], *, at_once: int | None = None) -> list[str]:
    """Return how far a campaign is: counts and time left, then each running and failed run.

    Args:
        runs: all of the campaign.
        at_once: how many run side by side; None: as many as are running.
    """
    ended = [r for r in runs if r.state in ENDED]
    line = f"{len(ended)} of {len(runs)} runs ended"
    running = [r for r in runs if r.state == "running"]
    failed = [r for r in runs if r.state == "failed"]
    waiting = len(runs) - len(ended) - len(running) - len(failed)
    if running or failed:
        line += f", {len(running)} running, {waiting} waiting, {len(failed)} failed"
    if len(ended) < len(runs):
        seconds = seconds_left(runs)
        at_once = at_once or max(1, len(running))
        line += (
            f", about {duration_words(seconds / at_once)} left"
            if seconds
            else ", no pace measured yet"
        )
    width = max((len(r.name) for r in (*running, *failed)), default=0)
    return [
        line,
        *(f"  {r.name:<{width}}  {r.words}" for r in running),
        *(f"  {r.name:<{width}}  failed: {shorten(r.failure or '', LINE)}" for r in failed),
    ]
