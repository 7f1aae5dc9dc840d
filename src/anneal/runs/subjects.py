"""Subjects of an experiment: the level between experiment and seed.

An experiment on signals with several subjects is one experiment for each, named
``<experiment>/subject-<nn>``: run directories, records and rows of ``results/`` carry that name.
"""

import dataclasses

from anneal.config.schema import ExperimentConfig
from anneal.datasets.identity import of_subject

_PREFIX = "subject-"


def subjects_of(experiment: ExperimentConfig) -> tuple[int, ...]:
    """Return the subjects that it trains apart from each other; none where it is one set."""
    signal = experiment.dataset.signal
    return () if signal is None or len(signal.subjects) == 1 else signal.subjects


def of_each_subject(experiment: ExperimentConfig) -> list[ExperimentConfig]:
    """Return the experiment of each subject; the experiment itself where it is one set."""
    subjects = subjects_of(experiment)
    return [_of_subject(experiment, subject) for subject in subjects] or [experiment]


def subject_name(experiment: str, subject: int) -> str:
    """Return the name of one subject of an experiment.

    >>> subject_name("sgdr/eeg", 3)
    'sgdr/eeg/subject-03'
    """
    return f"{experiment}/{_PREFIX}{subject:02d}"


def split_name(name: str) -> tuple[str, int | None]:
    """Return an experiment and the number of its subject; None where it names none.

    >>> split_name("sgdr/eeg/subject-03"), split_name("sgdr/eeg")
    (('sgdr/eeg', 3), ('sgdr/eeg', None))
    """
    experiment, _, last = name.rpartition("/")
    number = last.removeprefix(_PREFIX)
    if last == number or not number.isdigit():
        return name, None
    return experiment, int(number)


def find_subject(experiment: ExperimentConfig, subject: int) -> ExperimentConfig:
    """Return the experiment of one of its subjects.

    Raises:
        ValueError: it has no such subject.
    """
    subjects = subjects_of(experiment)
    if subject not in subjects:
        raise ValueError(
            f"{experiment.name} has no subject {subject}; its subjects are "
            f"{', '.join(map(str, subjects)) or 'not several'}"
        )
    return _of_subject(experiment, subject)


def _of_subject(experiment: ExperimentConfig, subject: int) -> ExperimentConfig:
    return dataclasses.replace(
        experiment,
        name=subject_name(experiment.name, subject),
        title=f"{experiment.title}, subject {subject}",
        dataset=of_subject(experiment.dataset, subject),
    )
