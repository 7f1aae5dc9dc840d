"""Seeded, stratified splits."""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt


def stratified_split(
    labels: npt.NDArray[np.int64], *, fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Set a fraction of the images aside, as evenly over the classes as whole images allow.

    The number set aside is ``ceil(fraction * len(labels))``. Classes get their share by largest
    remainder (the smaller label where remainders tie), so the counts do not depend on the seed. The
    last image of a class is never set aside.

    Args:
        labels: of all images, 0..classes - 1.
        fraction: to set aside, in (0, 1), taken as the decimal that was written.
        seed: of the choice within each class.

    Returns:
        Indices that stay and indices set aside, each ascending.

    Raises:
        ValueError: the classes are too small for such a split.

    >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> kept, aside = stratified_split(labels, fraction=0.25, seed=0)
    >>> labels[kept].tolist(), labels[aside].tolist()
    ([0, 0, 0, 1, 1, 1], [0, 1])
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction to set aside must be in (0, 1), got {fraction}")
    exact = Fraction(str(float(fraction)))
    counts = [int(count) for count in np.bincount(labels)]
    num_aside = math.ceil(exact * len(labels))
    shares = [math.floor(exact * count) for count in counts]
    by_remainder = sorted(
        range(len(counts)), key=lambda label: (shares[label] - exact * counts[label], label)
    )
    missing = num_aside - sum(shares)
    for label in by_remainder:
        if missing and shares[label] < counts[label] - 1:
            shares[label] += 1
            missing -= 1
    if missing or num_aside == len(labels):
        raise ValueError(
            f"cannot set {fraction:g} of {len(labels)} images in {len(counts)} classes aside: "
            "each class must keep one"
        )
    rng = np.random.default_rng([seed, 0x5B117])  # a stream of its own
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[:share]
        for label, share in enumerate(shares)
    ]
    aside = np.sort(np.concatenate(chosen))
    kept = np.setdiff1d(np.arange(len(labels)), aside, assume_unique=True)
    return kept, aside
