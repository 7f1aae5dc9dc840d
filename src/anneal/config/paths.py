"""Folders of data, from the environment or a configuration."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Paths:
    """Folders of data on this machine.

    Args:
        data: for downloaded and unpacked files.
        archives: the user's folder of archives, unpacked or not; read only.
    """

    data: Path
    archives: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Paths":
        """Read ``ANNEAL_DATA`` (default: ``data``) and ``ANNEAL_ARCHIVES`` (default: none).

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
        """Folders to search, in order."""
        return (self.data,) if self.archives is None else (self.archives, self.data)
