"""The High-Gamma data set (Schirrmeister et al. 2017): 14 subjects, 128 electrodes, 500 Hz.

Executed movements of right hand, left hand and feet, and rest. Each subject has two files: the
trials to train on and those of the last two runs, to test with.
"""

from pathlib import Path

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths
from anneal.datasets.eeg.edf import read_edf, require_extra
from anneal.datasets.eeg.fetch import find_recordings
from anneal.datasets.eeg.preprocessing import read_preprocessing
from anneal.datasets.eeg.signal_set import (
    SubjectReader,
    check_different,
    check_subjects,
    place_of,
    refuse_keys,
    signal_of,
)
from anneal.datasets.eeg.trial_store import StoredTrials, checksums_of, stored_trials

NUM_SUBJECTS = 14
SAMPLING_HZ = 500.0
CLASSES = ("right_hand", "left_hand", "rest", "feet")
BASE = Path("MNE-schirrmeister2017-data")
FOLDERS = (BASE / "robintibor/high-gamma-dataset/raw/master/data", BASE)  # the second is older
_SPLITS = ("train", "test")


def _checked(config: DatasetConfig) -> DatasetConfig:
    refuse_keys(config, "simulation", "task", "runs", "test_run")
    check_subjects(config, last=NUM_SUBJECTS)
    for name in signal_of(config).classes:
        if name not in CLASSES:
            raise ValueError(
                f"{place_of(config)}: dataset.signal.classes must be of {', '.join(CLASSES)}, got "
                f"{name!r}"
            )
    return config


def _store(config: DatasetConfig, subject: int, paths: Paths) -> StoredTrials:
    wanted = {split: FOLDERS[0] / split / f"{subject}.edf" for split in _SPLITS}
    older = {split: FOLDERS[1] / split / f"{subject}.edf" for split in _SPLITS}
    files = find_recordings(config.source, subject, wanted, paths, older=older)
    check_different(checksums_of(files, paths.data), names=[str(path) for path in files.values()])
    signal = signal_of(config)
    preprocessing = read_preprocessing(signal.preprocessing, where=place_of(config))

    def make() -> StoredTrials:
        require_extra(config.source)
        made = {
            split: preprocessing(read_edf(files[split], sampling_hz=SAMPLING_HZ), signal.classes)
            for split in _SPLITS
        }
        return StoredTrials(
            splits={split: trials for split, (trials, _, _) in made.items()},
            sampling_hz=made["train"][2],
            channels=made["train"][1],
            checksums={},
        )

    return stored_trials(config, paths, files=files, make=make)


READER = SubjectReader(check=_checked, store=_store)
