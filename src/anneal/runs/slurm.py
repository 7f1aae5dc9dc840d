"""Train the runs of a campaign as a job array of SLURM, through submitit (extra ``cluster``)."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anneal.io.files import read_json, write_json
from anneal.io.terminal import say
from anneal.io.text import did_you_mean, last_line
from anneal.runs.board import Board
from anneal.runs.campaign_runs import CampaignRun
from anneal.runs.environment import now
from anneal.runs.layout import GRID, RUNS
from anneal.runs.status import FAILED, RunStatus, ended_words, run_status, summary_lines

if TYPE_CHECKING:
    from submitit import SlurmExecutor

POLL_SECONDS = 5.0
JOB = "slurm_job"  # key of the record of an attempt
SHORTEST = 61  # min; submitit takes every signal in the last ten minutes for a time-out
DEFAULTS = {"timeout_min": 24 * 60, "cpus_per_task": 4, "signal_delay_s": 120}
LISTED = ("squeue", "--noheader", "--array", "--me", "--format=%i")


@dataclass(frozen=True)
class Task:
    """A command of Python in a job; a job that is preempted runs it again from its checkpoint.

    Args:
        module: with a ``main`` that takes the arguments.
        arguments: of it.
    """

    module: str
    arguments: tuple[str, ...]

    def __call__(self) -> None:
        """Run it in the process of the job, which has the job's signals."""
        import importlib

        importlib.import_module(self.module).main(list(self.arguments))

    def checkpoint(self) -> Any:
        """Return what submitit puts into the queue again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def read_parameters(text: str) -> dict[str, Any]:
    """Return submitit's parameters of ``partition=gpu,gres=gpu:1,timeout_min=240``.

    Raises:
        ValueError: one is unknown or has no value, or the job may be cut too early.
    """
    from submitit import SlurmExecutor

    names = SlurmExecutor._equivalence_dict()
    known = {*names, *SlurmExecutor._valid_parameters()} - {"setup", "teardown"}
    found: dict[str, Any] = dict(DEFAULTS)
    for word in text.split(","):
        key, equals, value = word.partition("=")
        if key not in known:
            raise ValueError(f"--slurm has no parameter {key!r}{did_you_mean(key, known)}")
        if not equals or not value:
            raise ValueError(f"--slurm {key} needs a value")
        found[key] = int(value) if value.isdigit() else value
    if "time" in found:
        found["timeout_min"] = found.pop("time")
    if not isinstance(found["timeout_min"], int) or found["timeout_min"] < SHORTEST:
        raise ValueError(
            f"--slurm timeout_min must be a whole number from {SHORTEST} min on, for submitit "
            "takes a preemption in a job of an hour or less for its time-out; "
            f"got {found['timeout_min']}"
        )
    return found


def open_executor(
    campaign: str, parameters: dict[str, Any], *, parallel: int, submits: bool = True
) -> "SlurmExecutor":
    """Return what submits the jobs of a campaign.

    Args:
        campaign: whose folder takes scripts and logs.
        parameters: of :func:`read_parameters`.
        parallel: runs of the array at a time.
        submits: False: it only writes scripts, which needs no SLURM.

    Raises:
        ValueError: there is no SLURM here.
    """
    from submitit import SlurmExecutor

    kind = SlurmExecutor
    if not submits:  # it is not asked whether SLURM is here
        kind = type("Script", (SlurmExecutor,), {"affinity": classmethod(lambda _cls: 1)})
    folder = (RUNS / campaign / GRID / "slurm").resolve()
    try:
        executor = kind(folder=folder)
    except RuntimeError:
        raise ValueError("--slurm needs SLURM (srun, sbatch), and there is none here") from None
    named = {"name": f"anneal-{campaign}", **parameters}
    executor.update_parameters(
        array_parallelism=parallel,
        stderr_to_stdout=True,
        additional_parameters={"requeue": True},
        **executor._convert_parameters(named),
    )
    return executor


def script_of(executor: "SlurmExecutor", *, num_runs: int) -> str:
    """Return the script that ``sbatch`` would get for an array of so many runs."""
    executor.parameters["map_count"] = num_runs  # as submitit does for an array
    return str(executor._make_submission_file_text(executor._submitit_command_str, ""))


def run_job(executor: "SlurmExecutor", task: Task) -> None:
    """Submit one job and wait for its end.

    Raises:
        ValueError: it failed; says its last line.
    """
    from submitit.core.utils import pickle_load

    with submission():
        job = executor.submit(task)
    log = job.paths.stdout
    say(f"job {job.job_id}: {' '.join(task.arguments) or 'all stages'} ({log})")
    alive: set[str] | None = None
    while alive is None or job.job_id in alive:
        time.sleep(POLL_SECONDS)
        alive = jobs_alive()
    result = job.paths.result_pickle
    if not result.is_file() or pickle_load(result)[0] != "success":
        raise ValueError(f"job {job.job_id} failed: {line_of(log)} ({log})")


@contextmanager
def submission() -> Iterator[None]:
    """Make one line of what sbatch says when it takes no job.

    Raises:
        ValueError: it took none.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        yield
    except (FailedJobError, FailedSubmissionError) as error:
        raise ValueError(f"sbatch took no job: {error}") from error


def jobs_alive() -> set[str] | None:
    """Return the jobs of this person that wait or run; None where SLURM gives no answer."""
    done = subprocess.run(LISTED, capture_output=True, text=True, check=False)
    return set(done.stdout.split()) if done.returncode == 0 else None


class Farm:
    """The runs of a campaign as jobs.

    Args:
        runs: all of the campaign, for the board.
        todo: those to be trained, the first one first.
        executor: submits them.
        retries: how often a failed run is submitted again.
        task: returns what a job does for a run.
        is_ended: tells whether a run has ended.
        board: shows it.
    """

    def __init__(
        self,
        runs: Sequence[CampaignRun],
        todo: Sequence[CampaignRun],
        executor: "SlurmExecutor",
        *,
        retries: int,
        task: Callable[[CampaignRun], Task],
        is_ended: Callable[[CampaignRun], bool],
        board: Board,
    ) -> None:
        self._runs, self._todo, self._executor = runs, list(todo), executor
        self._retries, self._task, self._is_ended = retries, task, is_ended
        self._board = board
        self._failures: Counter[str] = Counter()
        self._jobs: dict[str, CampaignRun] = {}  # by the number of the job

    def train(self) -> list[RunStatus]:
        """Submit every run and wait for all; return how each run of the campaign ended.

        Ctrl-C ends the waiting alone: the jobs stay, and the same command waits for them again.
        """
        alive = jobs_alive() or set()
        left = []
        for run in self._todo:
            job = read_json(run.attempt).get(JOB) if run.attempt.is_file() else None
            if job in alive:
                self._jobs[job] = run
                self._board.line(f"{run.name}: job {job} has it already")
            else:
                left.append(run)
        self._submit(left)
        try:
            while self._jobs:
                time.sleep(POLL_SECONDS)
                now_alive = jobs_alive()
                if now_alive is not None:
                    self._submit(self._reap(now_alive))
                if self._board.redrawn:
                    self._board.show(summary_lines([run_status(run) for run in self._runs]))
        except KeyboardInterrupt:
            stop = " ".join(sorted({job.partition("_")[0] for job in self._jobs}))
            self._board.line(f"the jobs go on; `scancel {stop}` ends them")
            raise
        return [run_status(run) for run in self._runs]

    def _submit(self, runs: Sequence[CampaignRun]) -> None:
        if not runs:
            return
        with submission(), self._executor.batch():  # one array
            submitted = [self._executor.submit(self._task(run)) for run in runs]
        for run, job in zip(runs, submitted, strict=True):
            write_json(run.attempt, {JOB: job.job_id, "submitted": now()})
            self._jobs[job.job_id] = run
            self._board.line(f"{run.name}: submitted as job {job.job_id}")

    def _reap(self, alive: Iterable[str]) -> list[CampaignRun]:
        """Take the jobs that are gone; return the runs to be submitted again."""
        again = []
        for job in self._jobs.keys() - set(alive):
            run = self._jobs.pop(job)
            if self._is_ended(run):
                run.attempt.unlink(missing_ok=True)
                self._board.line(f"{run.name}: {ended_words(run_status(run), run)}")
                continue
            line = line_of(Path(self._executor.folder) / f"{job}_0_log.out")
            self._failures[run.name] += 1
            write_json(run.attempt, {FAILED: line, JOB: job, "ended": now()})
            retried = self._failures[run.name] <= self._retries
            again += [run] if retried else []
            words = "failed, will be tried again" if retried else "failed"
            self._board.line(f"{run.name}: {words}: {line} (job {job})")
        return again


def line_of(log: Path) -> str:
    """Return the last line that a job left."""
    said = last_line(log.read_text(errors="replace")) if log.is_file() else None
    return said or "its job is gone and said nothing"
