"""Train the runs of a campaign side by side, on several devices, cores or machines.

  anneal grid                                # every GPU here, or every core
  anneal grid --devices 0-3 --abreast 2      # two runs at a time on each of four GPUs
  anneal grid --workers 4                    # four runs at a time, a quarter of the cores each
  anneal grid --slurm partition=gpu,gpus_per_node=1,timeout_min=240 --parallel 16
  anneal grid --only '*_1cycle_*,*/fixed'    # of the campaign's rows those of these patterns
  anneal grid --dry-run                      # order, costs, workers or sbatch script; runs nothing

Takes the campaign of params.yaml. First ``dvc repro`` makes what its runs share (images, range
tests), then each experiment x seed is a process of its own, the costliest first; what is trained
is evaluated side by side too, and ``dvc repro`` records it. A failed run is tried again
(``--retries``, 1 unless it is given) and leaves the others going. Ctrl-C has every run write a
checkpoint and stop. The same command goes on: what is finished is skipped, what failed is tried
again, what another process trains is left to it. ``anneal status`` shows it from another shell.

``--slurm`` submits the runs as one array through submitit (extra ``cluster``; parameters are
submitit's) and waits for them; Ctrl-C ends the waiting and leaves the jobs.
"""

import fnmatch
import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from anneal.config.compose import load_campaign
from anneal.config.folders import require_repository
from anneal.config.schema import CampaignConfig
from anneal.io.terminal import command, say
from anneal.io.text import Alignment, did_you_mean, duration_words, shorten, text_table
from anneal.runs.board import open_board
from anneal.runs.campaign_runs import CampaignRun, campaign_runs
from anneal.runs.code_digest import code_digest, source_times
from anneal.runs.costs import TERA
from anneal.runs.evaluations import evaluate_side_by_side, trained_whole
from anneal.runs.forks import import_once, start_fork
from anneal.runs.hardware import usable_cores
from anneal.runs.pool import Pool
from anneal.runs.processes import refuse_several
from anneal.runs.queue import (
    STAGE,
    arguments_of,
    call_of,
    cost_left,
    costliest_first,
    ended_here,
    ended_somewhere,
)
from anneal.runs.reproduce import reproduce
from anneal.runs.slurm import Farm, Task, open_executor, read_parameters, run_job, script_of
from anneal.runs.status import ENDED, LINE, RunStatus, accuracy_words, run_status
from anneal.runs.subjects import split_name
from anneal.runs.workers import Worker, core_workers, device_workers, parse_devices

if TYPE_CHECKING:
    from submitit import SlurmExecutor

IMPORTED = "anneal.commands.imported"
FLAGS = ("--dry-run",)
VALUES = ("--devices", "--workers", "--abreast", "--slurm", "--parallel", "--retries", "--only")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says; None where it says nothing."""

    devices: str | None = None
    workers: int | None = None
    abreast: int | None = None
    slurm: str | None = None
    parallel: int = 32
    retries: int = 1
    only: str | None = None
    dry_run: bool = False


@command(free=True)
def main(arguments: list[str]) -> None:
    """Train the campaign of params.yaml side by side, and record it."""
    options = read_options(arguments)
    require_repository("anneal grid")
    config = load_campaign()
    rows = rows_of(config, options.only)
    began = time.monotonic()
    if options.dry_run:
        _print_plan(config, options, rows)
        return
    say(f"campaign {config.campaign.name}: {config.campaign.title}")
    executor = None if options.slurm is None else _executor(config, options)
    sources = source_times()
    if executor is None:
        import_once(IMPORTED)
        code_digest()  # of the sources that the runs have, whatever becomes of the files
    made = reproduce if executor is None else functools.partial(_reproduce_in_a_job, executor)
    made(shared_stages(config))
    runs = [run for run in campaign_runs(config) if split_name(run.experiment)[0] in rows]
    is_ended = ended_here(runs) if executor is None else ended_somewhere
    todo = costliest_first([run for run in runs if not is_ended(run)])
    say(f"{len(runs) - len(todo)} of {len(runs)} runs ended before")
    workers = [] if executor else lay_out_workers(config, options, num_runs=len(runs))
    with open_board() as board:
        trainer: Pool | Farm
        if executor is None:
            say(workers_words(workers))
            trainer = Pool(
                runs,
                todo,
                workers,
                retries=options.retries,
                start=lambda run, worker: start_fork(call_of(run), worker),
                is_ended=is_ended,
                board=board,
            )
        else:
            trainer = Farm(
                runs,
                todo,
                executor,
                retries=options.retries,
                task=lambda run: Task(STAGE, tuple(arguments_of(run))),
                is_ended=is_ended,
                board=board,
            )
        found = trainer.train()
    failed = [status for status in found if status.state not in ENDED]
    if executor is None:
        evaluate_side_by_side(config, trained_whole(todo, failed), workers, sources=sources)
    _record(config, rows, found, made)
    for line in result_table(runs, found):
        say(line)
    say(f"{len(found) - len(failed)} of {len(found)} runs ended; "
        f"{duration_words(time.monotonic() - began)}")  # fmt: skip
    for status in failed:
        say(f"  {status.name} failed: {shorten(status.failure or '', LINE)}")
    if failed:
        raise ValueError(
            f"{len(failed)} of {len(found)} runs failed; the same command tries them again"
        )


def read_options(arguments: Sequence[str]) -> Options:
    """Return what the command line says.

    >>> options = read_options(["--devices", "0-3", "--abreast=2"])
    >>> options.devices, options.abreast, options.retries
    ('0-3', 2, 1)

    Raises:
        ValueError: an option is unknown, lacks its value, or does not go with another.
    """
    given: dict[str, str] = {}
    left = list(arguments)
    while left:
        option, equals, value = (word := left.pop(0)).partition("=")
        if option in FLAGS and not equals:
            given[option] = ""
        elif option in VALUES:
            if not (value or left):
                raise ValueError(f"{option} needs a value")
            given[option] = value or left.pop(0)
        else:
            raise ValueError(f"unknown option {word!r}{did_you_mean(option, (*FLAGS, *VALUES))}")
    if {"--devices", "--workers"} <= given.keys():
        raise ValueError("--devices and --workers exclude each other")
    if {"--workers", "--abreast"} <= given.keys():
        raise ValueError("--abreast is of --devices: with --workers, ask for more workers")
    if "--slurm" in given and not given.keys().isdisjoint({"--devices", "--workers", "--abreast"}):
        raise ValueError("--slurm takes no --devices, --workers or --abreast: SLURM places jobs")
    if "--parallel" in given and "--slurm" not in given:
        raise ValueError("--parallel is of --slurm: how many jobs of the array run at a time")
    return Options(
        devices=given.get("--devices"),
        workers=_count(given, "--workers", at_least=1),
        abreast=_count(given, "--abreast", at_least=1),
        slurm=given.get("--slurm"),
        parallel=_count(given, "--parallel", at_least=1) or Options.parallel,
        retries=1 if (retries := _count(given, "--retries", at_least=0)) is None else retries,
        only=given.get("--only"),
        dry_run="--dry-run" in given,
    )


def _count(given: dict[str, str], option: str, *, at_least: int) -> int | None:
    if option not in given:
        return None
    if not given[option].isdigit() or int(given[option]) < at_least:
        raise ValueError(f"{option} must be a whole number from {at_least} on, got {given[option]}")
    return int(given[option])


def rows_of(config: CampaignConfig, only: str | None) -> list[str]:
    """Return the rows of a campaign that patterns name, ``*`` for any text; all without patterns.

    Raises:
        ValueError: a pattern fits no row.
    """
    rows = [*config.campaign.experiments]
    if only is None:
        return rows
    found = set[str]()
    for pattern in only.split(","):
        if not (fitting := fnmatch.filter(rows, pattern)):
            raise ValueError(
                f"--only: {pattern!r} fits no row of campaign {config.campaign.name}"
                f"{did_you_mean(pattern, rows)}"
            )
        found |= set(fitting)
    return [row for row in rows if row in found]


def lay_out_workers(config: CampaignConfig, options: Options, *, num_runs: int) -> list[Worker]:
    """Return the workers that are asked for; by default, every GPU or every core.

    Raises:
        ValueError: they are not here, or the campaign's hardware says something else.
    """
    hardware = config.hardware
    refuse_several(hardware, for_what="anneal grid, which trains runs side by side")
    cores = usable_cores()
    num_devices = 0 if hardware.device == "cpu" else torch.cuda.device_count()
    if options.devices is None and options.abreast is None and not num_devices:
        num = options.workers
        if num is None:
            num = min(num_runs, max(1, len(cores) // (hardware.threads or 1)))
        return core_workers(cores, num, threads=hardware.threads)
    if options.workers is not None:
        raise ValueError(
            f"--workers shares cores, and runs here use CUDA ({num_devices} devices, "
            f"hardware.device is {hardware.device}): use --devices, or hardware=cpu"
        )
    devices = list(range(num_devices))
    if options.devices is not None or not devices:
        devices = parse_devices(options.devices or "0", num_devices=num_devices)
    return device_workers(
        devices,
        cores,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        abreast=options.abreast or 1,
    )


def workers_words(workers: Sequence[Worker]) -> str:
    """Say in one line who trains.

    >>> workers_words([Worker(name="worker 0", cores=frozenset({0, 1}))])
    '1 run at a time: worker 0 (2 threads)'
    """
    each = ", ".join(
        f"{worker.name} ({len(worker.cores)} thread{'s' * (len(worker.cores) > 1)})"
        for worker in workers
    )
    return f"{len(workers)} run{'s' * (len(workers) > 1)} at a time: {each}"


def shared_stages(config: CampaignConfig) -> list[str]:
    """Return the stages that the runs of a campaign share, as ``dvc repro`` takes them."""
    return ["compose", "download", *(["range_test"] if config.campaign.range_tests else [])]


def _executor(config: CampaignConfig, options: Options) -> "SlurmExecutor":
    assert options.slurm is not None
    try:
        parameters = read_parameters(options.slurm)
    except ModuleNotFoundError:
        raise ValueError("--slurm needs submitit: make setup EXTRAS=cluster") from None
    return open_executor(
        config.campaign.name,
        parameters,
        parallel=options.parallel,
        submits=not options.dry_run,
    )


def _reproduce_in_a_job(executor: "SlurmExecutor", arguments: Sequence[str]) -> None:
    """Run ``dvc repro`` where the runs compute: another machine may round otherwise."""
    run_job(executor, Task("anneal.runs.reproduce", tuple(arguments)))


def _record(
    config: CampaignConfig,
    rows: Sequence[str],
    found: Sequence[RunStatus],
    reproduce: Callable[[Sequence[str]], None],
) -> None:
    """Have DVC measure and collect what ended; the whole campaign where nothing is left."""
    unended = {split_name(s.experiment)[0] for s in found if s.state not in ENDED}
    if not unended and len(rows) == len(config.campaign.experiments):
        reproduce([])
        return
    whole = [row for row in rows if row not in unended]
    if whole:  # the stages of the others would train them
        reproduce([f"evaluate@{name}" for name in whole])
        reproduce(["--single-item", "collect", "report"])


def result_table(runs: Sequence[CampaignRun], found: Sequence[RunStatus]) -> list[str]:
    """Return a line for each run: how it ended, and its accuracy."""
    titles = ["experiment", "seed", "state", "updates", "test accuracy"]
    sides: list[Alignment] = ["left", "right", "left", "right", "right"]
    rows = [
        [
            status.experiment,
            str(status.seed),
            status.state,
            f"{status.updates:,}",
            accuracy_words(run.path) if status.state == "done" else "",
        ]
        for run, status in zip(runs, found, strict=True)
    ]
    return text_table(titles, rows, sides=sides)


def _print_plan(config: CampaignConfig, options: Options, rows_run: Sequence[str]) -> None:
    """Print what would be run: the stages, the runs in their order, the workers."""
    runs = [run for run in campaign_runs(config) if split_name(run.experiment)[0] in rows_run]
    is_ended = ended_here(runs) if options.slurm is None else ended_somewhere
    todo = [run for run in runs if not is_ended(run)]
    if options.slurm is not None:
        script = script_of(_executor(config, options), num_runs=max(1, len(todo)))
        who = ["sbatch gets for these runs:", *(f"  {line}" for line in script.splitlines())]
    else:
        who = [workers_words(lay_out_workers(config, options, num_runs=len(runs)))]
    say(f"campaign {config.campaign.name}: {config.campaign.title}")
    say(f"$ dvc repro {' '.join(shared_stages(config))}")
    say(f"{len(runs) - len(todo)} of {len(runs)} runs ended before")
    for line in who:
        say(line)
    rows = []
    for place, run in enumerate(costliest_first(todo), start=1):
        cost = cost_left(run)
        tera = "unknown" if math.isinf(cost) else f"{cost / TERA:,.2f}"
        state = run_status(run).state  # what ended under other code is trained again
        cells = [str(place), run.experiment, str(run.seed), "left" if state in ENDED else state]
        rows.append([*cells, f"{run.total_steps:,}", tera])
    titles = ["", "experiment", "seed", "state", "updates", "TFLOP left"]
    sides: list[Alignment] = ["right", "left", "right", "left", "right", "right"]
    for line in text_table(titles, rows, sides=sides):
        say(line)
    if len(rows_run) == len(config.campaign.experiments):
        say("$ dvc repro")
        return
    say(f"$ dvc repro {' '.join(f'evaluate@{row}' for row in rows_run)}")
    say("$ dvc repro --single-item collect report")
