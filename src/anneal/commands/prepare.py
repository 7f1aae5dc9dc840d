"""Prepare images once for training: decoded, resized and written to a store.

``anneal prepare SOURCE DEST --size 256|64|32|16|8 [--filter bilinear|box] [--store raw|jpeg]
[--workers N] [--skip-bad N] [--dct-scaling]``. SOURCE is a folder with (a) train/<class>/*.JPEG and
val/<class>/, or a flat val/ beside ILSVRC2012_devkit_t12; (b) ILSVRC2012_img_train.tar,
ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, which are not unpacked; or (c) WebDataset
shards *train*.tar and *val*.tar (.jpg and .cls). All give the same store. (d) The published zips of
downsampled ImageNet, Imagenet32_train_npz.zip and so on, are checked and kept in their order;
``--imitation`` takes zips of the same format that are not the published. The aspect ratio is not
kept. The filter is bilinear at 256 px, box below. ``--store raw`` keeps bytes, ``jpeg`` JPEGs of
quality 95. Images that cannot be decoded are listed at the end; ``--skip-bad N`` leaves N out.
``--dct-scaling`` decodes JPEGs at a part of their size, of which both sides keep four times
``--size``: faster, to other pixels; dataset.scaled_decoding=true takes such a store. A run that was
stopped resumes. ``anneal prepare --verify DEST`` reads a store and compares every checksum.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from anneal.io.terminal import command, say

if TYPE_CHECKING:
    from anneal.datasets.imagenet.store import Store


class _Parser(argparse.ArgumentParser):
    """Parser whose errors are a ``ValueError``."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise ValueError(f"{message}; `anneal prepare --help` shows the options")


@command(free=True)
def main(arguments: list[str]) -> None:
    """Write or verify a store."""
    parser = _Parser(prog="anneal prepare", add_help=False, allow_abbrev=False)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--size", type=int)
    parser.add_argument("--filter")
    parser.add_argument("--store", default="raw")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--skip-bad", type=int, default=0)
    parser.add_argument("--dct-scaling", action="store_true")
    parser.add_argument("--imitation", action="store_true")
    parser.add_argument("--verify", action="store_true")
    given = parser.parse_args(arguments)
    from anneal.datasets.imagenet.pixels import Warp
    from anneal.datasets.imagenet.prepare import Preparation, prepare
    from anneal.datasets.imagenet.store import verify_store
    from anneal.datasets.imagenet.zips import find_zips, prepare_zips
    from anneal.runs.hardware import keep_freed_memory

    keep_freed_memory()
    if given.verify:
        if len(given.folders) != 1:
            raise ValueError("--verify needs the folder of one store")
        say(_summary(verify_store(given.folders[0])))
        return
    if len(given.folders) != 2 or given.size is None:
        raise ValueError("needs SOURCE, DEST and --size; `anneal prepare --help` shows them")
    source, folder = given.folders
    warp = Warp(
        size=given.size,
        filter=given.filter or ("bilinear" if given.size == 256 else "box"),
        dct_scaling=given.dct_scaling,
    )
    settings = Preparation(
        warp=warp, store=given.store, workers=given.workers, skip_bad=given.skip_bad
    )
    if found := find_zips([source], given.size):
        for option in ("filter", "skip_bad", "dct_scaling"):
            if getattr(given, option):
                raise ValueError(
                    f"--{option.replace('_', '-')} is of images that are decoded; {source} has "
                    "zips of pixels"
                )
        if given.store != "raw":
            raise ValueError(f"--store must be raw for the zips of {source}, got {given.store}")
        published = not given.imitation
        say(_summary(prepare_zips(found, folder, size=given.size, published=published, tell=say)))
        return
    if given.imitation:
        raise ValueError(f"--imitation is of zips, and {source} has none of {given.size} px")
    say(_summary(prepare(source, folder, settings, tell=say)))


def _summary(store: "Store") -> str:
    """Say what a store holds, in one line."""
    identity = store.identity
    train, val = (identity["splits"][split] for split in ("train", "test"))
    left_out = len(train["left_out"]) + len(val["left_out"])
    return (
        f"{store.folder}: {train['num_images']:,} training and {val['num_images']:,} validation "
        f"images of {len(identity['class_names'])} classes, {store.size} px, {identity['filter']}, "
        f"{identity['store']}, {sum(identity['files'].values()) / 1e9:,.2f} GB"
        + (f", {left_out} left out" if left_out else "")
    )
