"""Bounds that training raises: is a candidate better at higher rates than a range test gave?

On an easy task the accuracy of a sweep stops rising because the task is learnt, not because the
rate is too high; its rules then read bounds that are too low, the lower the longer the sweep (lab
book, 2026-11-28, MNIST). So one candidate is also trained at three times the bounds, and at three
times these, as long as that is better on the held-out images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from anneal.advise.candidates import clearly_above
from anneal.results.statistics import paired_interval

FACTOR: Final = 3
Accuracies = Mapping[int, float | None]  # seed -> held-out accuracy, 0..100; None: diverged


@dataclass(frozen=True, kw_only=True)
class Higher:
    """One candidate at multiples of the range test's bounds.

    Args:
        candidate: its name.
        accuracies_pct: factor, from 1 up -> seed -> held-out accuracy, 0..100; None: diverged.
        factor: of the bounds that are kept.
    """

    candidate: str
    accuracies_pct: Mapping[int, Accuracies]
    factor: int

    @property
    def num_more(self) -> int:
        """Trials of one seed that no candidate's own trial is."""
        return len(self.accuracies_pct) - 1

    @property
    def words(self) -> str:
        """What each multiple reached, as a clause."""
        reached = [
            f"{_mean_words(accuracies)} at {_times(factor)}"
            for factor, accuracies in self.accuracies_pct.items()
        ]
        return f"{self.candidate} reached {', '.join(reached)}"


def try_higher(
    candidate: str,
    train: Callable[[int], Accuracies],
    *,
    raises: int,
    resolution_pct: float,
) -> Higher:
    """Train a candidate at 1, 3, 9, ... times the bounds, as long as the last step was better.

    A step is better if no seed diverged, the 95 % interval of its gain, paired by seed, is above 0
    and the gain is more than one image. If a seed diverges at the bounds themselves, they stay.

    >>> seen = {1: {0: 88.0, 1: 89.0}, 3: {0: 95.0, 1: 95.9}, 9: {0: 95.1, 1: 95.7}}
    >>> try_higher("cosine", seen.get, raises=3, resolution_pct=0.1).factor
    3

    Args:
        candidate: its name.
        train: factor of the bounds -> accuracies of the same seeds.
        raises: the most steps.
        resolution_pct: accuracy of one held-out image, 0..100.
    """
    found, factor = {1: train(1)}, 1
    for _ in range(raises):
        found[FACTOR * factor] = train(FACTOR * factor)
        if not _is_better(found[FACTOR * factor], found[factor], resolution_pct):
            break
        factor *= FACTOR
    return Higher(candidate=candidate, accuracies_pct=found, factor=factor)


def _is_better(higher: Accuracies, lower: Accuracies, resolution_pct: float) -> bool:
    pairs = [(higher[seed], value) for seed, value in lower.items()]
    gains = [a - b for a, b in pairs if a is not None and b is not None]
    if len(gains) < len(pairs):
        return False
    return clearly_above(paired_interval(gains), resolution_pct)


def _mean_words(accuracies: Accuracies) -> str:
    whole = [value for value in accuracies.values() if value is not None]
    if len(whole) < len(accuracies):
        return f"{len(accuracies) - len(whole)} of {len(accuracies)} seeds diverged"
    return f"{sum(whole) / len(whole):.2f} %"


def _times(factor: int) -> str:
    return "the range test's bounds" if factor == 1 else f"{factor} times these"
