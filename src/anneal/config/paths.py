"""The folders that hold data, from the environment or a configuration."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Paths:
    """The folders of data on this machine.

    Args:
        data: ours; what is downloaded or unpacked goes here.
        archives: a person's own folder of archives, unpacked or not; only read.
    """

    data: Path
    archives: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Paths":
        """Read ``ANNEAL_DATA`` (``data`` when absent) and ``ANNEAL_ARCHIVES`` (none when absent).

        >>> Paths.from_environment({"ANNEAL_DATA": "mine"})
        Paths(data=PosixPath('mine'), archives=None)
        """
        archives = environment.get("ANNEAL_ARCHIVES")
        return cls(
            data=Path(environment.get("ANNEAL_DATA") or "data"),
            archives=Path(archives) if archives else None,
        )

    @classmethod
    def from_section(cls, section: Mapping[str, Any]) -> "Paths":
        """Read the section ``paths`` of ``conf/run.yaml``: ``data``, and ``archives`` or null."""
        archives = section["archives"]
        return cls(Path(section["data"]), Path(archives) if archives else None)

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders to look into, in order."""
        return (self.data,) if self.archives is None else (self.archives, self.data)
