"""Configuration of signals: recordings of brain activity, their preprocessing and crops."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from anneal.config.strict import NOT_NEGATIVE, POSITIVE, Rule, one_of

SOME_DIFFERENT = Rule(
    "must be one or more different positive whole numbers",
    lambda v: 0 < len(v) == len(set(v)) and all(number > 0 for number in v),
)
TWO_CLASSES = Rule(
    "must name two or more different classes", lambda v: len(v) == len(set(v)) and len(v) > 1
)
TASKS = {  # of PhysioNet's executed movements: runs
    "fists": (3, 7, 11),
    "feet": (5, 9, 13),
    "both": (3, 5, 7, 9, 11, 13),
}


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """Recordings that are made here: a rhythm for each class over 1/f noise, mixed in space."""

    sensors: Annotated[int, POSITIVE]
    train_trials: Annotated[int, POSITIVE]  # of each class
    test_trials: Annotated[int, POSITIVE]
    strength: Annotated[float, NOT_NEGATIVE]  # of the rhythm, over the sd of its source; 0: chance
    rhythm_hz: Annotated[float, POSITIVE]
    sampling_hz: Annotated[float, POSITIVE]
    seed: Annotated[int, NOT_NEGATIVE]


@dataclass(frozen=True, kw_only=True)
class SignalConfig:
    """Whose recordings, how they become trials, and which part of a trial an update sees.

    A run has one subject; an experiment with several trains a run of each with each seed.
    """

    subjects: Annotated[tuple[int, ...], SOME_DIFFERENT]
    classes: Annotated[tuple[str, ...], TWO_CLASSES]  # in the order of the labels
    preprocessing: tuple[Mapping[str, Any], ...]  # steps in order: datasets.eeg.preprocessing
    crop_samples: Annotated[int | None, POSITIVE]  # of a window drawn per update; None: whole
    task: Annotated[str | None, one_of(*TASKS)] = None  # eegbci
    runs: Annotated[tuple[int, ...] | None, SOME_DIFFERENT] = None  # eegbci; None: the task's
    test_run: Annotated[int | None, POSITIVE] = None  # eegbci: the run to test on; None: the last
    simulation: SimulationConfig | None = None  # simulated_eeg
