"""Simulated recordings: a rhythm for each class over 1/f noise, mixed in space.

Each sensor is a mixture of as many sources of 1/f noise. During a trial of class k, source k has a
rhythm besides, whose amplitude is ``strength`` standard deviations of the source. With a strength
of 0 there is nothing to learn.
"""

import numpy as np

from anneal.config.schema import DatasetConfig
from anneal.config.signals import SimulationConfig
from anneal.datasets.archives import Paths
from anneal.datasets.eeg.preprocessing import Floats, Recording, read_preprocessing
from anneal.datasets.eeg.signal_set import (
    SubjectReader,
    place_of,
    refuse_keys,
    signal_of,
)
from anneal.datasets.eeg.trial_store import StoredTrials, stored_trials

TRIAL_S, PAUSE_S = 4.0, 2.0
MICROVOLTS = 20.0  # standard deviation of a source


def _checked(config: DatasetConfig) -> DatasetConfig:
    refuse_keys(config, "task", "runs", "test_run")
    signal, place = signal_of(config), place_of(config)
    if signal.simulation is None:
        raise ValueError(f"{place}: dataset.signal.simulation must say what is made, got null")
    if signal.simulation.sensors < len(signal.classes):
        raise ValueError(
            f"{place}: dataset.signal.simulation.sensors must be at least the "
            f"{len(signal.classes)} classes, got {signal.simulation.sensors}"
        )
    if signal.simulation.rhythm_hz >= signal.simulation.sampling_hz / 2:
        raise ValueError(
            f"{place}: dataset.signal.simulation.rhythm_hz must be below half of sampling_hz, got "
            f"{signal.simulation.rhythm_hz:g}"
        )
    return config


def _store(config: DatasetConfig, subject: int, paths: Paths) -> StoredTrials:
    signal = signal_of(config)
    simulation = signal.simulation
    assert simulation is not None
    preprocessing = read_preprocessing(signal.preprocessing, where=place_of(config))

    def make() -> StoredTrials:
        made = {}
        for place, split in enumerate(("train", "test")):
            recording = simulate(
                simulation,
                classes=signal.classes,
                trials_per_class=(simulation.train_trials, simulation.test_trials)[place],
                subject=subject,
                recording=place,
            )
            made[split] = preprocessing(recording, signal.classes)
        return StoredTrials(
            splits={split: trials for split, (trials, _, _) in made.items()},
            sampling_hz=made["train"][2],
            channels=made["train"][1],
            checksums={},
        )

    return stored_trials(config, paths, files={}, make=make)


def simulate(
    simulation: SimulationConfig,
    *,
    classes: tuple[str, ...],
    trials_per_class: int,
    subject: int,
    recording: int,
) -> Recording:
    """Return one recording; its mixture is the subject's, its noise its own.

    Args:
        simulation: what is made.
        classes: names of the classes.
        trials_per_class: of each, in random order.
        subject: its number.
        recording: 0, 1, ...: different recordings of one subject.
    """
    mixing = mixing_of(simulation, subject)
    rng = np.random.default_rng([simulation.seed, subject, 1 + recording])
    hz = simulation.sampling_hz
    order = rng.permutation(np.repeat(np.arange(len(classes)), trials_per_class))
    onsets = PAUSE_S + np.arange(len(order), dtype=np.float64) * (TRIAL_S + PAUSE_S)
    length = round((onsets[-1] + TRIAL_S + PAUSE_S) * hz)
    sources = pink_noise(rng, simulation.sensors, length)
    during = np.arange(round(TRIAL_S * hz)) / hz
    for onset, label in zip(onsets, order, strict=True):
        phase = rng.uniform(0, 2 * np.pi)
        rhythm = np.sin(2 * np.pi * simulation.rhythm_hz * during + phase)
        first = round(onset * hz)
        sources[label, first : first + len(during)] += simulation.strength * rhythm
    return Recording(
        file=f"simulated subject {subject}",
        channels=tuple(f"E{number}" for number in range(1, simulation.sensors + 1)),
        values=MICROVOLTS * (mixing @ sources),
        sampling_hz=hz,
        onsets_s=onsets,
        labels=tuple(classes[label] for label in order),
        kept=np.ones(len(order), bool),
    )


def mixing_of(simulation: SimulationConfig, subject: int) -> Floats:
    """Return the mixture of a subject's sources, sensors in rows: random, of unit rows."""
    rng = np.random.default_rng([simulation.seed, subject, 0])
    mixing = rng.standard_normal((simulation.sensors, simulation.sensors))
    return np.asarray(mixing / np.linalg.norm(mixing, axis=1, keepdims=True))


def pink_noise(rng: np.random.Generator, rows: int, length: int) -> Floats:
    """Return noise whose power falls as 1/f, of mean 0 and standard deviation 1 in each row."""
    spectrum = rng.standard_normal((rows, length // 2 + 1)) + 1j * rng.standard_normal(
        (rows, length // 2 + 1)
    )
    frequency = np.arange(length // 2 + 1)
    spectrum[:, 1:] /= np.sqrt(frequency[1:])
    spectrum[:, 0] = 0
    noise = np.fft.irfft(spectrum, n=length, axis=1)
    return np.asarray(noise / noise.std(axis=1, keepdims=True))


READER = SubjectReader(check=_checked, store=_store)
