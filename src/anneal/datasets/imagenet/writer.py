"""Writer of one split of a store: appends blocks, marks chunks done, resumes after a kill."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anneal.datasets.imagenet.blocks import Block
from anneal.datasets.imagenet.store import CHUNK, STORES, file_name
from anneal.datasets.sources import SplitName
from anneal.io.files import write_whole


class SplitWriter:
    """Pixels of one split as they grow, and what is known of the images written so far.

    A chunk is done when its bytes are on disk and the state says so; the state is written
    atomically. A later start cuts off what follows the last chunk done.

    Args:
        folder: of the store.
        split: that is written.
        store: "raw" or "jpeg".
        size: side of the images in px.
        chunk: images in a chunk.
    """

    def __init__(
        self, folder: Path, split: SplitName, *, store: str, size: int, chunk: int = CHUNK
    ) -> None:
        self.path = folder / file_name(split, STORES[store])
        self._state_path = folder / f".{file_name(split, 'unfinished.npz')}"
        self._chunk = chunk
        self.done = 0  # images of the listing that are in chunks done, bad ones among them
        self.chunks: list[dict[str, Any]] = []
        self.bad: dict[int, str] = {}  # place in the listing -> why
        self.sums = np.zeros((size, size, 3), np.int64)
        self.squares = np.zeros(3, np.int64)
        self.lengths = np.zeros(0, np.int64)
        self.labels = np.zeros(0, np.int32)  # of the images written
        self.left_out: list[str] = []  # names of the bad images
        if self._state_path.is_file():
            self._restore()

    @property
    def num_bytes(self) -> int:
        """Bytes of the chunks done."""
        return sum(chunk["bytes"] for chunk in self.chunks)

    def write(self, blocks: Iterator[Block]) -> Iterator[int]:
        """Append blocks, the first of them that of image ``done``; yield images decoded so far.

        Raises:
            OSError: the disk is full, or the file cannot be written; the chunk is not done.
        """
        with _named(self.path), self.path.open("ab") as file:
            file.truncate(self.num_bytes)
            file.seek(0, os.SEEK_END)
            pending: list[Block] = []
            asked = 0
            content = hashlib.sha256()
            for block in blocks:
                for piece in block.content:
                    file.write(piece)
                    content.update(piece)
                asked += block.asked
                pending.append(_without_content(block))
                yield self.done + asked
                if asked >= self._chunk:
                    self._finish_chunk(file, pending, content.hexdigest())
                    pending, asked, content = [], 0, hashlib.sha256()
            if pending:
                self._finish_chunk(file, pending, content.hexdigest())

    def _finish_chunk(self, file: Any, blocks: list[Block], sha256: str) -> None:
        file.flush()
        os.fsync(file.fileno())
        lengths = [length for block in blocks for length in block.lengths]
        for block in blocks:
            self.bad |= {self.done + place: why for place, why in block.bad.items()}
            self.done += block.asked
            self.sums += block.sums
            self.squares += block.squares
            if block.labels is not None:
                self.labels = np.concatenate([self.labels, block.labels])
        self.lengths = np.concatenate([self.lengths, np.array(lengths, np.int64)])
        self.chunks.append({"images": len(lengths), "bytes": sum(lengths), "sha256": sha256})
        self._save()

    def _save(self) -> None:
        state = {"done": self.done, "chunks": self.chunks, "bad": self.bad}
        target = io.BytesIO()
        np.savez(
            target,
            state=np.frombuffer(json.dumps(state).encode(), np.uint8),
            sums=self.sums,
            squares=self.squares,
            lengths=self.lengths,
            labels=self.labels,
        )
        write_whole(self._state_path, target.getvalue())

    def _restore(self) -> None:
        with np.load(self._state_path, allow_pickle=False) as saved:
            state = json.loads(saved["state"].tobytes())
            self.sums, self.squares = saved["sums"], saved["squares"]
            self.lengths, self.labels = saved["lengths"], saved["labels"]
        self.done, self.chunks = state["done"], state["chunks"]
        self.bad = {int(place): why for place, why in state["bad"].items()}
        size = self.path.stat().st_size if self.path.is_file() else 0
        if size < self.num_bytes:
            raise ValueError(
                f"{self.path} must have the {self.num_bytes} bytes of its chunks, found {size} "
                "(cut short); delete the folder to begin again"
            )


def _without_content(block: Block) -> Block:
    return Block(**{**vars(block), "content": ()})


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let a failed write name its file; what is wrong with the source keeps its own words."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename:
            raise
        raise OSError(error.errno, f"{error.strerror}; the chunk is not done", str(path)) from error
