"""Mutate the files that people write or damage, and read each: one clear error, or none.

``python benchmarks/mutations.py [--inputs 5000] [--seed 0] [--write docs/what_holds.md]``

Each input is a good file (params.yaml, a table, claims, results, a checkpoint, the record of a
run, pictures, recordings, overrides) with one to four mutations: bits flipped, cut short, parts
deleted, repeated, swapped or overwritten, numbers and words replaced by hostile ones. Reading it
may succeed, or raise a ``ValueError`` or ``OSError``, which commands print as one line; anything
else is a crash, and ends the command with status 1 after the table. No mutated input may leave a
file behind.
"""

import argparse
import contextlib
import io
import os
import random
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = (
    "null", "{}", "[]", "[1, 2", "1: 2", "-1", "0", "1e400", ".nan", "-.inf",
    "99999999999999999999", "''", "true", "!!python/object/apply:os.system [exit]", "${oc.env:HOME}", "&a [*a]",
    "../../etc", "\t", "é\u202e", "x" * 300, "</script><script>alert(1)</script>", "%s%n", "\x00",
)  # fmt: skip
MOST_CHARACTERS = 2000  # of an error


def main() -> None:
    """Mutate, read and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tally = run(Path(folder), inputs=arguments.inputs, seed=arguments.seed)
    print(tally.table())
    if tally.crashes:
        sys.exit("\n\n".join(tally.crashes[:20]) + f"\n{len(tally.crashes)} crashes")
    if arguments.write:
        from anneal.io.files import write_if_changed
        from anneal.io.text import renew_block

        page = arguments.write
        text = renew_block(page.read_text(), name="mutations", body=tally.table(), where=str(page))
        write_if_changed(page, text)


@dataclass
class Tally:
    """Inputs read and refused, by kind of file, and crashes with their inputs."""

    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return the counts as a table."""
        kinds = sorted(self.read | self.refused)
        rows = [
            f"| {kind} | {self.read[kind] + self.refused[kind]} | {self.refused[kind]} |"
            for kind in kinds
        ]
        total = self.read.total() + self.refused.total()
        lines = [
            "| mutated | inputs | refused in one line |",
            "| :--- | ---: | ---: |",
            *rows,
            f"| **all** | **{total}** | **{self.refused.total()}** |",
            "",
            f"{len(self.crashes)} crashed, hung or left a file.",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind of file and its reader.

    Args:
        kind: its name.
        weight: share of the inputs.
        files: under the sandbox, mutated one at a time.
        read: what is done with it.
        is_text: whether mutations of words make sense.
    """

    kind: str
    weight: int
    files: tuple[Path, ...]
    read: Callable[[], object]
    is_text: bool = True


def run(folder: Path, *, inputs: int, seed: int) -> Tally:
    """Read so many mutated inputs, in a sandbox below ``folder``."""
    draw, tally = random.Random(seed), Tally()
    with contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        targets = list(make_targets(folder))
        weights = [target.weight for target in targets]
        for number in range(inputs):
            target = draw.choices(targets, weights)[0]
            path = draw.choice(target.files)
            good = path.read_bytes()
            bad = mutate(good, draw, is_text=target.is_text)
            if bad == good:
                bad = good[: len(good) // 2]
            path.write_bytes(bad)
            before = names_in(folder)
            try:
                with (
                    contextlib.redirect_stdout(io.StringIO()),
                    contextlib.redirect_stderr(io.StringIO()),
                ):
                    target.read()
                tally.read[target.kind] += 1
            except (ValueError, OSError) as error:
                tally.refused[target.kind] += 1
                if not str(error) or len(str(error)) > MOST_CHARACTERS:
                    tally.crashes.append(f"{target.kind} {number}: error {str(error)[:300]!r}")
            except Exception:  # noqa: BLE001 - that is what is looked for
                place = path.relative_to(folder)
                tally.crashes.append(
                    f"{target.kind} {number}, {place}:\n{traceback.format_exc()[-1500:]}"
                )
            left = names_in(folder) - before
            if left:
                tally.crashes.append(f"{target.kind} {number} left {sorted(left)}")
            path.write_bytes(good)
    return tally


def names_in(folder: Path) -> set[str]:
    """Return the files below a folder but caches."""
    return {
        str(Path(place, name))
        for place, _, names in os.walk(folder)
        for name in names
        if "cache" not in place and not name.endswith(".lock")
    }


def mutate(good: bytes, draw: random.Random, *, is_text: bool) -> bytes:
    """Return a file with one to four mutations."""
    bad = good
    for _ in range(draw.randint(1, 4)):
        if not bad:
            return bad
        kinds = [flip, cut, delete, repeat, overwrite, swap]
        bad = draw.choice([*kinds, *[replace_word] * 6] if is_text else kinds)(bad, draw)
    return bad


def span(content: bytes, draw: random.Random) -> tuple[int, int]:
    """Return the ends of a random part of at most 200 bytes."""
    start = draw.randrange(len(content))
    return start, min(len(content), start + draw.randint(1, 200))


def flip(content: bytes, draw: random.Random) -> bytes:
    """Flip one to eight bits."""
    bad = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
    return bytes(bad)


def cut(content: bytes, draw: random.Random) -> bytes:
    """Cut short."""
    return content[: draw.randrange(len(content))]


def delete(content: bytes, draw: random.Random) -> bytes:
    """Delete a part."""
    start, end = span(content, draw)
    return content[:start] + content[end:]


def repeat(content: bytes, draw: random.Random) -> bytes:
    """Repeat a part."""
    start, end = span(content, draw)
    return content[:end] + content[start:]


def overwrite(content: bytes, draw: random.Random) -> bytes:
    """Overwrite a part with random bytes."""
    start, end = span(content, draw)
    return content[:start] + draw.randbytes(end - start) + content[end:]


def swap(content: bytes, draw: random.Random) -> bytes:
    """Put one part in the place of another."""
    (start, end), (from_start, from_end) = span(content, draw), span(content, draw)
    return content[:start] + content[from_start:from_end] + content[end:]


def replace_word(content: bytes, draw: random.Random) -> bytes:
    """Replace a number or a word by a hostile one, or by another word of the file."""
    words = list(re.finditer(rb"[\w.+-]+", content))
    if not words:
        return content
    word = draw.choice(words)
    other = draw.choice(words)[0] if draw.random() < 0.3 else draw.choice(HOSTILE).encode()
    return content[: word.start()] + other + content[word.end() :]


def make_targets(folder: Path) -> Iterator[Target]:
    """Yield each kind of file, copied or made in the sandbox."""
    yield from targets_of_conf(folder)
    yield from targets_of_claims_and_results(folder)
    yield from targets_of_a_run(folder)
    yield from targets_of_data(folder)


def targets_of_conf(folder: Path) -> Iterator[Target]:
    """Yield params.yaml, tables and overrides."""
    from hydra.errors import HydraException  # noqa: TID251 - as the command catches it
    from omegaconf.errors import OmegaConfBaseException

    from anneal.config.compose import compose_run, explain, load_campaign
    from anneal.config.tables import read_table

    params = folder / "params.yaml"
    shutil.copy(ROOT / "params.yaml", params)
    yield Target(kind="params.yaml", weight=6, files=(params,), read=lambda: load_campaign(params))
    shutil.copytree(ROOT / "conf", folder / "conf")
    for name in ("clr/table1.yaml", "one_cycle/table1_mnist.yaml"):
        table = folder / "conf" / "table" / name
        yield Target(
            kind="table",
            weight=6,
            files=(table,),
            read=lambda table=table: list(read_table(table, folder=folder / "conf")),
        )
    overrides = folder / "overrides.txt"
    overrides.write_text(
        "experiment=clr/cifar10_triangular2\nscheduler.max_lr=0.006\ntraining.length=300 steps\n"
        "model=timm\nmodel.architecture=resnet18\ndataset.image_size=32\nseed=3\n"
    )

    def compose() -> object:
        text = overrides.read_bytes().decode(errors="surrogateescape")
        lines = [line for line in text.splitlines() if line]
        try:
            return compose_run(lines)
        except (HydraException, OmegaConfBaseException) as error:  # as ``anneal run`` does
            raise ValueError(explain(error, lines)) from error

    yield Target(kind="overrides", weight=3, files=(overrides,), read=compose)


def targets_of_claims_and_results(folder: Path) -> Iterator[Target]:
    """Yield claims, their other files, and a campaign's results."""
    from anneal.claims.files import load_claims, load_deviations, load_links, load_planned
    from anneal.results.store import load_results

    paper = folder / "paper"
    paper.mkdir()
    shutil.copytree(ROOT / "paper" / "claims", paper / "claims")
    for name in ("deviations.yaml", "planned.yaml", "links.json"):
        shutil.copy(ROOT / "paper" / name, paper)
    small = paper / "claims" / "super_convergence.yaml"
    yield Target(
        kind="claims", weight=6, files=(small,), read=lambda: load_claims(paper / "claims")
    )
    for name, read in (
        ("deviations.yaml", load_deviations),
        ("planned.yaml", load_planned),
        ("links.json", load_links),
    ):
        path = paper / name
        yield Target(
            kind=name, weight=2, files=(path,), read=lambda read=read, path=path: read(path)
        )
    results = folder / "results" / "quick"
    shutil.copytree(ROOT / "results" / "quick", results)
    files = tuple(
        path
        for path in sorted(results.rglob("*"))
        if path.is_file()
        and path.parent.name not in ("plots", "metrics")
        and path.name != "verdicts.json"
    )
    yield Target(kind="results", weight=10, files=files, read=lambda: load_results(results))


def targets_of_a_run(folder: Path) -> Iterator[Target]:
    """Yield checkpoint, history and the other files of a run directory."""
    import torch

    from anneal.io.files import write_yaml
    from anneal.results.explain import explain, read_run_of
    from anneal.runs import directory

    place = folder / "runs" / "seed-0"
    held = directory.RunDirectory(place, configuration_hash="a" * 12, code="c")
    place.mkdir(parents=True)
    plan = {
        "configuration_hash": "a" * 12,
        "total_steps": 9,
        "configuration": {"optimizer": {"lr": 1}},
    }
    write_yaml(place / directory.PLAN, plan)
    held.add_environment({"threads": 1, "data": {"name": "digits"}})
    for update in range(1, 10):
        held.append(directory.HISTORY, {"update": update, "train_loss": 1 / update, "lr": 0.1})
    weights = {
        "weights": torch.arange(400.0),
        "optimizer": {"momentum": [torch.ones(7)], "step": 9},
    }
    held.save_checkpoint(weights, update=9)
    (place / directory.CHECKPOINT).replace(place / directory.PREVIOUS)
    held.save_checkpoint(weights, update=9)
    good = {path: path.read_bytes() for path in place.iterdir()}

    def resume() -> None:
        try:
            held.resume()
        finally:
            (place / directory.UNREADABLE).unlink(missing_ok=True)
            for path, content in good.items():
                if path.name != held_name(path) and not path.exists():
                    path.write_bytes(content)

    def held_name(path: Path) -> str:
        return "" if path.name in (directory.CHECKPOINT, directory.PREVIOUS) else path.name

    checkpoint = place / directory.CHECKPOINT
    yield Target(kind="checkpoint", weight=8, files=(checkpoint,), read=resume, is_text=False)
    held.finish({"status": "finished", "updates": 9, "test_loss@final": 1.0})
    (place / directory.PREVIOUS).write_bytes(good[place / directory.PREVIOUS])
    names = (directory.PLAN, directory.ENVIRONMENT_FILE, directory.HISTORY, directory.RESULT)
    files = tuple(place / name for name in names)

    def read() -> None:
        held.result()
        explain(read_run_of(str(place)), read_run_of(str(place)))

    yield Target(kind="record of a run", weight=8, files=files, read=read)


def targets_of_data(folder: Path) -> Iterator[Target]:
    """Yield pictures of a folder, a picture to decode, and a recording's header."""
    import numpy as np
    from PIL import Image

    from anneal.config.compose import compose_run
    from anneal.datasets import Paths, load_dataset
    from anneal.datasets.imagenet.pixels import decode

    draw, pictures = np.random.default_rng(0), folder / "photos"
    files = []
    for label in ("ants", "bees"):
        (pictures / label).mkdir(parents=True)
        for number, ending in enumerate(("png", "jpg", "gif", "bmp", "webp", "tiff")):
            path = pictures / label / f"{number}.{ending}"
            Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
            files.append(path)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    config = compose_run(
        ["dataset=imagefolder", f"dataset.folder={pictures}", "dataset.image_size=16"]
    ).dataset
    paths = Paths.from_environment()
    yield Target(
        kind="pictures of a folder", weight=8, files=tuple(files), is_text=False,
        read=lambda: load_dataset(config, paths),
    )  # fmt: skip
    yield Target(
        kind="picture of ImageNet", weight=6, files=tuple(files[:2]), is_text=False,
        read=lambda: [decode(path.read_bytes()) for path in files[:2]],
    )  # fmt: skip
    from anneal.datasets.eeg.edf import check_edf

    recording = folder / "S001R03.edf"
    recording.write_bytes(made_up_edf())
    yield Target(
        kind="recording's header", weight=4, files=(recording,), read=lambda: check_edf(recording)
    )


def made_up_edf() -> bytes:
    """Return one second of one channel in the European Data Format."""

    def text(width: int, *values: object) -> bytes:
        return b"".join(str(value).ljust(width)[:width].encode() for value in values)

    header = text(8, "0") + text(80, "X", "X") + text(8, "01.01.01", "00.00.00", 512)
    header += text(44, "EDF+C") + text(8, 1, 1) + text(4, 1)
    signal = text(16, "C3..") + text(80, "") + text(8, "uV", -8092, 8092, -8092, 8092)
    return header + signal + text(80, "") + text(8, 160) + text(32, "") + bytes(320)


if __name__ == "__main__":
    main()
