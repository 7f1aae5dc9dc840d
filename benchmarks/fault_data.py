"""Damaged and unwritable archives, downloads and prepared stores, for ``faults.py``."""

import functools
import hashlib
import http.server
import io
import random
import shutil
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from damage import (
    DAMAGES,
    Attempt,
    can_mount,
    damage,
    disk,
    forked,
    limit_files,
    read_only,
    rewrite,
    tried,
)


class Data:
    """Good files to damage, each made once.

    Args:
        folder: of all of them.
        draw: of damages.
    """

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw = folder, draw
        folder.mkdir()

    def fresh(self) -> Path:
        """Return a folder for one attempt."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    @functools.cached_property
    def archive(self) -> bytes:
        """A published archive of two data."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, content in self.members.items():
                entry = tarfile.TarInfo(f"small/{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return packed.getvalue()

    @functools.cached_property
    def members(self) -> dict[str, bytes]:
        """The files of the archive."""
        return {"train": self.draw.randbytes(3 << 20), "test": self.draw.randbytes(1 << 10)}

    @functools.cached_property
    def pictures(self) -> Path:
        """A tree of ImageNet with two classes."""
        return pictures(self.folder / "pictures", seed=0)

    @functools.cached_property
    def store(self) -> Path:
        """The prepared store of the pictures."""
        return prepared(self.pictures, self.folder / "store")

    @functools.cached_property
    def other_store(self) -> Path:
        """A store of other pictures."""
        tree = pictures(self.folder / "other_pictures", seed=1)
        return prepared(tree, self.folder / "other_store")


def pictures(folder: Path, *, seed: int) -> Path:
    """Write an ImageNet tree of 12 pictures."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(seed)
    for number in range(12):
        wnid = ("n01440764", "n02119789")[number % 2]
        split, name = ("train", f"{wnid}_{number}") if number < 8 else (
            "val", f"ILSVRC2012_val_{number:08d}")  # fmt: skip
        path = folder / split / wnid / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return folder


def prepared(tree: Path, folder: Path) -> Path:
    """Prepare the store of a tree."""
    from anneal.datasets.imagenet.pixels import Warp
    from anneal.datasets.imagenet.prepare import Preparation, prepare

    settings = Preparation(warp=Warp(size=16, filter="box"), chunk=4)
    prepare(tree, folder, settings, tell=lambda _: None)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a store without locks and times."""
    skipped = (".lock", "stamps.json")
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in skipped}


@contextmanager
def served(content: bytes) -> Iterator[str]:
    """Serve an archive on this machine; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/small.tar.gz"
        server.shutdown()


def obtained(data: Data, place: Path, url: str = "http://127.0.0.1:9/small.tar.gz") -> Path:
    """Find, or download and unpack, the archive."""
    from anneal.datasets.archives import Paths, RetryPolicy, obtain
    from anneal.datasets.sources import Member, PublishedArchive

    def md5(content: bytes) -> str:
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    source = PublishedArchive(
        name="small", urls=(url,), archive="small.tar.gz", folder="small",
        archive_bytes=len(data.archive), archive_md5=md5(data.archive),
        archive_sha256=hashlib.sha256(data.archive).hexdigest(),
        members=tuple(
            Member(name=name, md5=md5(content), split=None)
            for name, content in data.members.items()
        ),
        labels_key="labels", image_shape=(3, 32, 32), images_per_class={"train": 1, "test": 1},
        class_names=("a", "b"),
    )  # fmt: skip
    hasty = RetryPolicy(timeout_seconds=5.0, attempts=1, pause_seconds=0.0)
    return obtain(source, Paths(place / "data", place / "archives"), retry_policy=hasty)


def left(data: Path) -> str | None:
    """Return what a failed download left, None: nothing but its lock."""
    names = (
        [path.name for path in data.iterdir() if path.suffix != ".lock"] if data.exists() else []
    )
    return f"left {names}" if names else None


def full_disk_in_download(data: Data) -> Attempt:
    """Download to a disk that is too small, then to one that is not."""
    place = data.fresh()
    folder = place / "data"
    with served(data.archive) as url:
        if can_mount():
            with disk(folder, megabytes=data.draw.choice((1, 2, 3, 5))):
                _, said, wrong = tried(lambda: obtained(data, place, url))
                wrong = wrong or left(folder)
            how = "full tmpfs"
        else:
            limit = data.draw.randrange(len(data.archive))

            def work() -> None:
                limit_files(limit)
                refused, said, _ = tried(lambda: obtained(data, place, url))
                print(said, file=sys.stderr)
                sys.exit(int(refused))

            ended = forked(place, work)
            said, wrong, how = ended.said, left(folder), "RLIMIT_FSIZE"
        unpacked = obtained(data, place, url)
    whole = {path.name: path.read_bytes() for path in unpacked.iterdir()} == data.members
    lost = wrong or (None if whole and said else "not whole afterwards")
    return Attempt(how=how, lost=lost, said=said)


def read_only_data(data: Data) -> Attempt:
    """Download to a folder that cannot be written."""
    place = data.fresh()
    (place / "data").mkdir()
    with served(data.archive) as url, read_only(place / "data") as how:
        refused, said, wrong = tried(lambda: obtained(data, place, url))
        wrong = wrong or left(place / "data")
    lost = wrong or (None if refused else "not refused")
    return Attempt(how=how, lost=lost, said=said)


def damaged_archive(data: Data, *, kind: str) -> Attempt:
    """Damage the archive that a person put there."""
    place = data.fresh()
    path = place / "archives" / "small.tar.gz"
    path.parent.mkdir()
    bad = damage(data.archive, kind, data.draw, foreign=data.draw.randbytes(len(data.archive)))
    path.write_bytes(bad)
    refused, said, wrong = tried(lambda: obtained(data, place))
    changed = None if path.read_bytes() == bad else "changed the file"
    lost = wrong or changed or left(place / "data") or (None if refused else "not refused")
    return Attempt(how="rewritten", lost=lost, said=said)


def full_disk_in_store(data: Data) -> Attempt:
    """Let the pixels of a store not fit; then finish it."""
    place = data.fresh() / "store"
    limit = data.draw.randrange((data.store / "train.u8").stat().st_size)

    def work() -> None:
        limit_files(limit)
        refused, said, _ = tried(lambda: prepared(data.pictures, place))
        print(said, file=sys.stderr)
        sys.exit(int(refused))

    ended = forked(place.parent, work)
    same = contents(prepared(data.pictures, place)) == contents(data.store)
    lost = ended.fault(refused=True) or (None if same else "not the same bytes afterwards")
    return Attempt(how="RLIMIT_FSIZE", lost=lost, said=ended.said)


def damaged_store(data: Data, *, kind: str) -> Attempt:
    """Damage a file of a store: it is refused when it is opened, and when it is verified."""
    from anneal.datasets.imagenet.store import open_store, verify_store

    place = data.fresh() / "store"
    shutil.copytree(data.store, place)  # with its times
    name = data.draw.choice(sorted(contents(place)))
    foreign = (data.other_store / name).read_bytes()
    good = (place / name).read_bytes()
    bad = damage(good, kind, data.draw, foreign=foreign)
    rewrite(place / name, bad)
    opened, said, wrong = tried(lambda: open_store(place))
    verified, _, wrong_too = tried(lambda: verify_store(place))
    refused = (opened and verified) or bad == good
    lost = wrong or wrong_too or (None if refused else f"{name}: not refused")
    return Attempt(how="rewritten", lost=lost, said=said)


CASES: tuple[tuple[str, Callable[[Data], Attempt]], ...] = (
    ("disk full: download", full_disk_in_download),
    ("disk full: store", full_disk_in_store),
    ("read-only folder: data", read_only_data),
    *(
        (f"{kind} {name}", functools.partial(case, kind=kind))
        for name, case in (("archive", damaged_archive), ("store", damaged_store))
        for kind in DAMAGES
    ),
)
