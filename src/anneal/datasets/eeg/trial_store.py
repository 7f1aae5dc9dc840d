"""Trials kept as arrays, so that a second start reads no EDF file.

``<data>/signals/<hash>/`` holds ``train.npy``, ``test.npy`` and ``trials.json``. The hash is of the
settings that make trials and of the sha256 of each file; ``trials.json`` repeats both.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anneal.config.schema import DatasetConfig
from anneal.config.strict import configuration_hash, to_plain
from anneal.datasets.archives import Paths, lock, temporary_folder, writing
from anneal.datasets.eeg.preprocessing import Trials
from anneal.io.files import read_json, write_json

VERSION = 1  # of the meaning of the settings; a new one rebuilds every array
FOLDER = "signals"
_SPLITS = ("train", "test")
_CHECKSUMS = "checksums.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredTrials:
    """Trials of one subject, and where they come from.

    Args:
        splits: ``train`` and ``test``.
        sampling_hz: samples in a second, after preprocessing.
        channels: names, in the order of the rows.
        checksums: ``sha256:<digits>`` of each file.
    """

    splits: Mapping[str, Trials]
    sampling_hz: float
    channels: tuple[str, ...]
    checksums: Mapping[str, str]


def settings_of(config: DatasetConfig) -> dict[str, Any]:
    """Return what changes trials: the source and everything of ``signal`` but the crop."""
    return {
        "version": VERSION,
        "source": config.source,
        "signal": {k: v for k, v in to_plain(config.signal).items() if k != "crop_samples"},
    }


def stored_trials(
    config: DatasetConfig,
    paths: Paths,
    *,
    files: Mapping[str, Path],
    make: Callable[[], StoredTrials],
) -> StoredTrials:
    """Return the trials of a configuration: those kept on disk, or made now and kept.

    Args:
        config: source and ``signal``.
        paths: the data folder takes the arrays.
        files: name -> file that they are made from; none for a simulation.
        make: makes them when they are not there; ``checksums`` are filled in here.

    Raises:
        ValueError: arrays on disk are of other settings, or unreadable; names the folder.
        OSError: the disk refused.
    """
    checksums = checksums_of(files, paths.data)
    settings = settings_of(config) | {"checksums": checksums}
    folder = paths.data / FOLDER / configuration_hash(settings)
    if folder.is_dir():
        return _read(folder, settings)
    with lock(paths.data, f"{FOLDER}-{folder.name}"):
        if not folder.is_dir():
            _write(make(), settings, folder, paths.data)
    return _read(folder, settings)


def checksums_of(files: Mapping[str, Path], data: Path) -> dict[str, str]:
    """Return ``sha256:<digits>`` of each file; one that has not changed is not read again."""
    if not files:
        return {}
    index = data / FOLDER / _CHECKSUMS
    known: dict[str, Any] = read_json(index) if index.is_file() else {}
    found, changed = {}, False
    for name, path in files.items():
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns]
        entry = known.get(str(path.resolve()))
        if entry is None or entry["state"] != state:
            with path.open("rb") as file:
                entry = {"state": state, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
            known[str(path.resolve())] = entry
            changed = True
        found[name] = f"sha256:{entry['sha256']}"
    if changed:
        with writing(index):
            index.parent.mkdir(parents=True, exist_ok=True)
            write_json(index, known)
    return found


def _write(made: StoredTrials, settings: Mapping[str, Any], folder: Path, data: Path) -> None:
    about: dict[str, Any] = {
        "settings": settings,
        "sampling_hz": made.sampling_hz,
        "channels": list(made.channels),
    }
    with temporary_folder(data) as temporary, writing(folder):
        ready = temporary / folder.name
        ready.mkdir()
        for split, trials in made.splits.items():
            np.save(ready / f"{split}.npy", trials.signals)
            about[split] = {
                "labels": trials.labels.tolist(),
                "rejected": trials.rejected,
                "outside": trials.outside,
            }
        (ready / "trials.json").write_text(json.dumps(about))
        folder.parent.mkdir(parents=True, exist_ok=True)
        ready.rename(folder)


def _read(folder: Path, settings: Mapping[str, Any]) -> StoredTrials:
    advice = "; delete that folder to have it made again"
    try:
        about = read_json(folder / "trials.json")
        if about["settings"] != json.loads(json.dumps(settings)):
            raise ValueError("its arrays are of other settings")
        splits = {split: _read_split(folder, split, about[split]) for split in _SPLITS}
    except (KeyError, TypeError, ValueError, OSError, EOFError) as error:
        raise ValueError(f"{folder}: {error}{advice}") from None
    return StoredTrials(
        splits=splits,
        sampling_hz=about["sampling_hz"],
        channels=tuple(about["channels"]),
        checksums=about["settings"]["checksums"],
    )


def _read_split(folder: Path, split: str, about: Mapping[str, Any]) -> Trials:
    signals: npt.NDArray[np.float32] = np.load(folder / f"{split}.npy")
    labels = np.array(about["labels"], np.int64)
    if signals.ndim != 3 or signals.dtype != np.float32 or len(signals) != len(labels):
        raise ValueError(f"{split}.npy does not go with trials.json")
    return Trials(
        signals=signals, labels=labels, rejected=about["rejected"], outside=about["outside"]
    )


def join(parts: Sequence[Trials]) -> Trials:
    """Return the trials of several recordings, one after the other."""
    return Trials(
        signals=np.concatenate([part.signals for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        rejected=sum(part.rejected for part in parts),
        outside=sum(part.outside for part in parts),
    )
