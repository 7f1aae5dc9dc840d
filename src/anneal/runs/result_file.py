"""result.json of a run directory, with a checksum of its content."""

import json
import zlib
from pathlib import Path
from typing import Any

from anneal.io.files import read_json

RESULT = "result.json"
KEYS = {"code", "status"}
MERGED = "merged"  # the run ended on another machine and came in a pack
CHECKSUM = "crc32"  # of the other keys


def checked(result: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a result.json with its checksum, in place of one that it has."""
    content = {key: value for key, value in result.items() if key != CHECKSUM}
    return content | {CHECKSUM: _checksum(content)}


def read_result(file: Path, *, planned: str | None) -> dict[str, Any] | None:
    """Read a result.json without its checksum; None if there is none.

    Args:
        file: to be read.
        planned: configuration hash of the plan beside it; None where there is none.

    Raises:
        ValueError: it lacks a key, was changed or is of another run; names the file.
    """
    if not file.is_file():
        return None
    found = read_json(file)
    if not isinstance(found, dict) or not found.keys() >= KEYS:
        raise ValueError(f"{file} must have the keys {', '.join(sorted(KEYS))}")
    is_same = found.pop(CHECKSUM, _checksum(found)) == _checksum(found)
    hashes = {found.get("configuration_hash"), planned} - {None}
    if is_same and len(hashes) < 2:
        return found
    advice = "put the original there, or move it away to resume from the checkpoint"
    raise ValueError(f"{file} was changed, or is of another run: {advice}")


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
