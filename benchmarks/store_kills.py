"""Kill ``anneal prepare`` and training from its store at random moments; compare every byte.

``python benchmarks/store_kills.py [--kills 20] [--seed 0] [--write docs/imagenet.md]``

The source is a tree of made-up JPEGs, of which the writer finishes a chunk every 64 images. Each
kill is SIGKILL, and the next start resumes what it left. At the end a store, and the history,
weights and metrics of a run, must be those that were never killed. A difference ends the command
with status 1.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from kill_campaign import IN_ONE_RUN, OPTIONS, Tally, differences_of_runs, fork_run
from kill_moments import Moment
from PIL import Image

from anneal.datasets.imagenet.pixels import Warp
from anneal.datasets.imagenet.prepare import Preparation, prepare
from anneal.datasets.imagenet.store import IDENTITY
from anneal.io.files import renew_page

CHUNK = 64
OF_THE_CLOCK = ("stamps.json", ".lock")  # files of a store that no two have in common
FROM_A_STORE = (
    "dataset=imagenet", "dataset.subset=true", "dataset.resize_filter=box", "dataset.crop=12",
    "training.length=100 steps",
)  # fmt: skip


def main() -> None:
    """Kill, resume, compare, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each of both")
    parser.add_argument("--images", type=int, default=600, help="of the source, to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    tally = kill_both(given.kills, images=given.images, seed=given.seed)
    print(tally.table())
    if tally.differences:
        sys.exit("\n".join(tally.differences))
    if given.write:
        renew_page(given.write, {"store_kills": tally.table()})


def kill_both(kills: int, *, images: int, seed: int) -> Tally:
    """Kill preparations, then trainings from the store that was never killed."""
    draw, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory(prefix="store-kills-") as folder:
        source = write_source(Path(folder, "source"), images=images)
        store = kill_preparations(source, Path(folder), kills, draw, tally)
        kill_trainings(store, Path(folder), kills, draw, tally)
    return tally


def write_source(folder: Path, *, images: int) -> Path:
    """Write a tree of two classes: smooth random colours, a sixth as many to validate."""
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("val", images // 6)):
        for number in range(count):
            place = folder / split / f"class{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
            Image.fromarray(small).resize((300, 200)).save(place / f"{number}.jpg")
    return folder


def kill_preparations(
    source: Path, folder: Path, kills: int, draw: random.Random, tally: Tally
) -> Path:
    """Kill preparations; return the store of one that was never killed."""
    reference, killed = folder / "reference-store", folder / "killed-store"
    began = time.monotonic()
    if status := fork_preparation(source, reference, None):
        sys.exit(f"anneal prepare ended with status {status}")
    longest, done = time.monotonic() - began, 0
    while True:
        status = fork_preparation(
            source, killed, draw.uniform(0, longest) if done < kills else None
        )
        if status == -signal.SIGKILL:
            tally.kills[f"prepare, {progress(killed)}"] += 1
            done += 1
        elif status:
            sys.exit(f"anneal prepare ended with status {status} after {done} kills")
        else:
            tally.runs["prepare"] += 1
            if files_of(killed) != files_of(reference):
                tally.differences.append(f"store {tally.runs['prepare']}: its files differ")
            shutil.rmtree(killed)
            if done >= kills:
                return reference


def fork_preparation(source: Path, store: Path, seconds: float | None) -> int:
    """Prepare in a child, killed after so many seconds; return its exit status."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            settings = Preparation(warp=Warp(size=16, filter="box"), chunk=CHUNK)
            prepare(source, store, settings, tell=lambda _: None)
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def progress(store: Path) -> str:
    """Return how far a killed preparation was."""
    if (store / IDENTITY).exists() or (store / ".val.unfinished.npz").exists():
        return "validation images or the end"
    if (store / ".train.unfinished.npz").exists():
        return "training images"
    return "before the first chunk was done"


def files_of(store: Path) -> dict[str, bytes]:
    """Return the files of a store that two preparations have in common."""
    return {p.name: p.read_bytes() for p in store.iterdir() if p.name not in OF_THE_CLOCK}


def kill_trainings(
    store: Path, folder: Path, kills: int, draw: random.Random, tally: Tally
) -> None:
    """Kill trainings from a store and compare each with one that was never killed."""
    options, done, number = [*OPTIONS, *FROM_A_STORE, f"dataset.folder={store}"], 0, 0
    while done < kills:
        reference, killed = folder / f"reference-{number}", folder / f"killed-{number}"
        seeded = [*options, f"seed={number}"]
        if status := fork_run(reference, seeded, None):
            sys.exit(f"anneal run ended with status {status}: {(reference / 'errors').read_text()}")
        while True:
            kind = draw.choice(IN_ONE_RUN) if done < kills else None
            turn = tally.kills[f"training, {kind}"]
            moment = kind and Moment(kind, draw.randrange(2**32), turn=turn)
            status = fork_run(killed, seeded, moment or None)
            if status == 0:
                break
            if status != -signal.SIGKILL:
                sys.exit(f"anneal run ended with status {status} after {done} kills")
            tally.kills[f"training, {kind}"] += 1
            done += 1
        tally.runs["training"] += 1
        tally.differences += differences_of_runs(reference, killed, f"training {number}")
        number += 1


if __name__ == "__main__":
    main()
