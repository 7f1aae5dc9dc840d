"""Updates per second of four rows on a GPU, against a plain PyTorch loop on the same device.

python benchmarks/gpu.py [--rows caffe resnet20 resnet56 resnet110] [--updates 200] [--rounds 5]
                         [--modes eager compiled together captured ... plain] [--device cuda]
                         [--workers 8] [--write]
python benchmarks/gpu.py --page

Each case runs in a process of its own, on random images of the set's size. Its rate is the median
over rounds of --updates each; a round ends where the loop reads the loss, as `anneal run` does at
each line of its history. The seconds until the first update are those from the start of the
process: imports, set-up and what is compiled. The share of time in which the GPU is idle is that
of torch's profiler, over updates after the rounds. FLOP are those of convolutions and matrix
products, counted in an update. The rate of runs abreast is that of all of them; they are captured,
with parts together where an update has several. "losses as eager" says whether the first seed's
losses at the ends of the rounds are those of eager code to the last bit. The plain loop augments
where the row does, and computes with torch's own settings: float32, on CUDA with convolutions in
TF32. --write saves results/benchmarks/gpu/<device>.json; --page renews the block of
docs/benchmarks.md from the saved results. --device cpu tries it without a GPU.
"""

import argparse
import contextlib
import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from plain_loop import train_on, usual_transforms
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from anneal.config.schema import ExperimentConfig
from anneal.datasets.image_data import ImageData, Split
from anneal.datasets.registry import PublishedSize, find_dataset
from anneal.io.files import read_json, renew_page, write_json
from anneal.io.text import Alignment, markdown_table
from anneal.runs.abreast import Lane
from anneal.runs.environment import describe_environment
from anneal.runs.hardware import decide, num_cores
from anneal.runs.inputs import load_experiment
from anneal.runs.layout import EXPERIMENTS
from anneal.runs.plan import Plan, check_plan
from anneal.runs.setup import ExperimentSetup, assemble_setup, capture_updates
from anneal.training.loop import Outcome, Record, Training
from anneal.training.scheduled_lr import ScheduledLR
from training import FOLDER, PAGE, device_name

BLOCK = "gpu"  # of the page
PLAIN = "plain"
CAPTURED = {"compile": "off", "inputs": "gathered", "capture": "graph"}
MODES: dict[str, dict[str, Any]] = {  # changes to the section hardware
    "eager": {"compile": "off"},
    "compiled": {"compile": "on"},
    "together": {"compile": "off", "parts": "together"},  # parts of an update in one pass
    "captured": CAPTURED,
    "captured together": CAPTURED | {"parts": "together"},
}
ABREAST = {f"abreast {runs}": runs for runs in (2, 4, 8)}  # captured, as fast as it can be
PROFILED = 20  # updates, or as many as a round has
TERA, GIBI = 1e12, 2**30


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a paper's table.

    Args:
        campaign: of its resolved file, read where it is there; else Hydra composes it.
        plain: the network that the plain loop trains in its place.
    """

    campaign: str
    experiment: str
    plain: str


ROWS = {
    "caffe": Row(campaign="clr_cifar10", experiment="clr/cifar10_triangular2", plain="caffe_cifar"),
    "resnet20": Row(
        campaign="super_convergence",
        experiment="super_convergence/cifar10_resnet20_clr",
        plain="cifar_resnet20",
    ),
    "resnet56": Row(
        campaign="super_convergence",
        experiment="super_convergence/cifar10_resnet56_clr",
        plain="cifar_resnet56",
    ),
    "resnet110": Row(
        campaign="clr_table4_cifar10",
        experiment="clr/cifar10_resnet110_clr",
        plain="cifar_resnet110",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row in one mode.

    Args:
        began: when its process was started, in ``time.monotonic``.
        images: in the training set; None: as many as the published one has.
        workers: of the plain loop's loader.
    """

    row: str
    mode: str
    device: str
    updates: int
    rounds: int
    workers: int
    images: int | None
    began: float


class Enough(Exception):  # noqa: N818 - the way out of a loop that trains for ever
    """The plain loop has made its updates."""


class Pictures(torch.utils.data.Dataset):
    """Images in memory, each made a picture and transformed, as torchvision's CIFAR10 does."""

    def __init__(self, images: np.ndarray, *, augmented: bool) -> None:
        self._images, self._transform = images, usual_transforms(augmented=augmented)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), index % 10


def measure(case: Case) -> dict[str, Any]:
    """Measure one case, in this process.

    Returns:
        ``rates`` (updates/s of each round), ``first_seconds``, and of ours ``losses`` (of the first
        seed), ``idle`` (share of time) and ``gib`` (of memory), both None without a GPU, ``flop``
        (of an update; in eager mode alone) and ``numerics``.
    """
    row = ROWS[case.row]
    experiment = read_experiment(row)
    size = find_dataset(experiment.dataset).size
    assert size is not None
    if case.mode == PLAIN:
        return _measure_plain(case, experiment, size)
    parts = experiment.training.accumulation
    if case.mode in ("together", "captured together") and parts == 1:
        raise ValueError("an update has one part")
    best = MODES["captured" if parts == 1 else "captured together"]
    hardware = dataclasses.replace(
        experiment.hardware, name="gpu.py", device=case.device, **MODES.get(case.mode, best)
    )
    experiment = dataclasses.replace(experiment, hardware=hardware)
    settings = decide(hardware, architecture=experiment.model.architecture)
    setup = assemble_setup(experiment, random_images(size, case.images), settings)
    plan = check_plan(experiment, where=experiment.name)
    ends = [1 + case.updates * number for number in range(case.rounds + 1)]
    profiled = ends[-1] + min(PROFILED, case.updates)
    runs = ABREAST.get(case.mode, 1)
    trainings = [
        training_of(setup, plan, seed, log_at=ends, total=profiled) for seed in range(runs)
    ]
    times: dict[int, float] = {}  # when the last run had made so many updates
    losses: list[float] = []
    on_gpu = settings.device == "cuda"
    profiler = profile(activities=[ProfilerActivity.CUDA]) if on_gpu else None

    def record(seed: int, line: Record) -> None:
        update = int(line["update"])
        times[update] = time.monotonic()
        if seed == 0 and "loss" in line:
            losses.append(line["loss"])
        if profiler is not None and update == ends[-1] and seed == runs - 1:
            profiler.start()

    outcomes = take_turns(
        [
            training.updates(record=partial(record, seed), between=lambda _update: True)
            for seed, training in enumerate(trainings)
        ],
        streams=on_gpu and runs > 1,
    )
    rates = rates_of([times[end] for end in ends if end in times], case.updates)
    found: dict[str, Any] = {
        "rates": [runs * rate for rate in rates],
        "first_seconds": times[ends[0]] - case.began,
        "losses": losses,
        "status": "diverged" if any(one.status == "diverged" for one in outcomes) else "finished",
        "numerics": settings.numerics,
        "gib": torch.cuda.max_memory_reserved() / GIBI if on_gpu else None,
        "idle": None,
        "flop": None,
    }
    if profiler is not None:
        profiler.stop()
        found["idle"] = idle_share(
            (event.time_range.start, event.time_range.end)
            for event in profiler.events() or ()
            if event.device_type == DeviceType.CUDA
        )
    if case.mode == "eager":
        with FlopCounterMode(display=False) as counter:
            trainings[0].learner.update(profiled)
        found["flop"] = counter.get_total_flops()
    return found


def training_of(
    setup: ExperimentSetup, plan: Plan, seed: int, *, log_at: Sequence[int], total: int
) -> Training:
    """Return the loop of one seed, as `anneal run` makes it, without evaluations."""
    learner = setup.learner(seed)
    scheduled = ScheduledLR(learner.optimizer, plan.schedule, momentum=plan.momentum)
    if setup.settings.capture == "graph":
        learner = capture_updates(learner, scheduled, total_steps=total)
    return Training(
        learner=learner,
        scheduled=scheduled,
        total_steps=total,
        log_at=log_at,
        evaluate_at=[],
        evaluate=lambda: NotImplemented,
    )


def take_turns(runs: Sequence[Generator[None, None, Outcome]], *, streams: bool) -> list[Outcome]:
    """Take a step of each run in turn until all have ended; return how they ended."""
    lanes = [Lane(run, torch.cuda.Stream() if streams else None) for run in runs]
    if streams:
        torch.cuda.synchronize()  # what was made on the stream of this thread
    outcomes = []
    while lanes:
        for lane in list(lanes):
            try:
                lane.step()
            except StopIteration as end:
                outcomes.append(end.value)
                lanes.remove(lane)
    return outcomes


def _measure_plain(case: Case, experiment: ExperimentConfig, size: PublishedSize) -> dict[str, Any]:
    training, times = experiment.training, []
    ends = {1 + case.updates * number for number in range(case.rounds + 1)}
    made = itertools.count()

    def before_update() -> None:
        number = next(made)  # updates made: the loop reads the loss of each
        if number in ends:
            times.append(time.monotonic())
        if number == max(ends):
            raise Enough

    shape = (case.images or size.train, *size.shape[1:], size.shape[0])
    pictures = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    with contextlib.suppress(Enough):
        train_on(
            Pictures(pictures, augmented=experiment.dataset.mirror),
            ROWS[case.row].plain,
            workers=case.workers,
            batch=training.batch_size * training.accumulation,
            device=torch.device(case.device),
            before_update=before_update,
        )
    return {"rates": rates_of(times, case.updates), "first_seconds": times[0] - case.began}


def read_experiment(row: Row) -> ExperimentConfig:
    """Return a row's experiment: its resolved file, or composed where there is none."""
    if (EXPERIMENTS / row.campaign / f"{row.experiment}.yaml").is_file():
        return load_experiment(row.campaign, row.experiment).experiment
    from anneal.config.compose import compose_run  # Hydra, which a bare machine has not

    return compose_run([f"experiment={row.experiment}"])


def random_images(size: PublishedSize, num_images: int | None) -> ImageData:
    """Return random images in the shape and number of a published set, each time the same."""
    count, generator = num_images or size.train, torch.Generator().manual_seed(0)
    split = Split(
        torch.randint(256, (count, *size.shape), dtype=torch.uint8, generator=generator),
        torch.arange(count) % size.classes,
    )
    return ImageData("random", split, split, tuple(map(str, range(size.classes))), {})


def rates_of(times: Sequence[float], updates: int) -> list[float]:
    """Return the updates per second between moments that are so many updates apart.

    >>> rates_of([0.0, 2.0, 4.5], 10)
    [5.0, 4.0]
    """
    return [updates / (after - before) for before, after in itertools.pairwise(times)]


def idle_share(spans: Iterable[tuple[float, float]]) -> float | None:
    """Return the share of time, between the first and the last span, that no span covers.

    >>> idle_share([(0.0, 2.0), (1.0, 3.0), (6.0, 8.0), (9.0, 10.0)])
    0.4
    """
    busy, end, first = 0.0, -math.inf, None
    for start, stop in sorted(spans):
        first = start if first is None else first
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return None if first is None or end <= first else round(1 - busy / (end - first), 4)


def measure_rows(asked: argparse.Namespace) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure every case in a process of its own; one that fails leaves its last line."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row, mode in itertools.product(asked.rows, asked.modes):
        print(f"{row}, {mode}", flush=True)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            case = Case(
                row=row,
                mode=mode,
                device=asked.device,
                updates=asked.updates,
                rounds=asked.rounds,
                workers=asked.workers,
                images=asked.images,
                began=time.monotonic(),
            )
            try:
                measured = pool.submit(measure, case).result()
            except (RuntimeError, ValueError, OSError, BrokenProcessPool) as error:
                last = (str(error).strip() or type(error).__name__).splitlines()[-1]
                measured = {"failed": last}
        found.setdefault(row, {})[mode] = measured
    return found


def table(result: Mapping[str, Any]) -> str:
    """Return what was measured on one device as a Markdown table."""
    header = ["row", "mode", "updates/s", "to eager", "losses as eager", "TFLOP/s", "GPU idle",
              "GiB", "s to first update"]  # fmt: skip
    sides: list[Alignment] = ["left", "left", *["right"] * 7]  # type: ignore[list-item]
    lines = []
    for row, modes in result["rows"].items():
        eager = modes.get("eager", {})
        base = statistics.median(eager["rates"]) if "rates" in eager else None
        for mode, one in modes.items():
            if "failed" in one:
                lines.append([row, mode, f"not run: {one['failed']}", *[""] * 6])
                continue
            rate = statistics.median(one["rates"])
            flop = eager.get("flop") if mode != PLAIN else None
            idle, gib, losses = one.get("idle"), one.get("gib"), one.get("losses")
            same = losses is not None and losses == eager.get("losses")
            lines.append(
                [
                    row,
                    mode,
                    f"{rate:,.1f}",
                    "" if base is None else f"{rate / base:.2f}",
                    "" if None in (losses, eager.get("losses")) else "yes" if same else "no",
                    "" if flop is None else f"{rate * flop / TERA:,.3g}",
                    "" if idle is None else f"{idle:.0%}",
                    "" if gib is None else f"{gib:.1f}",
                    f"{one['first_seconds']:.1f}",
                ]
            )
    return markdown_table(header, lines, sides=sides)


def report(result: Mapping[str, Any]) -> str:
    """Return all that was measured on one device, as Markdown."""
    environment = result["environment"]
    numerics = {one["numerics"] for row in result["rows"].values() for one in row.values()
                if "numerics" in one}  # fmt: skip
    return (
        f"{result['device']}, torch {environment['versions']['torch']}, "
        f"{environment['started'][:10]}, commit {environment['commit']}; medians of "
        f"{result['rounds']} rounds of {result['updates']} updates; {', '.join(sorted(numerics))}."
        f"\n\n{table(result)}"
    )


def save_page(folder: Path, page: Path) -> None:
    """Renew the page's block from the saved results of every GPU; one of a processor is a trial."""
    results = [read_json(path) for path in sorted(folder.glob("*.json"))]
    reports = [report(one) for one in results if one["device"] == one["environment"]["gpu"]]
    renew_page(page, {BLOCK: "\n\n".join(reports) or "Not run on a GPU yet."})


def main() -> None:
    """Measure and print; with ``--write`` save the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    modes = [*MODES, *ABREAST, PLAIN]
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--modes", nargs="+", default=modes, choices=modes)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--workers", type=int, default=min(8, num_cores()))
    parser.add_argument("--images", type=int)
    parser.add_argument("--folder", type=Path, default=FOLDER / "gpu")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    if asked.page:
        save_page(asked.folder, PAGE)
        return
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device; --device cpu tries the program without one")
    environment = describe_environment()
    result = {
        "device": environment["gpu"] if asked.device == "cuda" else environment["cpu"],
        "environment": environment,
        "updates": asked.updates,
        "rounds": asked.rounds,
        "rows": measure_rows(asked),
    }
    print(f"\n{report(result)}")
    if asked.write:
        name = device_name({"gpu": result["device"]})
        write_json(asked.folder / f"{name}.json", result)


if __name__ == "__main__":
    main()
