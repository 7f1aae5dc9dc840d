"""Measure the way of ImageNet's JPEGs to a store and from a store to batches, on one thread.

``python benchmarks/imagenet.py SOURCE [--images 2000] [--seconds 5]``

SOURCE has train/<class>/*.jpg and val/<class>/*.jpg of real photographs. All ratios are of one run,
in seconds of the processor: other work on the machine changes them little. The baselines are open
and resize of Pillow, and ImageFolder, RandomResizedCrop and DataLoader of torchvision.
"""

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from anneal.config.compose import compose_run
from anneal.datasets import Paths, load_dataset
from anneal.datasets.batches import TrainingBatches
from anneal.datasets.imagenet.blocks import BLOCK, decode_block, decoded_blocks
from anneal.datasets.imagenet.listing import Member
from anneal.datasets.imagenet.pixels import Warp, decode, warp
from anneal.datasets.imagenet.prepare import Preparation, prepare
from anneal.datasets.imagenet.sources import list_source
from anneal.datasets.imagenet.store import FORMAT, IDENTITY, Store, hash_file, write_stamps
from anneal.datasets.normalise import statistics_of
from anneal.runs.hardware import decide

BATCH, CROP = 64, 224
FULL = 1_281_167
STATISTICS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def main() -> None:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int, default=2000, help="for workers and memory")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each rate")
    given = parser.parse_args()
    hardware = compose_run(["hardware=cpu"]).hardware
    decide(dataclasses.replace(hardware, threads=1), architecture="resnet50")  # as in training
    torch.set_num_threads(1)
    members = list(list_source(given.source).splits["train"])
    print(f"{len(members)} images of {given.source.name}, torch {torch.__version__}")
    preparation(members, given.seconds)
    workers(members, given.images)
    training_input(given.source, given.seconds)
    opening()
    memory(members, given.images)


def preparation(members: list[Member], seconds: float) -> None:
    """Compare decoding, resizing and summing with Pillow's open and resize."""
    for size, name, scaled in ((256, "bilinear", False), (32, "box", False), (32, "box", True)):
        to = Warp(size=size, filter=name, dct_scaling=scaled)
        ours, theirs = rates(
            lambda part, to=to: decode_block(part, warp=to, store="raw"),
            lambda part, to=to: [pillow(member, to) for member in part],
            members,
            seconds,
        )
        words = f"prepare, {size} px, {name}{', DCT scaling' if scaled else ''}"
        print(f"{words}: {ours:,.0f} images/s, {ours / theirs:.2f} times Pillow's {theirs:,.0f}")
    differences = [effect_of_scaling(member) for member in members]
    mean = np.mean([d.mean() for d in differences])
    worst = max(d.mean() for d in differences)
    largest = max(d.max() for d in differences)
    print(
        f"DCT scaling at 32 px changes a value by {mean:.2f} in the mean, in the worst image by "
        f"{worst:.2f}, {largest:.0f} at most"
    )


def pillow(member: Member, to: Warp) -> "np.ndarray":
    """Return an image as Pillow opens and resizes it."""
    chosen = Image.Resampling.BOX if to.filter == "box" else Image.Resampling.BILINEAR
    with Image.open(member.path) as image:
        return np.asarray(image.convert("RGB").resize((to.size, to.size), chosen))


def effect_of_scaling(member: Member) -> "np.ndarray":
    """Return how far each value is from that without DCT scaling."""
    content, to = member.read(), Warp(size=32, filter="box")
    scaled = dataclasses.replace(to, dct_scaling=True)(content)
    return np.abs(scaled.astype(np.int64) - warp(decode(content), to))


def rates(
    ours: Callable[[list[Member]], object],
    theirs: Callable[[list[Member]], object],
    members: list[Member],
    seconds: float,
) -> tuple[float, float]:
    """Return images a second of both, measured in turns on the same images."""
    parts = cycle(
        members[first : first + BLOCK] for first in range(0, len(members) - BLOCK // 2, BLOCK)
    )
    spent, images = [0.0, 0.0], 0
    while sum(spent) < 2 * seconds:
        part = next(parts)
        images += len(part)
        for number, work in enumerate((ours, theirs)):
            began = time.process_time()
            work(part)
            spent[number] += time.process_time() - began
    return images / spent[0], images / spent[1]


def workers(members: list[Member], count: int) -> None:
    """Compare two workers with one, once both work; by the clock, so on a quiet machine."""
    many = list(islice(cycle(members), count))
    to, found = Warp(size=256, filter="bilinear"), []
    for number in (1, 2):
        blocks = decoded_blocks(many, start=0, warp=to, store="raw", workers=number)
        for _ in range(2 * number):
            next(blocks)
        began = time.perf_counter()
        images = sum(block.asked for block in blocks)
        found.append(images / (time.perf_counter() - began))
    print(
        f"prepare, 256 px: {found[0]:,.0f} images/s with one worker, {found[1]:,.0f} with two, "
        f"{found[1] / found[0]:.2f} times; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def training_input(source: Path, seconds: float) -> None:
    """Compare batches of stores and of imagefolder with torchvision's."""
    theirs = input_rate(torchvision_batches(source), seconds)
    print(f"torchvision's input: {theirs:,.0f} images/s")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("jpeg", "raw"):
            store = Path(folder, kind)
            settings = Preparation(warp=Warp(size=256, filter="bilinear"), store=kind)
            prepare(source, store, settings, tell=lambda _: None)
            options = ["dataset=imagenet", "dataset.subset=true", f"dataset.folder={store}"]
            rate = input_rate(our_batches(options), seconds)
            print(f"input from a {kind} store: {rate:,.0f} images/s, {rate / theirs:.2f} times")
            split = load_dataset(compose_run(options).dataset, Paths(Path(folder))).train
            rate = input_rate((split.take(torch.arange(32)) for _ in cycle([0])), seconds)
            print(f"  its bytes alone, uncut: {rate:,.0f} images/s, {rate / theirs:.2f} times")
    for asked in ("null", "true"):
        options = [
            "dataset=imagefolder", f"dataset.folder={source}", "dataset.test_fraction=null",
            "dataset.image_size=224", "dataset.memory_gib=1e-9", "dataset.subtract=nothing",
            "dataset.divide=nothing", f"dataset.scaled_decoding={asked}",
        ]  # fmt: skip
        rate = input_rate(our_batches(options), seconds)
        words = "imagefolder" if asked == "null" else "imagefolder, scaled decoding"
        print(f"input of {words}: {rate:,.0f} images/s, {rate / theirs:.2f} times")


def torchvision_batches(source: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches as the usual script of torchvision makes them."""
    steps = [
        transforms.RandomResizedCrop(CROP),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(**STATISTICS),
    ]
    images = datasets.ImageFolder(str(source / "train"), transforms.Compose(steps))
    while True:
        yield from DataLoader(images, batch_size=BATCH, shuffle=True)


def our_batches(options: list[str]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield our training batches, normalised, cut and mirrored."""
    config = compose_run(options).dataset
    train = load_dataset(config, Paths(Path("nowhere"))).train
    batches = TrainingBatches(
        train,
        config=config,
        batch_size=min(BATCH, len(train)),
        seed=0,
        device="cpu",
        normalise=statistics_of(train, config),
    )
    number = 0
    while True:
        yield batches(number)
        number += 1


def input_rate(batches: Iterator[tuple[torch.Tensor, torch.Tensor]], seconds: float) -> float:
    """Return images a second of the processor's time, threads that read ahead included."""
    next(batches)
    began, images = time.process_time(), 0
    while time.process_time() - began < seconds:
        images += len(next(batches)[1])
    return images / (time.process_time() - began)


def opening() -> None:
    """Open a store of ImageNet's size, its pixels a hole, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        made_up_store(Path(folder))
        code = (
            "import resource, time\n"
            "from pathlib import Path\n"
            "import torch\n"
            "from anneal.config.compose import compose_run\n"
            "from anneal.datasets import Paths, load_dataset\n"
            f"options = ['dataset=imagenet', 'dataset.folder={folder}', 'dataset.subset=true']\n"
            "config = compose_run(options).dataset\n"
            "import anneal.datasets.imagenet.split\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "began = time.process_time()\n"
            "train = load_dataset(config, Paths(Path('nowhere'))).train\n"
            "seconds = time.process_time() - began\n"
            "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "print(len(train), seconds, (after - before) / 1024)\n"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
        entries, seconds, mebibytes = run.stdout.split()
        print(
            f"opening {int(entries):,} entries: {float(seconds):.2f} s, {float(mebibytes):.0f} MiB"
        )


def made_up_store(folder: Path) -> None:
    """Write a raw store of 256 px with ILSVRC 2012's number of images; no pixel is written."""
    splits = {}
    for name, split, count in (("train", "train", FULL), ("val", "test", 50_000)):
        labels = (np.arange(count) % 1000).astype(np.int32)
        np.save(folder / f"{name}.labels.npy", labels)
        with (folder / f"{name}.u8").open("wb") as file:
            file.truncate(count * 256 * 256 * 3)
        splits[split] = {
            "num_images": count,
            "images_per_class": np.bincount(labels).tolist(),
            "pixels_sha256": "",
        }
    np.save(folder / "train.order.npy", np.random.default_rng(0).permutation(FULL).astype(np.int32))
    for name, shape in (("sums", (256, 256, 3)), ("squares", (3,))):
        np.save(folder / f"train.{name}.npy", np.full(shape, FULL * 100, np.int64))
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    identity = {
        "format": FORMAT, "size": 256, "filter": "bilinear", "store": "raw", "dct_scaling": False,
        "class_names": [str(n) for n in range(1000)], "splits": splits, "files": files,
        "sha256": {name: hash_file(folder / name) for name in files if name.endswith(".npy")},
    }  # fmt: skip
    (folder / IDENTITY).write_text(json.dumps(identity))
    write_stamps(Store(folder, identity))


def memory(members: list[Member], count: int) -> None:
    """Watch the memory of decoding and of training input."""
    to = Warp(size=256, filter="bilinear")
    many = list(islice(cycle(members), count))
    watch(
        "prepare",
        (b.asked for b in decoded_blocks(many, start=0, warp=to, store="raw", workers=1)),
        count,
    )
    with tempfile.TemporaryDirectory() as folder:
        made_up_store(Path(folder))
        batches = our_batches(
            ["dataset=imagenet", f"dataset.folder={folder}", "dataset.subset=true",
             "dataset.divide=nothing"]
        )  # fmt: skip
        watch("training input", (len(labels) for _, labels in batches), count)


def watch(words: str, steps: Iterator[int], count: int) -> None:
    """Print the most memory used after a tenth of the images, and after all."""
    done, early = 0, 0.0
    for images in steps:
        done += images
        if not early and done >= count / 10:
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if done >= count:
            break
    late = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"memory of {words}: {early:.0f} MiB after {count // 10:,} images, "
        f"{late:.0f} after {done:,}"
    )


if __name__ == "__main__":
    main()
