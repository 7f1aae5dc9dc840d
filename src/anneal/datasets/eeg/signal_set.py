"""One subject's trials as a data set: identity, splits, and the rules of its configuration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anneal.config.schema import DatasetConfig, SignalConfig
from anneal.datasets.archives import Paths
from anneal.datasets.eeg.trial_store import StoredTrials
from anneal.datasets.identity import of_subject

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData

Store = Callable[[DatasetConfig, int], StoredTrials]  # configuration of one subject, its number


@dataclass(frozen=True)
class SubjectReader:
    """Reader of a source that has a set for each subject.

    Args:
        check: returns a configuration that the source can read; refuses any other.
        store: returns the trials of one subject, from its configuration and number.
    """

    check: Callable[[DatasetConfig], DatasetConfig]
    store: Callable[[DatasetConfig, int, Paths], StoredTrials]

    def identify(self, config: DatasetConfig, paths: Paths, /) -> dict[str, Any]:
        """Return the identity; recordings are downloaded when they are not here."""
        return identify_subjects(self.check(config), lambda one, n: self.store(one, n, paths))

    def load(self, config: DatasetConfig, paths: Paths, /) -> "ImageData":
        """Return the trials of one subject."""
        return load_subject(self.check(config), lambda one, n: self.store(one, n, paths))


def signal_of(config: DatasetConfig) -> SignalConfig:
    """Return the section ``signal``.

    Raises:
        ValueError: there is none.
    """
    if config.signal is None:
        raise ValueError(f"{place_of(config)}: dataset.signal must say what source {config.source}"
                         " reads, got null")  # fmt: skip
    return config.signal


def place_of(config: DatasetConfig) -> str:
    """Return the file that a person would edit."""
    return f"conf/dataset/{config.name}.yaml (or an override)"


def check_subjects(config: DatasetConfig, *, last: int) -> None:
    """Refuse a subject that the set does not have.

    Raises:
        ValueError: names the key and the rule.
    """
    for subject in signal_of(config).subjects:
        if subject > last:
            raise ValueError(
                f"{place_of(config)}: dataset.signal.subjects must be of 1 to {last}, got {subject}"
            )


def refuse_keys(config: DatasetConfig, *keys: str) -> None:
    """Refuse keys of ``signal`` that another source reads.

    Raises:
        ValueError: one is not null; names it.
    """
    signal = signal_of(config)
    for key in keys:
        if getattr(signal, key) is not None:
            raise ValueError(
                f"{place_of(config)}: dataset.signal.{key} must be null for source "
                f"{config.source}, got {getattr(signal, key)!r}"
            )


def identify_subjects(config: DatasetConfig, store: Store) -> dict[str, Any]:
    """Return the identity of one subject's set; of several, each under its number.

    Raises:
        ValueError: a class has no trial left; names it.
    """
    subjects = signal_of(config).subjects
    found = {str(subject): _identity(config, subject, store) for subject in subjects}
    if len(subjects) == 1:
        return found[str(subjects[0])]
    return {"name": config.name, "source": config.source, "subjects": found}


def load_subject(config: DatasetConfig, store: Store) -> "ImageData":
    """Return the one subject's trials in memory.

    Raises:
        ValueError: there are several subjects, or too few trials.
    """
    import torch

    from anneal.datasets.image_data import GIB, ImageData, Split

    signal = signal_of(config)
    if len(signal.subjects) != 1:
        raise ValueError(
            f"{place_of(config)}: dataset.signal.subjects must be one subject for one run, as "
            f"[{signal.subjects[0]}], got {list(signal.subjects)}"
        )
    stored = store(config, signal.subjects[0])
    needed = sum(trials.signals.nbytes for trials in stored.splits.values()) / GIB
    if needed > config.memory_gib:
        raise ValueError(
            f"{place_of(config)}: dataset.memory_gib: the trials need {needed:.3g} GiB, more than "
            f"{config.memory_gib:g}; signals are kept in memory"
        )
    splits = {
        name: Split(torch.from_numpy(trials.signals), torch.from_numpy(trials.labels))
        for name, trials in stored.splits.items()
    }
    return ImageData(
        name=config.name,
        train=splits["train"],
        test=splits["test"],
        class_names=signal.classes,
        identity=_describe(config, stored),
    )


def _identity(config: DatasetConfig, subject: int, store: Store) -> dict[str, Any]:
    return _describe(config, store(of_subject(config, subject), subject))


def _describe(config: DatasetConfig, stored: StoredTrials) -> dict[str, Any]:
    """Return the identity as plain data, with the same keys as that of images."""
    signal = signal_of(config)
    shape = stored.splits["train"].signals.shape[1:]
    check_trials(config, stored)
    return {
        "name": config.name,
        "source": config.source,
        "num_classes": len(signal.classes),
        "class_names": list(signal.classes),
        "image_shape": list(shape),
        "sampling_hz": stored.sampling_hz,
        "splits": {
            split: {
                "num_images": len(trials.labels),
                "images_per_class": _count(trials.labels, len(signal.classes)),
                "rejected": trials.rejected,
                "outside": trials.outside,
            }
            for split, trials in stored.splits.items()
        },
        "checksums": dict(stored.checksums),
    }


def check_trials(config: DatasetConfig, stored: StoredTrials) -> None:
    """Refuse trials that cannot be trained on or tested with.

    Raises:
        ValueError: a class has no trial left, or a crop is longer than a trial.
    """
    signal, place = signal_of(config), place_of(config)
    for split, trials in stored.splits.items():
        counts = _count(trials.labels, len(signal.classes))
        empty = [name for name, count in zip(signal.classes, counts, strict=True) if not count]
        if empty:
            raise ValueError(
                f"{place}: subject {signal.subjects[0]} has no {split} trial of "
                f"{', '.join(empty)}: {trials.rejected} were rejected, {trials.outside} are not "
                "all in the recording; raise above_uv or leave the subject out"
            )
    samples = stored.splits["train"].signals.shape[2]
    if signal.crop_samples is not None and signal.crop_samples > samples:
        raise ValueError(
            f"{place}: dataset.signal.crop_samples must be at most the {samples} samples of the "
            f"window, got {signal.crop_samples}"
        )


def _count(labels: npt.NDArray[np.int64], classes: int) -> list[int]:
    return [int(n) for n in np.bincount(labels, minlength=classes)]


def check_different(files: Mapping[str, str], *, names: Sequence[str]) -> None:
    """Refuse two files of equal content that should differ.

    Args:
        files: name -> checksum.
        names: of the files, for the message.

    Raises:
        ValueError: says that one has overwritten the other.
    """
    if len(set(files.values())) < len(files):
        raise ValueError(
            f"{' and '.join(names)} are the same file, so that the test trials would be training "
            "trials; older downloads wrote both under one name: delete both to have them "
            "downloaded again"
        )
