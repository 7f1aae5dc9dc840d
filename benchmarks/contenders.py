"""What benchmarks/training.py measures, each in a process of its own.

A process prepares everything, then waits. Asked for a round by one line with its seconds, it goes
on for so long and answers with one JSON line: what it did per second. In between it sleeps, so that
the rounds of all contenders can be interleaved on one machine. The line may also name the fewest
updates of the round, and parts that our trainer leaves out of it: in one and the same process,
because two processes that do the same differ by more than these parts cost.
"""

import dataclasses
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import memory_loop
import plain_loop
import torch
from gated import PARTS, Gate, GatedSetup, gated_observers, gated_training
from torch.nn import functional

from anneal.config.compose import compose_run
from anneal.datasets import Paths
from anneal.runs.directory import RunDirectory
from anneal.runs.hardware import decide
from anneal.runs.kernels import check_kernels
from anneal.runs.plan import plan_run
from anneal.runs.run import SeedRun, train_run, usual_observers
from anneal.runs.setup import load_setup

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


def ours(network: str, gate: Gate, threads: int, *, kernels: str = "none") -> None:
    """Train as ``anneal run`` does, from batches to W&B."""
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
    opened = load_setup(experiment)
    setup = GatedSetup(experiment, opened.data, opened.settings, opened.normalise, gate=gate)
    plan = plan_run(experiment, opened.data.identity, bounds=None, where="conf/run.yaml")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WANDB_DIR"] = folder
        run = SeedRun(
            plan=plan,
            setup=setup,
            seed=0,
            directory=RunDirectory(
                Path(folder) / "run", configuration_hash=plan.configuration_hash, code="benchmark"
            ),
            replaced=Path(folder) / "replaced",
            build=functools.partial(gated_training, gate),
        )
        with run.directory.held():
            train_run(run, gated_observers(gate, usual_observers(run, job_type="train")))


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


def own_precision(network: str) -> torch.dtype:
    """Return the precision that our trainer takes for a network on this machine."""
    trained = NETWORKS[network]
    hardware = compose_run([*trained.experiment]).hardware
    return decide(hardware, architecture=trained.architecture).dtype


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
        loop = functools.partial(memory_loop.train, precision=own_precision(network))
        train_loop(loop, network, gate, threads)
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
