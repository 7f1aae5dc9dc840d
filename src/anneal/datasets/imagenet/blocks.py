"""Blocks of decoded images, in the order of the store, by one process or several."""

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from anneal.datasets.imagenet.listing import Member
from anneal.datasets.imagenet.pixels import UNREADABLE, Warp, encode
from anneal.datasets.resizing import Bytes

BLOCK = 64  # images that a process decodes at once; divides a chunk
_AHEAD = 2  # blocks of each process that wait to be written


@dataclass(frozen=True, kw_only=True)
class Block:
    """Images as they are stored, and their integer sums.

    Args:
        asked: images that were to be decoded.
        content: bytes of those that could be, in pieces.
        lengths: number of bytes of each image.
        sums: of each pixel over the images, (size, size, 3).
        squares: of the squares over images and pixels, of each channel.
        labels: of the images; None: those of the listing.
        bad: place among those asked for -> why it could not be decoded.
    """

    asked: int
    content: Sequence[bytes]
    lengths: Sequence[int]
    sums: npt.NDArray[np.int64]
    squares: npt.NDArray[np.int64]
    bad: dict[int, str]
    labels: npt.NDArray[np.int32] | None = None


class Sums:
    """Integer sums of at most 256 images of at most 256 px, exact in float32 until read."""

    def __init__(self, size: int) -> None:
        self._sums = torch.zeros(size, size * 3)
        self._squares = torch.zeros(3, dtype=torch.float64)

    def add(self, image: Bytes) -> None:
        """Add one image, (size, size, 3)."""
        rows = torch.from_numpy(image).view(len(image), -1).float()
        self._sums += rows
        columns = rows.square_().sum(0)  # at most 256 * 255**2 < 2**24
        self._squares += columns.view(-1, 3).sum(0, dtype=torch.float64)

    def read(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the sums of pixels (size, size, 3) and of squares (3,)."""
        size = len(self._sums)
        return self._sums.view(size, size, 3).long().numpy(), self._squares.long().numpy()


def decode_block(members: Sequence[Member], *, warp: Warp, store: str) -> Block:
    """Decode images of a source, one after another."""
    decoded: list[Bytes] = []
    bad: dict[int, str] = {}
    for place, member in enumerate(members):
        try:
            decoded.append(warp(member.read()))
        except UNREADABLE as error:
            reason = str(error).partition(" <_io")[0] or type(error).__name__
            bad[place] = f"{member.shown}: {reason}"
    sums = Sums(warp.size)
    for image in decoded:  # in a loop of its own: faster than in turns with decoding
        sums.add(image)
    content = [image.tobytes() if store == "raw" else encode(image) for image in decoded]
    total, squares = sums.read()
    return Block(
        asked=len(members),
        content=content,
        lengths=[len(image) for image in content],
        sums=total,
        squares=squares,
        bad=bad,
    )


def decoded_blocks(
    members: Sequence[Member], *, start: int, warp: Warp, store: str, workers: int
) -> Iterator[Block]:
    """Yield the blocks from image ``start`` on; the same for any number of workers.

    Raises:
        OSError: a worker was killed.
    """
    parts = (members[first : first + BLOCK] for first in range(start, len(members), BLOCK))
    if workers == 1:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for part in parts:
                yield decode_block(part, warp=warp, store=store)
        finally:
            torch.set_num_threads(before)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    )
    waiting: deque[Future[Block]] = deque()
    try:
        for part in parts:
            waiting.append(pool.submit(decode_block, part, warp=warp, store=store))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise OSError("a worker of anneal prepare was killed; run it again: it resumes") from None
    finally:
        pool.shutdown(cancel_futures=True)
