"""Write a store from a source, once: decode, resize, write in chunks, resume after a kill."""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from anneal.datasets.imagenet.blocks import Block, decoded_blocks
from anneal.datasets.imagenet.listing import Listing
from anneal.datasets.imagenet.pixels import FILTERS, QUALITY, Warp, describe_libraries
from anneal.datasets.imagenet.sources import list_source
from anneal.datasets.imagenet.store import (
    CHUNK,
    FILE_NAMES,
    FORMAT,
    IDENTITY,
    STORES,
    Store,
    file_name,
    hash_file,
    open_store,
    write_stamps,
)
from anneal.datasets.imagenet.writer import SplitWriter
from anneal.datasets.jpeg import simplejpeg
from anneal.datasets.sources import SplitName
from anneal.io.files import json_text, synced, write_whole
from anneal.io.text import duration_words

SIZES = (256, 64, 32, 16, 8)
ORDER_SEED = 0
_JPEG_SHARE = 0.2  # of the raw bytes that a store of JPEGs may need, at most
_SPARE = 64 << 20  # bytes beside the pixels: labels, names, sums
_SHOWN = 20  # images in one line
_EVERY_SECONDS = 10.0
_SETTINGS = ".settings.json"


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Settings of a store.

    Args:
        warp: size and filter.
        store: "raw" or "jpeg".
        workers: threads that decode.
        skip_bad: images that may be left out because they cannot be decoded.
        chunk: images with one checksum.
    """

    warp: Warp
    store: str = "raw"
    workers: int = 1
    skip_bad: int = 0
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        checks = [
            ("--size", self.warp.size, SIZES),
            ("--filter", self.warp.filter, FILTERS),
            ("--store", self.store, tuple(STORES)),
        ]
        for name, value, known in checks:
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {value}")
        for name, number, least in [
            ("--workers", self.workers, 1),
            ("--skip-bad", self.skip_bad, 0),
        ]:
            if number < least:
                raise ValueError(f"{name} must be at least {least}, got {number}")

    def settings(self) -> dict[str, Any]:
        """Return what decides about the bytes of a store, as plain data."""
        return {
            "format": FORMAT,
            "size": self.warp.size,
            "filter": self.warp.filter,
            "dct_scaling": self.warp.dct_scaling,
            "warped": True,  # the aspect ratio is not kept
            "channels": "rgb",
            "store": self.store,
            "jpeg_quality": QUALITY if self.store == "jpeg" else None,
            "exif": "ignored",
            "order_seed": ORDER_SEED,
            **describe_libraries(self.warp.filter),
        }


def prepare(
    source: Path, folder: Path, settings: Preparation, *, tell: Callable[[str], None]
) -> Store:
    """Write the store of a source, or finish one that was begun; return it, finished.

    Args:
        source: a tree, the published tars, or WebDataset shards.
        folder: of the store.
        settings: of the store.
        tell: gets lines of progress.

    Raises:
        ValueError: the source, an image or the folder cannot be used.
        OSError: the disk is full or cannot be written.
    """
    if settings.warp.dct_scaling and simplejpeg is None:  # zips of pixels need none
        raise ValueError("--dct-scaling needs simplejpeg: make setup EXTRAS=imagenet")
    with locked(folder):
        if (folder / IDENTITY).is_file():
            return reopen(folder, settings, tell=tell)
        listing = list_source(source)
        counts = {split: len(listing.splits[split]) for split in FILE_NAMES}
        writers = begin(folder, settings, counts, digest=listing.digest())
        for split, writer in writers.items():
            blocks = decoded_blocks(
                listing.splits[split],
                start=writer.done,
                warp=settings.warp,
                store=settings.store,
                workers=settings.workers,
            )
            write_split(writer, blocks, counts[split], split=split, tell=tell)
        _refuse_bad(folder, writers, settings.skip_bad, tell)
        for split, writer in writers.items():
            _write_names(folder, split, listing, writer)
        return finish(
            folder, writers, settings.settings(), class_names=listing.class_names, shuffled=True
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a store for writing.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(folder / ".lock")
    try:
        held.acquire(blocking=False)
    except filelock.Timeout:
        raise ValueError(f"{folder} is being written by another process") from None
    try:
        for left in folder.glob(".*.tmp"):  # of a killed process
            left.unlink()
        yield
    finally:
        held.release()


def begin(
    folder: Path, settings: Preparation, counts: dict[SplitName, int], *, digest: str
) -> dict[SplitName, SplitWriter]:
    """Return the writers of the splits, at what is done; check settings and room.

    Raises:
        ValueError: what is there was begun with other settings.
        OSError: the disk has too little room.
    """
    wanted = {**settings.settings(), "chunk": settings.chunk, "source": digest}
    path = folder / _SETTINGS
    if path.is_file():
        found = json.loads(path.read_text())
        differ = [key for key in wanted if found.get(key) != wanted[key]]
        if differ:
            key = differ[0]
            raise ValueError(
                f"{folder} holds an unfinished store of another {key}, "
                f"{found.get(key)!r} in place of {wanted[key]!r}; delete it to begin again"
            )
    size = settings.warp.size
    writers = {
        split: SplitWriter(folder, split, store=settings.store, size=size, chunk=settings.chunk)
        for split in FILE_NAMES
    }
    share = 1 if settings.store == "raw" else _JPEG_SHARE
    left = sum(counts[split] - writer.done for split, writer in writers.items())
    needed = int(left * size * size * 3 * share) + _SPARE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder} needs {needed / 1e9:,.1f} GB more on its disk, {free / 1e9:,.1f} GB are free"
        )
    write_whole(path, json_text(wanted))
    return writers


def write_split(
    writer: SplitWriter,
    blocks: Iterator[Block],
    count: int,
    *,
    split: SplitName,
    tell: Callable[[str], None],
) -> None:
    """Write the blocks of one split; tell images a second and the time left."""
    first, began = writer.done, time.monotonic()
    told = began
    for done in writer.write(blocks):
        now = time.monotonic()
        if now - told >= _EVERY_SECONDS:
            rate, told = (done - first) / (now - began), now
            left = duration_words((count - done) / rate)
            name = FILE_NAMES[split]
            tell(f"{name}: {done:,} of {count:,} images, {rate:,.0f} images/s, {left} left")


def finish(
    folder: Path,
    writers: dict[SplitName, SplitWriter],
    settings: dict[str, Any],
    *,
    class_names: Sequence[str],
    shuffled: bool,
) -> Store:
    """Write what is beside the pixels, then ``identity.json``; ``<split>.names`` is there already.

    Args:
        folder: of the store.
        writers: at the end of their splits.
        settings: that decide about its bytes.
        class_names: in the order of the labels.
        shuffled: draw an order for the training images; false: it is that of the pixels.
    """
    train = writers["train"]
    num_images = len(train.lengths)
    order = np.arange(num_images, dtype=np.int32)
    if shuffled:
        order = np.random.default_rng(ORDER_SEED).permutation(order)
    arrays: dict[str, np.typing.NDArray[Any]] = {
        file_name("train", "order.npy"): order,
        file_name("train", "sums.npy"): train.sums,
        file_name("train", "squares.npy"): train.squares,
    }
    splits = {}
    for split, writer in writers.items():
        arrays[file_name(split, "labels.npy")] = writer.labels
        if settings["store"] == "jpeg":
            offsets = np.concatenate([[0], np.cumsum(writer.lengths)]).astype(np.int64)
            arrays[file_name(split, "offsets.npy")] = offsets
        chunks = "".join(chunk["sha256"] for chunk in writer.chunks)
        splits[split] = {
            "num_images": len(writer.lengths),
            "images_per_class": np.bincount(writer.labels, minlength=len(class_names)).tolist(),
            "names_sha256": hash_file(folder / file_name(split, "names")),
            "pixels_sha256": hashlib.sha256(chunks.encode()).hexdigest(),  # of the chunks' sums
            "left_out": writer.left_out,
            "chunks": writer.chunks,
        }
    for name, array in arrays.items():
        _save(folder / name, array)
    pixels = [writer.path.name for writer in writers.values()]
    small = sorted([*arrays, *(file_name(split, "names") for split in writers)])
    identity = {
        **settings,
        "class_names": list(class_names),
        "splits": splits,
        "files": {name: (folder / name).stat().st_size for name in sorted([*small, *pixels])},
        "sha256": {name: hash_file(folder / name) for name in small},
    }
    store = Store(folder, identity)
    write_stamps(store)
    write_whole(folder / IDENTITY, json_text(identity))
    _remove_states(folder)
    return store


def _save(path: Path, array: "np.typing.NDArray[Any]") -> None:
    with synced(path) as file:
        np.save(file, array, allow_pickle=False)


def reopen(folder: Path, settings: Preparation, *, tell: Callable[[str], None]) -> Store:
    """Return the finished store that is there, and say that no source was read.

    Raises:
        ValueError: its settings are others; names the key.
    """
    store = open_store(folder)
    for key in ("size", "filter", "store", "dct_scaling"):
        wanted = settings.settings()[key]
        if store.identity[key] != wanted:
            raise ValueError(
                f"{folder} holds a finished store of {key} {store.identity[key]}, not {wanted}; "
                "give another folder"
            )
    _remove_states(folder)
    tell(f"{folder} is finished: the source was not read again")
    return store


def _remove_states(folder: Path) -> None:
    for path in [folder / _SETTINGS, *folder.glob(".*.unfinished.npz")]:
        path.unlink(missing_ok=True)


def _write_names(folder: Path, split: SplitName, listing: Listing, writer: SplitWriter) -> None:
    """Write the names of the images of a split, and keep their labels for the store."""
    members = listing.splits[split]
    kept = [m for n, m in enumerate(members) if n not in writer.bad]
    writer.left_out = [members[n].name for n in sorted(writer.bad)]
    text = "".join(f"{m.name}\n" for m in kept)
    write_whole(folder / file_name(split, "names"), text.encode(errors="surrogateescape"))
    writer.labels = np.array([m.label for m in kept], np.int32)


def _refuse_bad(
    folder: Path,
    writers: dict[SplitName, SplitWriter],
    allowed: int,
    tell: Callable[[str], None],
) -> None:
    """List the images that cannot be decoded; refuse more than are allowed."""
    bad = [why for writer in writers.values() for why in writer.bad.values()]
    for line in bad[:_SHOWN]:
        tell(f"cannot be decoded: {line}")
    if len(bad) <= allowed:
        return
    places = "; ".join(bad[:_SHOWN])
    listed = ""
    if len(bad) > _SHOWN:
        write_whole(folder / "bad_images.txt", "".join(f"{line}\n" for line in bad))
        listed = f"; all are in {folder / 'bad_images.txt'}"
    raise ValueError(
        f"{len(bad)} images cannot be decoded, {allowed} may: {places}{listed}; "
        f"--skip-bad {len(bad)} leaves them out"
    )
