"""PhysioNet's EEG of executed movements (Schalk et al. 2004): 109 subjects, 64 channels, 160 Hz.

Runs 3, 7 and 11: left or right fist; 5, 9 and 13: both fists or both feet; 15 trials each.
"""

from pathlib import Path

from anneal.config.schema import DatasetConfig
from anneal.config.signals import TASKS
from anneal.datasets.archives import Paths
from anneal.datasets.eeg.edf import read_edf, require_extra
from anneal.datasets.eeg.fetch import find_recordings
from anneal.datasets.eeg.preprocessing import Trials, read_preprocessing
from anneal.datasets.eeg.signal_set import (
    SubjectReader,
    check_subjects,
    place_of,
    refuse_keys,
    signal_of,
)
from anneal.datasets.eeg.trial_store import StoredTrials, join, stored_trials

NUM_SUBJECTS = 109
SAMPLING_HZ = 160.0
FOLDER = Path("MNE-eegbci-data/files/eegmmidb/1.0.0")
CUES = {  # run -> annotation -> class
    run: {"T1": "left_hand", "T2": "right_hand"}
    if run in TASKS["fists"]
    else {"T1": "hands", "T2": "feet"}
    for run in TASKS["both"]
}


def channel_name(name: str) -> str:
    """Return the name of a channel in the 10-10 system.

    >>> channel_name("Fcz."), channel_name("Af7."), channel_name("T10."), channel_name("Fp1.")
    ('FCz', 'AF7', 'T10', 'Fp1')
    """
    upper = name.strip(".").upper()
    return upper.replace("Z", "z").replace("FP", "Fp")


def split_runs(config: DatasetConfig) -> tuple[tuple[int, ...], int]:
    """Return the runs to train on and the one to test with.

    Raises:
        ValueError: a run is not of the task, or none is left to train on.
    """
    signal, place = signal_of(config), place_of(config)
    if signal.task is None:
        raise ValueError(
            f"{place}: dataset.signal.task must be one of {', '.join(TASKS)} for source "
            f"{config.source}, got null"
        )
    task = TASKS[signal.task]
    runs = sorted(signal.runs or task)
    tested = signal.test_run or runs[-1]
    for key, run in [*(("runs", run) for run in runs), ("test_run", tested)]:
        if run not in (task if key == "runs" else runs):
            raise ValueError(
                f"{place}: dataset.signal.{key} must be of "
                f"{', '.join(map(str, task if key == 'runs' else runs))} for task {signal.task}, "
                f"got {run}"
            )
    if len(runs) == 1:
        raise ValueError(
            f"{place}: dataset.signal.runs must be two or more, one of which is tested on, got "
            f"{runs[0]}"
        )
    return tuple(run for run in runs if run != tested), tested


def _checked(config: DatasetConfig) -> DatasetConfig:
    refuse_keys(config, "simulation")
    check_subjects(config, last=NUM_SUBJECTS)
    train, tested = split_runs(config)
    there = {name for run in (*train, tested) for name in CUES[run].values()}
    for name in signal_of(config).classes:
        if name not in there:
            raise ValueError(
                f"{place_of(config)}: dataset.signal.classes must be of "
                f"{', '.join(sorted(there))} for these runs, got {name!r}"
            )
    return config


def _store(config: DatasetConfig, subject: int, paths: Paths) -> StoredTrials:
    train, tested = split_runs(config)
    wanted = {f"run {run}": FOLDER / file_of(subject, run) for run in (*train, tested)}
    files = find_recordings(config.source, subject, wanted, paths)
    signal = signal_of(config)
    preprocessing = read_preprocessing(signal.preprocessing, where=place_of(config))

    def trials_of(run: int) -> tuple[Trials, tuple[str, ...], float]:
        recording = read_edf(
            files[f"run {run}"],
            sampling_hz=SAMPLING_HZ,
            rename=channel_name,
            classes=CUES[run],
        )
        return preprocessing(recording, signal.classes)

    def make() -> StoredTrials:
        require_extra(config.source)
        made = {run: trials_of(run) for run in (*train, tested)}
        _, channels, sampling_hz = made[tested]
        return StoredTrials(
            splits={"train": join([made[run][0] for run in train]), "test": made[tested][0]},
            sampling_hz=sampling_hz,
            channels=channels,
            checksums={},
        )

    return stored_trials(config, paths, files=files, make=make)


def file_of(subject: int, run: int) -> str:
    """Return the name of a run's file, with its folder.

    >>> file_of(1, 3)
    'S001/S001R03.edf'
    """
    return f"S{subject:03d}/S{subject:03d}R{run:02d}.edf"


READER = SubjectReader(check=_checked, store=_store)
