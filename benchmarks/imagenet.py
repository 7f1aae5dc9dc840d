"""Measure the way of ImageNet's JPEGs to a store and from a store to batches, on one core.

``python benchmarks/imagenet.py SOURCE [--images 20000] [--seconds 5] [--write docs/imagenet.md]``

SOURCE has train/<class>/*.jpg and val/<class>/*.jpg of real photographs. All ratios are of one run,
in seconds of the processor, but for two workers, which are compared by the clock: they need a quiet
machine. The baselines are open and resize of Pillow, and ImageFolder, RandomResizedCrop and
DataLoader of torchvision; the bounds are what decoding alone, and bytes to floats alone, allow.
On a processor a batch is floats, in the layout that the network computes in; a GPU gets bytes.
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
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import chain, cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, features
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
from anneal.datasets.imagenet.writer import SplitWriter
from anneal.datasets.normalise import Normalise, statistics_of
from anneal.io.files import renew_page
from anneal.io.text import markdown_table
from anneal.runs.hardware import decide, usable_cores

Row = tuple[str, str, str]  # what, measured, against what
BATCH, CROP = 64, 224
FULL = 1_281_167
LAYOUTS = {"channels_last": torch.channels_last, "planes": torch.contiguous_format}
STATISTICS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int, default=20_000, help="whose memory is watched")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each rate")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    hardware = compose_run(["hardware=cpu"]).hardware
    decide(dataclasses.replace(hardware, threads=1), architecture="resnet50")  # as in training
    torch.set_num_threads(1)
    members = list(list_source(given.source).splits["train"])
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("simplejpeg", "torch", "torchvision", "pillow")
    )
    libraries += f" with libjpeg-turbo {features.version('libjpeg_turbo')}"
    rows = []
    for row in chain(
        memory(members, given.images),  # first: what the others use is not in it
        opening(),
        on_one_core(preparation(members, given.seconds)),
        workers(members, 2_000),
        on_one_core(training_input(given.source, given.seconds)),
    ):
        print(": ".join(row), flush=True)
        rows.append(list(row))
    table = markdown_table(["what", "measured", "against"], rows, sides=["left", "right", "left"])
    body = f"{table}\n\n{len(members)} JPEGs of {given.source.name}; {libraries}."
    if given.write:
        renew_page(given.write, {"imagenet_speed": body})


def on_one_core(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows, measured with all threads of this process on one core (on Linux)."""
    cores = usable_cores()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores[-1:])
    yield from rows
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def preparation(members: list[Member], seconds: float) -> Iterator[Row]:
    """Compare decoding, resizing and summing with Pillow's open and resize."""
    for size, name, scaled in ((256, "bilinear", False), (32, "box", False), (32, "box", True)):
        to = Warp(size=size, filter=name, dct_scaling=scaled)
        works: dict[str, Callable[[list[Member]], object]] = {
            "ours": lambda part, to=to: decode_block(part, warp=to, store="raw"),
            "theirs": lambda part, to=to: [pillow(member, to) for member in part],
            "decoding alone": lambda part, to=to: decode_all(part, to.smallest),
            "decoding and resizing": lambda part, to=to: [to(member.read()) for member in part],
        }
        if scaled:
            works["decoding as small as possible"] = lambda part, to=to: decode_all(part, to.size)
        found = dict(zip(works, rates(list(works.values()), members, seconds), strict=True))
        ours, theirs = found.pop("ours"), found.pop("theirs")
        bounds = ", ".join(f"{words} {rate / theirs:.2f}" for words, rate in found.items())
        yield (
            f"`prepare`, {size} px, {name}{', DCT scaling' if scaled else ''}",
            f"{ours:,.0f} images/s",
            f"{ours / theirs:.2f} times Pillow's {theirs:,.0f}; {bounds}",
        )
    differences = [effect_of_scaling(member) for member in members]
    mean = np.mean([d.mean() for d in differences])
    worst = max(d.mean() for d in differences)
    largest = max(d.max() for d in differences)
    yield (
        "DCT scaling at 32 px changes a value by",
        f"{mean:.2f} of 255 in the mean",
        f"{worst:.2f} in the worst image, {largest:.0f} at most",
    )


def decode_all(members: list[Member], smallest: int) -> None:
    """Decode images, with DCT scaling down to ``smallest`` px; 0: at full size."""
    for member in members:
        decode(member.read(), smallest=smallest)


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
    works: Sequence[Callable[[list[Member]], object]], members: list[Member], seconds: float
) -> list[float]:
    """Return images a second of each work, measured in turns on the same images."""
    parts = cycle(
        members[first : first + BLOCK] for first in range(0, len(members) - BLOCK // 2, BLOCK)
    )
    spent, images = [0.0] * len(works), 0
    while sum(spent) < len(works) * seconds:
        part = next(parts)
        images += len(part)
        for number, work in enumerate(works):
            began = time.process_time()
            work(part)
            spent[number] += time.process_time() - began
    return [images / each for each in spent]


def workers(members: list[Member], count: int) -> Iterator[Row]:
    """Compare two workers with one, checksums and files included; by the clock."""
    many = list(islice(cycle(members), count))
    to, clock, processor = Warp(size=256, filter="bilinear"), [], []
    for number in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            writer = SplitWriter(Path(folder), "train", store="raw", size=to.size)
            blocks = decoded_blocks(many, start=0, warp=to, store="raw", workers=number)
            began, spent = time.perf_counter(), time.process_time()
            for _ in writer.write(blocks):
                pass
            clock.append(time.perf_counter() - began)
            processor.append(time.process_time() - spent)
    yield (
        "`prepare`, 256 px, two workers, by the clock",
        f"{count / clock[1]:,.0f} images/s",
        f"{clock[0] / clock[1]:.2f} times one; {processor[1] / processor[0]:.2f} times its "
        f"processor's time; load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores",
    )


def training_input(source: Path, seconds: float) -> Iterator[Row]:
    """Compare batches of stores and of imagefolder with torchvision's, floats and bytes."""
    theirs = input_rate(torchvision_batches(source, floats=True), seconds)
    yield "input of torchvision", f"{theirs:,.0f} images/s", "ImageFolder, RandomResizedCrop"
    bytes_alone = input_rate(torchvision_batches(source, floats=False), seconds)
    yield input_row("input of torchvision, bytes", bytes_alone, theirs)
    for layout in LAYOUTS:
        rate = input_rate(bytes_to_floats(layout), seconds)
        yield input_row(f"bytes to normalised floats alone, {layout}", rate, theirs)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("jpeg", "raw"):
            store = Path(folder, kind)
            settings = Preparation(warp=Warp(size=256, filter="bilinear"), store=kind)
            prepare(source, store, settings, tell=lambda _: None)
            options = ["dataset=imagenet", "dataset.subset=true", f"dataset.folder={store}"]
            for layout in LAYOUTS:
                rate = input_rate(our_batches(options, layout=layout), seconds)
                yield input_row(f"input from a {kind} store, {layout}", rate, theirs)
            raw_values = [f"dataset.{key}" for key in ("subtract=nothing", "divide=nothing")]
            rate = input_rate(our_batches(options + raw_values, device="meta"), seconds)
            words = f"input from a {kind} store, bytes as a GPU gets them"
            yield input_row(words, rate, bytes_alone, "bytes")
    for asked in ("null", "true"):
        options = [
            "dataset=imagefolder", f"dataset.folder={source}", "dataset.test_fraction=null",
            "dataset.image_size=224", "dataset.memory_gib=1e-9", "dataset.subtract=nothing",
            "dataset.divide=nothing", f"dataset.scaled_decoding={asked}",
        ]  # fmt: skip
        rate = input_rate(our_batches(options), seconds)
        words = "imagefolder" if asked == "null" else "imagefolder, scaled decoding"
        yield input_row(f"input of {words}", rate, theirs)


def input_row(words: str, rate: float, theirs: float, kind: str = "") -> Row:
    """Return the row of a rate of input."""
    against = f"{rate / theirs:.2f} times torchvision's {kind}".rstrip()
    return words, f"{rate:,.0f} images/s", against


def bytes_to_floats(layout: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield a batch of bytes, in memory as a store has them, as our batches normalise them."""
    stored = torch.zeros(BATCH, CROP, CROP, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    normalise = Normalise(1.0, *(torch.tensor(s)[:, None, None] for s in STATISTICS.values()))
    labels = torch.zeros(len(stored))
    while True:
        yield normalise(stored, memory_format=LAYOUTS[layout]), labels


def torchvision_batches(
    source: Path, *, floats: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches as the usual script of torchvision makes them."""
    last = [transforms.ToTensor(), transforms.Normalize(**STATISTICS)]
    steps = [
        transforms.RandomResizedCrop(CROP),
        transforms.RandomHorizontalFlip(),
        *(last if floats else [transforms.PILToTensor()]),
    ]
    images = datasets.ImageFolder(str(source / "train"), transforms.Compose(steps))
    while True:
        yield from DataLoader(images, batch_size=BATCH, shuffle=True)


def our_batches(
    options: list[str], *, layout: str = "planes", device: str = "cpu"
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield our training batches, normalised, cut and mirrored.

    On the device "meta" what a GPU does to the bytes is left out.
    """
    config = compose_run(options).dataset
    train = load_dataset(config, Paths(Path("nowhere"))).train
    batches = TrainingBatches(
        train,
        config=config,
        batch_size=min(BATCH, len(train)),
        seed=0,
        device=device,
        normalise=statistics_of(train, config),
        channels_last=layout == "channels_last",
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


def opening() -> Iterator[Row]:
    """Open a store of ImageNet's size."""
    entries, seconds, mebibytes = open_full_size()
    yield f"opening {entries:,} entries", f"{seconds:.2f} s", f"{mebibytes:.0f} MiB"


def open_full_size() -> tuple[int, float, float]:
    """Open a store of ImageNet's size in a process; return entries, its seconds and MiB more."""
    with tempfile.TemporaryDirectory() as folder:
        made_up_store(Path(folder))
        code = (
            "import time\n"
            "from pathlib import Path\n"
            "import torch\n"
            "from anneal.config.compose import compose_run\n"
            "from anneal.datasets import Paths, load_dataset\n"
            f"options = ['dataset=imagenet', 'dataset.folder={folder}', 'dataset.subset=true']\n"
            "config = compose_run(options).dataset\n"
            "import anneal.datasets.imagenet.split\n"
            "def kibibytes(key):\n"  # not ru_maxrss, which begins at that of the parent
            "    lines = Path('/proc/self/status').read_text().splitlines()\n"
            "    return next(int(line.split()[1]) for line in lines if line.startswith(key))\n"
            "before = kibibytes('VmRSS')\n"
            "began = time.process_time()\n"
            "train = load_dataset(config, Paths(Path('nowhere'))).train\n"
            "seconds = time.process_time() - began\n"
            "most = kibibytes('VmHWM')\n"
            "print(len(train), seconds, (most - before) / 1024)\n"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
        entries, seconds, mebibytes = run.stdout.split()
    return int(entries), float(seconds), float(mebibytes)


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


def memory(members: list[Member], count: int) -> Iterator[Row]:
    """Watch the memory of decoding and of training input."""
    to = Warp(size=256, filter="bilinear")
    many = list(islice(cycle(members), count))
    yield watch(
        "`prepare`",
        (b.asked for b in decoded_blocks(many, start=0, warp=to, store="raw", workers=1)),
        count,
    )
    with tempfile.TemporaryDirectory() as folder:
        made_up_store(Path(folder))
        batches = our_batches(
            ["dataset=imagenet", f"dataset.folder={folder}", "dataset.subset=true",
             "dataset.divide=nothing"]
        )  # fmt: skip
        yield watch("training input", (len(labels) for _, labels in batches), count)


def watch(words: str, steps: Iterator[int], count: int) -> Row:
    """Return the most memory used within a tenth of the images, and within the others."""
    done, most = 0, [0.0, 0.0]
    for images in steps:
        part = done >= count / 10
        most[part] = max(most[part], resident_mebibytes())
        done += images
        if done >= count:
            break
    early, late = most
    return (
        f"memory of {words} after {done:,} images",
        f"{late:.0f} MiB",
        f"{early:.0f} MiB within the first {count // 10:,}",
    )


def resident_mebibytes() -> float:
    """Return the memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
