"""Hardware settings for a network that nobody measured: candidates timed on the network itself.

``hardware=auto`` of a person's own run or advice. A few seconds are spent once; the choice is kept
in the user's cache by machine and network, so that further seeds and a resumed run compute alike.
Rows of tables never come here: they keep the table of ``anneal.runs.hardware``. Torch's compiler is
no candidate, since compiling takes longer than the timing may: ``hardware.compile=on`` asks for it.
"""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from anneal.config.schema import ExperimentConfig, HardwareConfig
from anneal.config.strict import configuration_hash, to_plain
from anneal.io.files import read_json, write_json
from anneal.io.terminal import say
from anneal.runs.environment import cpu_name
from anneal.runs.hardware import Settings, cpu_capability, num_cores
from anneal.runs.setup import ExperimentSetup

SECONDS = 4.0  # that the timing may take, warm-up apart
MOST_SECONDS = 3 * SECONDS  # warm-up included; after it no other candidate is begun
ROUNDS = 5  # of a comparison, its two sides in turn
ENOUGH = 1.05  # a candidate must win by 5 % over a simpler choice, as in benchmarks/settings.py
CHOSEN = ("precision", "memory_format", "threads")
FAST_BF16 = ("AMX", "AVX512_BF16")  # processors that multiply bf16 themselves

Update = Callable[[int], None]


def time_setup(setup: ExperimentSetup) -> ExperimentSetup:
    """Return the setup with the settings that are fastest for its network on this machine.

    The same setup where the hardware is not ``auto``, or nothing is left to choose.
    """
    config = setup.experiment.hardware
    if setup.experiment.dataset.signal is not None:  # there signals are contiguous
        config = dataclasses.replace(config, memory_format="contiguous")
    if config.name != "auto" or config.kernels != "none" or not any(axes(config, setup.settings)):
        return setup
    case = describe_case(setup)
    file = cache_folder() / f"{configuration_hash(case)}.json"
    kept = _read(file, case)
    if kept is None:
        kept = {"case": case} | choose(config, setup.settings, build=lambda s: _updates(setup, s))
        kept = _keep(file, kept)
    settings = dataclasses.replace(setup.settings, **kept["settings"], timed=True)
    torch.set_num_threads(settings.threads)
    say(f"hardware: {kept['words']} ({_place(file)})")
    return dataclasses.replace(setup, settings=settings)


def axes(config: HardwareConfig, base: Settings) -> list[list[dict[str, Any]]]:
    """Return the changes to try, one list a setting, those that are asked for left out."""
    found: list[list[dict[str, Any]]] = []
    if config.threads is None and base.device == "cpu" and base.threads > 1:
        fewer = dict.fromkeys((base.threads // 2, 1))
        found.append([{"threads": threads} for threads in fewer])
    if config.memory_format == "auto" and base.device != "mps":
        found.append([{"memory_format": name} for name in ("contiguous", "channels_last")])
    if config.precision == "auto" and has_fast_bf16(base.device):
        found.append([{"precision": name} for name in ("float32", "bf16")])
    return found


def has_fast_bf16(device: str) -> bool:
    """Tell whether bf16 is computed in bf16 there, and not imitated."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and cpu_capability() in FAST_BF16


def choose(
    config: HardwareConfig,
    base: Settings,
    *,
    build: Callable[[Settings], Update],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Time one setting after the other against the best choice so far.

    Args:
        config: what was asked for.
        base: the choice of the table, which is kept where nothing beats it.
        build: settings -> what makes the update of a number, and waits for it.
        clock: seconds.

    Returns:
        ``settings``; ``ratio`` of their speed to that of ``base``; both in ``words``; ``seconds``
        that it took.
    """
    began, tried = clock(), axes(config, base)
    share = SECONDS / sum(len(changes) for changes in tried)
    best, ratio, gap = base, 1.0, ""
    try:
        update = _warm(best, build)
        for number, change in enumerate(change for changes in tried for change in changes):
            if number and clock() - began > MOST_SECONDS:  # the first, fewer threads, always
                gap = ", the others not timed since updates are slow"
                break
            candidate = dataclasses.replace(best, **change)
            if candidate == best:
                continue
            rival = _warm(candidate, build)
            won = compare((best, update), (candidate, rival), seconds=share, clock=clock)
            if won > ENOUGH:
                best, update, ratio = candidate, rival, ratio * won
    except torch.cuda.OutOfMemoryError:
        gap = ", the others not timed since the memory does not hold two networks"
    if best == base:
        words = f"{_named(base)}, nothing timed is {ENOUGH - 1:.0%} faster{gap}"
    else:
        words = f"{_named(best)}, {ratio:.2f} times as fast as {_named(base)}{gap}"
    return {
        "settings": {name: getattr(best, name) for name in CHOSEN},
        "ratio": round(ratio, 2),
        "words": words,
        "seconds": round(clock() - began, 1),
    }


def _named(settings: Settings) -> str:
    words = f"{settings.precision} {settings.memory_format}"
    if settings.device != "cpu":
        return words
    return f"{words} {settings.threads} thread{'s' * (settings.threads > 1)}"


def _warm(settings: Settings, build: Callable[[Settings], Update]) -> Update:
    torch.set_num_threads(settings.threads)
    update = build(settings)
    update(0)
    return update


def compare(
    one: tuple[Settings, Update],
    other: tuple[Settings, Update],
    *,
    seconds: float,
    clock: Callable[[], float],
) -> float:
    """Return how many times as fast the other is: the median over rounds taken in turn."""
    ratios: list[float] = []
    number, began = 1, clock()
    while not ratios or (len(ratios) < ROUNDS and clock() - began < 2 * seconds):
        took = []
        for settings, update in (one, other):
            torch.set_num_threads(settings.threads)
            made, start = 0, clock()
            while not made or clock() - start < seconds / (2 * ROUNDS):
                update(number + made)
                made += 1
            took.append((clock() - start) / made)
        number += 1
        ratios.append(took[0] / took[1])
    return statistics.median(ratios)


def _updates(setup: ExperimentSetup, settings: Settings) -> Update:
    """Build the network and its batches; nothing of them is kept after the timing."""
    learner = dataclasses.replace(setup, settings=settings).learner(0)
    for group in learner.optimizer.param_groups:
        group["lr"] = 0.0
    if not learner.model.training:  # frozen modules stay in eval mode, as in a run
        learner.model.train()

    def update(number: int) -> None:
        learner.update(number).item()  # read, so that the device has done it

    return update


def describe_case(setup: ExperimentSetup) -> dict[str, Any]:
    """Return what a timing is good for: the machine, the network, and what was asked for."""
    experiment: ExperimentConfig = setup.experiment
    device = setup.settings.device
    model, hardware = to_plain(experiment.model), to_plain(experiment.hardware)
    signal = experiment.dataset.signal
    for section in (model, hardware):
        section.pop("name")
    return {
        "machine": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        "capability": cpu_capability() if device == "cpu" else device,
        "cores": num_cores(),
        "torch": torch.__version__,
        "model": model,
        "hardware": hardware,
        "image_shape": list(setup.data.image_shape),
        "classes": setup.data.num_classes,
        "batch_size": experiment.training.batch_size,
        "optimizer": experiment.optimizer.name,
        "freeze": experiment.fine_tuning.freeze,
        "crop_samples": signal.crop_samples if signal else None,
    }


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of timings, in XDG_CACHE_HOME or ~/.cache.

    >>> cache_folder({"XDG_CACHE_HOME": "/there"}).as_posix()
    '/there/anneal/hardware'
    """
    named = Path(environment.get("XDG_CACHE_HOME", ""))
    root = named if named.is_absolute() else Path.home() / ".cache"  # as the standard has it
    return root / "anneal" / "hardware"


def _read(file: Path, case: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what is kept for a case; None where nothing is, or it cannot be used."""
    try:
        kept = read_json(file)
        used = kept["case"] == case and kept["settings"].keys() == set(CHOSEN) and kept["words"]
    except (ValueError, OSError, KeyError, TypeError, AttributeError):
        return None
    return {**kept} if used else None


def _place(file: Path) -> str:
    return f"kept in {file}" if file.is_file() else f"{file} cannot be written"


def _keep(file: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Keep a choice, or return the one that another process has kept meanwhile."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        other = _read(file, found["case"])
        if other is not None:
            return other
        write_json(file, found)
    except OSError:  # a home that cannot be written: the choice is good for this process
        pass
    return found
