"""Which settings train fastest here: precision x memory format x compiled or not, interleaved.

python benchmarks/settings.py [--architectures caffe_cifar resnet18] [--write]

Prints, for each network, images/s of a whole training step as a ratio to float32, contiguous,
eager in the same process, and what torch's compiler gains and takes to compile; --write puts the
fastest, with these, into src/anneal/runs/measured_settings.json, the table that ``hardware=auto``
reads. Where the extension anneal_cpu_kernels is installed and serves a
network, its kernels are measured too; the table never names them.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import time
from pathlib import Path

import torch
from torch.nn import functional

from anneal.models.build import build_model, parameter_groups
from anneal.runs.environment import cpu_name, describe_environment
from anneal.runs.hardware import PRECISIONS, allow_tf32, cpu_capability, num_cores
from anneal.runs.kernels import apply_kernels, check_kernels
from anneal.training.evaluation import autocast
from anneal.training.optimizers.caffe import CaffeSGD

TABLE = Path(__file__).parents[1] / "src/anneal/runs/measured_settings.json"
REFERENCE = ("float32", "contiguous", "off")
CHOICES = list(
    itertools.product(("float32", "bf16"), ("contiguous", "channels_last"), ("off", "on"))
)
KERNELS = [(precision, "channels_last", "kernels") for precision in ("float32", "bf16")]
BATCH, SIZE, CLASSES = 100, 32, 10
ENOUGH = 1.05  # a choice must win by 5 % over a simpler one


def make_step(architecture: str, choice: tuple[str, str, str], device: str):
    """Return what makes one training step of a network under one choice of settings."""
    precision, memory_format, compiled = choice
    layout = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    torch.manual_seed(0)
    model = build_model(
        library="timm",
        architecture=architecture,
        arguments={},
        num_classes=CLASSES,
        channels=3,
        image_size=SIZE,
        small_images=not architecture.startswith(("caffe_", "cifar_")),
    ).to(device=device, memory_format=layout)
    if compiled == "on":
        model.compile()
    elif compiled == "kernels":
        apply_kernels(model, PRECISIONS[precision])
    optimizer = CaffeSGD(parameter_groups(model, weight_decay=0.004), lr=1.0, momentum=0.9)
    for group in optimizer.param_groups:
        group["lr"] *= 0.001
    images = (50 * torch.randn(BATCH, 3, SIZE, SIZE, device=device)).contiguous(
        memory_format=layout
    )
    labels = torch.randint(0, CLASSES, (BATCH,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        with autocast(torch.device(device), PRECISIONS[precision]):
            loss = functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()

    return step


def images_per_second(step, device: str, *, seconds: float) -> float:
    """Run steps for about ``seconds`` and return the rate."""
    done, began = 0, time.perf_counter()
    while done < 3 or time.perf_counter() - began < seconds:
        step()
        done += 1
    if device == "cuda":
        torch.cuda.synchronize()
    return done * BATCH / (time.perf_counter() - began)


def served(architecture: str, device: str) -> list[tuple[str, str, str]]:
    """Return the choices with kernels that are there for a network."""
    found = []
    for choice in KERNELS:
        with contextlib.suppress(ValueError):  # not installed, or not for this network
            precision = PRECISIONS[choice[0]]
            check_kernels(device=device, architecture=architecture, precision=precision)
            found.append(choice)
    return found


def measure(architecture: str, device: str, *, rounds: int, seconds: float):
    """Return the median images/s of each choice, the rounds interleaved, and its first seconds.

    The first step compiles.
    """
    choices = CHOICES + served(architecture, device)
    steps = {choice: make_step(architecture, choice, device) for choice in choices}
    first_seconds = {}
    for choice, step in steps.items():
        began = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        first_seconds[choice] = time.perf_counter() - began
        for _ in range(2):
            step()  # warm up
    rates = {choice: [] for choice in choices}
    for _ in range(rounds):
        for choice, step in steps.items():
            rates[choice].append(images_per_second(step, device, seconds=seconds))
    return {choice: statistics.median(found) for choice, found in rates.items()}, first_seconds


def of_compiler(rates, first_seconds, chosen) -> dict[str, float]:
    """Return what the compiler gains in the chosen precision and memory format, and what it takes.

    >>> on, off = ("bf16", "contiguous", "on"), ("bf16", "contiguous", "off")
    >>> of_compiler({on: 30.0, off: 20.0}, {on: 9.0, off: 0.5}, chosen=off)
    {'ratio_of_compiled': 1.5, 'seconds_to_compile': 8.5}
    """
    on, off = ((*chosen[:2], how) for how in ("on", "off"))
    return {
        "ratio_of_compiled": round(rates[on] / rates[off], 2),
        "seconds_to_compile": round(first_seconds[on] - first_seconds[off], 1),
    }


def best(rates):
    """Return the simplest choice that no other of CHOICES beats by more than ENOUGH.

    Eager counts as simpler than compiled: it starts at once and needs no compiler.
    """
    top = max(rates[choice] for choice in CHOICES)
    return next(
        c
        for c in sorted(CHOICES, key=lambda c: (c[2] == "on", c != REFERENCE, -rates[c]))
        if rates[c] * ENOUGH >= top
    )


def main() -> None:
    """Measure, print, and write the table when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--architectures", nargs="+", default=["caffe_cifar", "resnet18"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(num_cores())
    allow_tf32(False)  # as in a run
    device = "cuda" if torch.cuda.is_available() else "cpu"
    capability = cpu_capability() if device == "cpu" else "any"
    environment = describe_environment()
    print(
        f"{environment['gpu'] or cpu_name()}, {capability}, {num_cores()} threads, "
        f"torch {torch.__version__}, batch {BATCH} of 3x{SIZE}x{SIZE}"
    )
    table = json.loads(TABLE.read_text())
    for architecture in arguments.architectures:
        rates, first_seconds = measure(
            architecture, device, rounds=arguments.rounds, seconds=arguments.seconds
        )
        chosen = best(rates)
        compiler = of_compiler(rates, first_seconds, chosen)
        print(
            f"\n{architecture}: ratio to float32, contiguous, eager "
            f"({rates[REFERENCE]:.0f} images/s)"
        )
        for choice, rate in sorted(rates.items(), key=lambda item: -item[1]):
            precision, memory_format, compiled = choice
            mark = "  <- chosen" if choice == chosen else ""
            eager = {"on": "compiled", "off": "eager", "kernels": "with kernels"}[compiled]
            print(
                f"  {rate / rates[REFERENCE]:5.2f}  {precision:8} {memory_format:13} {eager}{mark}"
            )
        print(
            f"  compiled {compiler['ratio_of_compiled']:.2f} times eager, after "
            f"{compiler['seconds_to_compile']:.1f} s of compiling"
        )
        row = {
            "device": device,
            "capability": capability,
            "architecture": architecture,
            "settings": dict(zip(("precision", "memory_format", "compile"), chosen, strict=True)),
            "ratio_to_float32_contiguous_eager": round(rates[chosen] / rates[REFERENCE], 2),
            **compiler,
            "measured": f"{environment['started'][:10]}, torch {torch.__version__}, "
            f"{num_cores()} threads",
        }
        key = ("device", "capability", "architecture")
        table["rows"] = [r for r in table["rows"] if any(r[k] != row[k] for k in key)]
        table["rows"].insert(0, row)
    if arguments.write:
        TABLE.write_text(json.dumps(table, indent=2) + "\n")
        print(f"\nwritten to {TABLE.name}")


if __name__ == "__main__":
    main()
