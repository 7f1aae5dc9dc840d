"""Blocks of decoded images, in the order of the store, by one thread or several."""

import contextlib
import functools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from anneal.datasets.imagenet.listing import Member
from anneal.datasets.imagenet.pixels import UNREADABLE, Warp, encode
from anneal.datasets.resizing import Bytes

BLOCK = 64  # images that a thread decodes at once; divides a chunk
_AHEAD = 2  # blocks of each thread that wait to be written


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
    content: Sequence[bytes | memoryview]
    lengths: Sequence[int]
    sums: npt.NDArray[np.int64]
    squares: npt.NDArray[np.int64]
    bad: dict[int, str]
    labels: npt.NDArray[np.int32] | None = None


class Sums:
    """Integer sums of at most 256 images of at most 256 px, exact in float32 until read."""

    def __init__(self, size: int) -> None:
        self._sums = torch.zeros(size, size * 3)
        self._squares = torch.zeros(size * 3, dtype=torch.float64)  # of each column
        self._rows = torch.empty(size, size * 3)

    def add(self, image: Bytes) -> None:
        """Add one image, (size, size, 3)."""
        rows = self._rows.copy_(torch.from_numpy(image).view(len(image), -1))
        self._sums += rows
        self._squares += rows.square_().sum(0)  # at most 256 * 255**2 < 2**24

    def read(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the sums of pixels (size, size, 3) and of squares (3,)."""
        size = len(self._sums)
        squares = self._squares.view(size, 3).sum(0)
        return self._sums.view(size, size, 3).long().numpy(), squares.long().numpy()


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
    content = [image.data if store == "raw" else encode(image) for image in decoded]
    total, squares = sums.read()
    return Block(
        asked=len(members),
        content=content,
        lengths=[memoryview(image).nbytes for image in content],
        sums=total,
        squares=squares,
        bad=bad,
    )


def decoded_blocks(
    members: Sequence[Member], *, start: int, warp: Warp, store: str, workers: int
) -> Iterator[Block]:
    """Yield the blocks from image ``start`` on; the same for any number of workers.

    The workers are threads: decoding, resizing and encoding leave Python's lock, and no pixel is
    copied from one process to another.
    """
    parts = (members[first : first + BLOCK] for first in range(start, len(members), BLOCK))
    work = functools.partial(decode_block, warp=warp, store=store)
    with _one_thread_of_torch():
        if workers == 1:
            yield from map(work, parts)
            return
        Image.init()  # in two threads at once, one may miss the other's formats
        pool = ThreadPoolExecutor(
            workers, "decode", initializer=torch.set_num_threads, initargs=(1,)
        )
        waiting: deque[Future[Block]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(work, part))
                if len(waiting) > _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_thread_of_torch() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
