"""Files of ``torch.save``: read with their checksums, kept under a second name."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

from anneal.io.files import rename_over


class UnreadableError(ValueError):
    """A file that ``torch.load`` cannot read.

    Args:
        file: its path.
        reason: in torch's words.
        advice: what to do.
    """

    def __init__(self, file: Path, reason: str, advice: str) -> None:
        super().__init__(f"{file} cannot be read ({reason}); {advice}")
        self.file, self.reason = file, reason


def load_checked(file: Path, *, advice: str) -> Any:
    """Read a file of tensors and plain data, on the CPU, after comparing its checksums.

    Args:
        file: that ``torch.save`` wrote.
        advice: what to do if it is damaged.

    Raises:
        UnreadableError: it is damaged, or would run code.
    """
    import torch

    try:
        with zipfile.ZipFile(file) as packed:  # torch.load compares no checksum
            if (damaged := packed.testzip()) is not None:
                raise UnreadableError(file, f"checksum of {damaged}", advice)
        return torch.load(file, weights_only=True, map_location="cpu")
    except (zipfile.BadZipFile, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        why = next(iter(str(error).splitlines()), "it is empty")
        raise UnreadableError(file, why, advice) from error


def keep_as(file: Path, second: Path) -> None:
    """Give a file a second name, atomically; where there are no hard links it loses the first."""
    temporary = second.with_name(f".{second.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(file, temporary)
    except OSError:
        rename_over(file, second)
        return
    rename_over(temporary, second)
    temporary.unlink(missing_ok=True)  # stays where ``second`` was a name of the file already
