"""What benchmarks/training.py measures, each in a process of its own.

A process prepares everything, then waits. Asked for a round by one line with its seconds, it goes
on for so long and answers with one JSON line: what it did per second. In between it sleeps, so that
the rounds of all contenders can be interleaved on one machine. The line may also name the fewest
updates of the round, and parts that our trainer leaves out of it: in one and the same process,
because two processes that do the same differ by more than these parts cost.
"""

import contextlib
import dataclasses
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import memory_loop
import plain_loop
import torch
from torch.nn import functional

from anneal.config.compose import compose_run
from anneal.datasets import Paths
from anneal.runs import progress
from anneal.runs import run as runs
from anneal.runs import setup as builders
from anneal.runs.directory import RunDirectory
from anneal.runs.kernels import check_kernels
from anneal.runs.plan import plan_run
from anneal.runs.progress import Meter
from anneal.runs.setup import Workshop, open_experiment
from anneal.runs.tracking import Tracker
from anneal.training.loop import Learner, Record, Training
from anneal.training.scheduled_lr import ScheduledLR

FEWEST = 3  # updates in a round, where none are asked for
EVERY = 100  # updates between two lines of the history, as CLR's rows of 25,000 updates have them
UPDATES = 1_000_000  # of a run that no round reaches the end of


@dataclasses.dataclass(frozen=True)
class Network:
    """What is trained, and how its images come."""

    architecture: str
    experiment: tuple[str, ...]  # overrides
    augmented: bool  # pad, crop and mirror
    batch: int
    untimed: int = 6  # updates before each round: more than two loaders have ready after a pause


def residual(architecture: str, *, batch: int = 100, untimed: int = 6) -> Network:
    """Return a network on CIFAR-10 with the usual crops and mirror images."""
    asked = ("dataset=cifar10", f"model={architecture}", "optimizer=sgd", "scheduler=triangular")
    return Network(architecture, asked, augmented=True, batch=batch, untimed=untimed)


# No loader keeps the deep ones waiting. The largest have smaller batches on a CPU, where three of
# the plain loop's would take minutes.
SMALL = (32, 8) if not torch.cuda.is_available() else (128, 128)
NETWORKS = {
    "caffe": Network("caffe_cifar", ("experiment=clr/cifar10_triangular",), False, 100),
    "resnet20": residual("cifar_resnet20"),
    "resnet56": residual("cifar_resnet56", untimed=2),
    "resnet110": residual("cifar_resnet110", untimed=2),
    "densenet40": residual("cifar_densenet40_12", batch=SMALL[0], untimed=2),
    "wrn28_10": residual("cifar_wrn28_10", batch=SMALL[1], untimed=2),
}


class Gate:
    """Counts the updates of whoever calls it before each, in the rounds that are asked for."""

    def __init__(
        self, requests: TextIO, answers: TextIO, *, unit: float, untimed: int, cuda: bool
    ) -> None:
        self._requests, self._answers = requests, answers
        self._unit = unit  # what one update counts for
        self._before = untimed  # updates before each round
        self._cuda = cuda
        self._seconds, self._fewest = 0.0, FEWEST
        self._untimed = 0
        self._began: float | None = None
        self._done = 0
        self._ready = False
        self.left_out: set[str] = set()  # of PARTS, in this round

    def __call__(self) -> None:
        """Mark the start of an update; wait here between two rounds.

        Raises:
            SystemExit: nobody asks any more.
        """
        if not self._ready:
            self._ready = True
            self._answer("ready")
        elif self._began is None:
            self._untimed -= 1
            if self._untimed <= 0:
                self._began, self._done = self._now(), 0
        else:
            self._done += 1
            if self._done >= self._fewest and time.perf_counter() - self._began >= self._seconds:
                elapsed = self._now() - self._began
                self._began = None
                self._answer(self._done * self._unit / elapsed)

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _answer(self, value: float | str) -> None:
        print(json.dumps(value), file=self._answers, flush=True)
        request = self._requests.readline()
        if not request:
            raise SystemExit
        seconds, *more = request.split()
        self._seconds, self._fewest = float(seconds), int(more[0]) if more else FEWEST
        self._untimed, self.left_out = self._before, set(more[1:])


@dataclasses.dataclass(frozen=True)
class GatedWorkshop(Workshop):
    """A workshop whose batches pass a gate: the rest of a run notices nothing."""

    gate: Callable[[], None]

    def learner(self, seed: int, *, indices: torch.Tensor | None = None) -> Learner:
        """Build the learner, its batches behind the gate."""
        learner = super().learner(seed, indices=indices)
        batches = learner.batches

        def gated(index: int) -> tuple[torch.Tensor, torch.Tensor]:
            self.gate()
            return batches(index)

        return dataclasses.replace(learner, batches=gated)


def may_leave_out(gate: Gate) -> None:
    """Let the rounds of a gate say which parts of our trainer are left out of them.

    W&B's processes stay, with nothing to do; checkpoints are made once a minute in any case.
    """

    class Scheduled(ScheduledLR):
        """Without the schedule updates are counted and the rate stays."""

        def step(self) -> None:
            """Count an update, and set the rate."""
            if "schedule" in gate.left_out:
                self._update += 1
            else:
                super().step()

    class Logged(Training):
        """Without logging no loss is read and no line written."""

        def _log(self, record: Callable[[Record], None]) -> bool:
            return "logging" in gate.left_out or super()._log(record)

    @contextlib.contextmanager
    def metered(label: str, *, total: int, **_done: int) -> Iterator[Meter]:
        """Without progress there is no bar, and nothing that draws it."""
        shown: Meter | None = None
        with contextlib.ExitStack() as bar:

            def meter(update: int, note: str | None) -> None:
                nonlocal shown
                if "progress" in gate.left_out:
                    bar.close()
                    shown = None
                    return
                if shown is None:
                    shown = bar.enter_context(progress.metered(label, total=total, done=update))
                shown(update, note)

            yield meter

    log = Tracker.log

    def track(tracker: Tracker, *arguments: Any) -> None:
        if "tracking" not in gate.left_out:
            log(tracker, *arguments)

    builders.ScheduledLR, builders.Training = Scheduled, Logged
    runs.metered, Tracker.log = metered, track


def ours(network: str, gate: Gate, threads: int, *, kernels: str = "none") -> None:
    """Train as ``anneal run`` does, from batches to W&B."""
    may_leave_out(gate)
    asked = [
        *NETWORKS[network].experiment,
        f"training.length={UPDATES} steps",
        f"training.log_lines={UPDATES // EVERY}",
        "training.evaluations=1",
        f"training.batch_size={NETWORKS[network].batch}",
        "tracking=offline",
        f"hardware.threads={threads}",
        f"hardware.kernels={kernels}",
    ]
    experiment = compose_run(asked)
    opened = open_experiment(experiment)
    workshop = GatedWorkshop(experiment, opened.data, opened.settings, opened.normalise, gate)
    plan = plan_run(experiment, opened.data.identity, bounds=None, where="conf/run.yaml")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WANDB_DIR"] = folder
        directory = RunDirectory(
            Path(folder) / "run", configuration_hash=plan.configuration_hash, code="benchmark"
        )
        with directory.held():
            runs.train_run(
                plan, workshop, seed=0, directory=directory, replaced=Path(folder) / "replaced"
            )


def plain(network: str, gate: Callable[[], None], threads: int, *, workers: int) -> None:
    """Train with the plain loop."""
    train_loop(functools.partial(plain_loop.train, workers=workers), network, gate, threads)


def train_loop(
    loop: Callable[..., None], network: str, gate: Callable[[], None], threads: int
) -> None:
    """Train a network with a loop that is not ours."""
    torch.set_num_threads(threads)
    trained = NETWORKS[network]
    loop(
        trained.architecture,
        root=images_folder(),
        augmented=trained.augmented,
        batch=trained.batch,
        device=device(),
        before_update=gate,
    )


def timm_loader(network: str, gate: Callable[[], None], threads: int) -> None:
    """Train the same network from timm's loader over the same images, two worker processes."""
    from timm.data import create_loader
    from torchvision.datasets import CIFAR10

    torch.set_num_threads(threads)
    trained = NETWORKS[network]
    on_gpu = device().type == "cuda"
    loader = create_loader(
        CIFAR10(str(images_folder()), train=True),  # timm puts its own transforms in
        input_size=(3, 32, 32),
        batch_size=trained.batch,
        is_training=True,
        no_aug=not trained.augmented,
        use_prefetcher=on_gpu,
        num_workers=2,
        device=device(),
    )
    model = plain_loop.small_network(trained.architecture).to(device())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)
    while True:
        for images, labels in loader:
            gate()
            images, labels = images.to(device()), labels.to(device())
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()


def convolutions(network: str, gate: Callable[[], None], threads: int) -> None:
    """Run every convolution of the network by itself, forward and back, as ours are run.

    bf16, channels last, each on the input that it has in the network: what no trainer that is built
    on these convolutions can be faster than.
    """
    torch.set_num_threads(threads)
    model = plain_loop.small_network(NETWORKS[network].architecture)
    model = model.to(device=device(), memory_format=torch.channels_last)
    images = torch.randn(NETWORKS[network].batch, 3, 32, 32, device=device())
    layers: list[tuple[torch.nn.Conv2d, torch.Tensor, torch.Tensor]] = []

    def keep(layer: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        assert isinstance(layer, torch.nn.Conv2d)
        x = inputs[0].detach().to(torch.bfloat16, memory_format=torch.channels_last)
        layers.append((layer, x.requires_grad_(inputs[0].requires_grad), torch.ones_like(output)))

    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(keep)
    with torch.autocast(device().type, torch.bfloat16):
        model(images)
    model.to(torch.bfloat16)
    while True:
        gate()
        for layer, x, gradient in layers:
            needed = [*layer.parameters(), x] if x.requires_grad else list(layer.parameters())
            torch.autograd.grad(layer.forward(x), needed, gradient)  # forward: no hook


def matmul(
    _network: str, gate: Callable[[], None], threads: int, *, dtype: torch.dtype, size: int
) -> None:
    """Multiply two large square matrices, again and again."""
    torch.set_num_threads(threads)
    left, right = (torch.randn(size, size, device=device()).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    while True:
        gate()
        torch.matmul(left, right, out=out)


def matrix_size() -> int:
    """Side of the matrices: large enough that the product alone counts."""
    return 8192 if device().type == "cuda" else 2048


def device() -> torch.device:
    """Return where everybody computes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def images_folder() -> Path:
    """Return the folder that holds ``cifar-10-batches-py``.

    Raises:
        ValueError: it is not there.
    """
    paths = Paths.from_environment()
    for folder in (paths.archives, paths.data):
        if folder is not None and (folder / "cifar-10-batches-py").is_dir():
            return folder
    raise ValueError(
        "cifar-10-batches-py is neither in the folder that ANNEAL_ARCHIVES names nor in "
        f"{paths.data}: anneal run dataset=cifar10 training.length='1 steps' downloads it"
    )


PARTS = ("schedule", "logging", "progress", "tracking")
PLAIN = ("plain, 0 workers", "plain, 2 workers")
WITH_KERNELS = "ours with CPU kernels"
IN_MEMORY = "in-memory loop"
CONVOLUTIONS = "convolutions alone"
PRODUCTS = {"matmul float32": torch.float32, "matmul bf16": torch.bfloat16}


def contenders_of(network: str) -> tuple[str, ...]:
    """Return every contender that can train a network here."""
    try:
        check_kernels(
            device=device().type,
            architecture=NETWORKS[network].architecture,
            precision=torch.bfloat16,
        )
    except ValueError:  # the extension is not installed, or has no kernels for it
        return tuple(name for name in CONTENDERS if name != WITH_KERNELS)
    return CONTENDERS


def run_contender(name: str, network: str, gate: Gate, threads: int) -> None:
    """Run one contender until nobody asks any more."""
    if name in PRODUCTS:
        matmul(network, gate, threads, dtype=PRODUCTS[name], size=matrix_size())
    elif name == "ours":
        ours(network, gate, threads)
    elif name == WITH_KERNELS:
        ours(network, gate, threads, kernels="cpu")
    elif name in PLAIN:
        plain(network, gate, threads, workers=int(name.split()[1]))
    elif name == IN_MEMORY:
        train_loop(memory_loop.train, network, gate, threads)
    elif name == CONVOLUTIONS:
        convolutions(network, gate, threads)
    else:
        timm_loader(network, gate, threads)


CONTENDERS = ("ours", WITH_KERNELS, *PLAIN, "timm's loader", IN_MEMORY, CONVOLUTIONS, *PRODUCTS)
BARE = "ours without all four"
APART = {"ours": (), BARE: PARTS} | {f"ours without {part}": (part,) for part in PARTS}


def main() -> None:
    """Be one contender: ``python contenders.py <name> <network> <threads>``."""
    name, network, threads = sys.argv[1:]
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        gate = Gate(
            sys.stdin,
            answers,
            unit=2.0 * matrix_size() ** 3 if name in PRODUCTS else NETWORKS[network].batch,
            untimed=NETWORKS[network].untimed,
            cuda=device().type == "cuda",
        )
        run_contender(name, network, gate, int(threads))


if __name__ == "__main__":
    main()
