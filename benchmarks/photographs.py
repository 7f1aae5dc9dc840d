"""Train a small network on real photographs, from JPEG files to accuracy, and on permuted labels.

``python benchmarks/photographs.py SOURCE ... [--steps 240] [--seeds 1] [--write docs/imagenet.md]``

A SOURCE has train/<class>/*.jpg and val/<class>/*.jpg. ``anneal prepare`` makes a store of it at
32 px, ``anneal run`` trains WRN-16-1 on windows of 28 px. The control is a store whose training
images have their classes permuted: on it the same run must stay at chance. The settings are those
below; they were chosen on ants_bees with seed 100, the table is of seeds 0, 1, ...
"""

import argparse
import contextlib
import json
import math
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median_low

from anneal.commands import prepare, run
from anneal.io.files import renew_page
from anneal.io.text import markdown_table

SETTINGS = (
    "dataset=imagenet", "dataset.subset=true", "dataset.resize_filter=box", "dataset.image_size=32",
    "dataset.crop=28", "model=sgdr_wrn16_1", "optimizer=adamw", "scheduler=one_cycle",
    "scheduler.base_lr=0.0005", "scheduler.max_lr=0.005", "scheduler.final_lr=0.000005",
    "scheduler.momentum=null", "training.batch_size=24", "training.evaluations=1",
    "hardware=cpu", "hardware.threads=1", "tracking=off",
)  # fmt: skip


def main() -> None:
    """Train, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=240, help="updates of each run")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each row")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    rows = [
        row
        for source in given.sources
        for row in measure(source.resolve(), steps=given.steps, seeds=given.seeds)
    ]
    table = markdown_table(
        ["photographs", "classes", "to train on", "labels", "right", "chance", "by chance"],
        rows,
        sides=["left", "right", "right", "left", "right", "right", "right"],
    )
    print(table)
    if given.write:
        renew_page(given.write, {"photographs": table})


def measure(source: Path, *, steps: int, seeds: int) -> Iterator[list[str]]:
    """Yield a row for the labels of a source, and one for permuted ones.

    With several seeds the last column is that of the median run.
    """
    for labels in ("true", "permuted"):
        with tempfile.TemporaryDirectory() as folder:
            tree = source
            if labels == "permuted":
                tree = permuted(source, Path(folder, "tree"))
            tests, trained, classes = prepare_store(tree, Path(folder))
            accuracies = [train(Path(folder), steps=steps, seed=seed) for seed in range(seeds)]
        right = [round(accuracy / 100 * tests) for accuracy in accuracies]
        yield [
            source.name,
            str(classes),
            str(trained),
            labels,
            f"{', '.join(map(str, right))} of {tests}",
            f"{tests / classes:.0f}",
            f"{at_least(median_low(right), tests, 1 / classes):.2g}",
        ]


def prepare_store(tree: Path, folder: Path) -> tuple[int, int, int]:
    """Make ``store``; return the numbers of test images, training images and classes."""
    prepare.main([str(tree), str(folder / "store"), "--size", "32"])
    identity = json.loads((folder / "store" / "identity.json").read_text())
    tests, trained = (identity["splits"][name]["num_images"] for name in ("test", "train"))
    return tests, trained, len(identity["class_names"])


def train(folder: Path, *, steps: int, seed: int) -> float:
    """Train on ``store``; return the accuracy of the last update, in percent."""
    given = (f"dataset.folder={folder / 'store'}", f"training.length={steps} steps", f"seed={seed}")
    with contextlib.chdir(folder):
        run.main([*SETTINGS, *given])
    (file,) = folder.glob(f"multirun/*/seed-{seed}/result.json")
    return float(json.loads(file.read_text())["test_accuracy_pct@final"])


def permuted(source: Path, tree: Path) -> Path:
    """Link the images of a source into a tree whose training images have permuted classes."""
    paths = sorted((source / "train").glob("*/*.*"))
    classes = [path.parent.name for path in paths]
    random.Random(0).shuffle(classes)
    for path, name in zip(paths, classes, strict=True):
        target = tree / "train" / name / f"{path.parent.name}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    (tree / "val").symlink_to(source / "val")
    return tree


def at_least(right: int, tests: int, chance: float) -> float:
    """Return the probability of so many right answers, or more, by guessing.

    >>> at_least(2, 2, 0.5)
    0.25
    """
    return sum(
        math.comb(tests, n) * chance**n * (1 - chance) ** (tests - n)
        for n in range(right, tests + 1)
    )


if __name__ == "__main__":
    main()
