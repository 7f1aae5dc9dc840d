"""Files to mutate and their readers, for ``benchmarks/mutations.py``."""

import importlib.util
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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


def make_targets(folder: Path) -> Iterator[Target]:
    """Yield each kind of file, copied or made in the sandbox."""
    yield from targets_of_conf(folder)
    yield from targets_of_claims_and_results(folder)
    yield from targets_of_a_run(folder)
    yield from targets_of_packages(folder)
    yield from targets_of_data(folder)


def targets_of_conf(folder: Path) -> Iterator[Target]:
    """Yield params.yaml, tables and overrides."""
    from anneal.config.compose import COMPOSITION_ERRORS, compose_run, explain, load_campaign
    from anneal.config.folders import own_folder_first
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
        except COMPOSITION_ERRORS as error:  # as ``anneal run`` does
            raise ValueError(explain(error, lines)) from error

    yield Target(kind="overrides", weight=3, files=(overrides,), read=compose)
    own = folder / "own"
    for group, option in (("scheduler", "triangular2"), ("recipe/clr", "caffe")):
        file = own / group / f"{option}.yaml"
        file.parent.mkdir(parents=True)
        shutil.copy(ROOT / "conf" / group / f"{option}.yaml", file)

    def compose_own() -> object:
        with own_folder_first([f"--config-dir={own}"]):
            return compose_run(["experiment=clr/cifar10_triangular2"])

    files = tuple(sorted(own.rglob("*.yaml")))
    yield Target(kind="configuration", weight=4, files=files, read=compose_own)


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
    from anneal.runs import directory, result_file

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
    names = (directory.PLAN, directory.ENVIRONMENT_FILE, directory.HISTORY, result_file.RESULT)
    files = tuple(place / name for name in names)

    def read() -> None:
        held.result()
        explain(read_run_of(str(place)), read_run_of(str(place)))

    yield Target(kind="record of a run", weight=8, files=files, read=read)


def targets_of_packages(folder: Path) -> Iterator[Target]:
    """Yield a pack of runs, an archive and a prepared store."""
    import fault_data

    from anneal.datasets.imagenet.store import open_store, verify_store
    from anneal.runs.packs import FILES, PackedRun, read_pack, write_pack

    run, pack = PackedRun(campaign="tiny", experiment="row", seed=0), folder / "pack"
    for name in FILES:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("{}")
    write_pack(pack, [run], max_file_mib=1)
    files = tuple(sorted(pack.iterdir()))
    yield Target(kind="pack of runs", weight=3, files=files, read=lambda: read_pack(pack))
    data = fault_data.Data(folder / "data", random.Random(0))
    archive = data.fresh() / "archives" / "small.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(data.archive)
    yield Target(
        kind="archive", weight=2, files=(archive,), is_text=False,
        read=lambda: fault_data.obtained(data, archive.parents[1]),
    )  # fmt: skip
    store = data.store

    def read() -> None:
        verify_store(store)
        open_store(store)

    names = sorted(fault_data.contents(store))
    yield Target(
        kind="prepared store", weight=4, files=tuple(store / name for name in names), read=read
    )


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
    files += odd_pictures(pictures / "ants")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    config = compose_run(
        ["dataset=imagefolder", f"dataset.folder={pictures}", "dataset.image_size=16",
         "dataset.full_pixel=65535"]
    ).dataset  # fmt: skip
    paths = Paths.from_environment()
    yield Target(
        kind="pictures of a folder", weight=8, files=tuple(files), is_text=False,
        read=lambda: load_dataset(config, paths),
    )  # fmt: skip
    yield Target(
        kind="picture of ImageNet", weight=6, files=tuple(files[:2]), is_text=False,
        read=lambda: [decode(path.read_bytes()) for path in files[:2]],
    )  # fmt: skip
    from anneal.datasets.eeg.edf import check_edf, read_edf

    recording = folder / "S001R03.edf"
    recording.write_bytes(made_up_edf())
    yield Target(
        kind="recording's header", weight=4, files=(recording,), read=lambda: check_edf(recording)
    )
    if importlib.util.find_spec("mne") is not None:
        yield Target(
            kind="recording", weight=4, files=(recording,),
            read=lambda: read_edf(recording, sampling_hz=160),
        )  # fmt: skip


def odd_pictures(folder: Path) -> list[Path]:
    """Write an animation, a CMYK picture, one of 16 bits and one under another's name."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(1)
    colour, other = (
        Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)) for _ in range(2)
    )
    deep = Image.fromarray(draw.integers(0, 65536, (20, 24), dtype=np.uint16))
    files = [folder / name for name in ("animated.gif", "cmyk.jpg", "deep.png", "renamed.jpg")]
    colour.save(files[0], save_all=True, append_images=[other])
    colour.convert("CMYK").save(files[1])
    deep.save(files[2])
    colour.save(files[3], "PNG")
    return files


def made_up_edf() -> bytes:
    """Return one second of one channel in the European Data Format."""

    def text(width: int, *values: object) -> bytes:
        return b"".join(str(value).ljust(width)[:width].encode() for value in values)

    header = text(8, "0") + text(80, "X", "X") + text(8, "01.01.01", "00.00.00", 512)
    header += text(44, "EDF+C") + text(8, 1, 1) + text(4, 1)
    signal = text(16, "C3..") + text(80, "") + text(8, "uV", -8092, 8092, -8092, 8092)
    return header + signal + text(80, "") + text(8, 160) + text(32, "") + bytes(320)
