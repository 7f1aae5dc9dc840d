"""Statistics over the subjects of an EEG campaign: coverage of the interval, and what it shows.

``python benchmarks/subjects.py`` prints two tables and writes them into ``docs/eeg.md``: how often
three intervals of a median hold it, in simulation of the product's own functions, and the rows of
``results/eeg_small`` against the reference and against each other.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anneal.io.files import renew_page
from anneal.io.terminal import command, say
from anneal.io.text import Alignment, markdown_table
from anneal.results.equivalence import LEVEL
from anneal.results.metrics import Evidence
from anneal.results.statistics import (
    Interval,
    flips_depth,
    median_depth,
    median_interval,
    subset_means,
)
from anneal.results.store import load_results

PAGE, RESULTS = Path("docs/eeg.md"), Path("results/eeg_small")
SUBJECTS = (9, 14)  # of PhysioNet's here, of the High-Gamma data set
REPETITIONS, SEED, RESAMPLES = 4000, 0, 999
CHUNK = 200  # repetitions at a time
AT_ONCE = 10  # of these, for all subsets: 14 subjects have 16,383
TRIALS = 15  # to test with, of each subject of PhysioNet's

Numbers = NDArray[np.float64]


def draw(spread: str, shape: tuple[int, int], rng: np.random.Generator) -> Numbers:
    """Return differences, repetitions x subjects, whose true median is 0."""
    if spread == "normal":
        return rng.standard_normal(shape)
    if spread == "heavy tails":
        return rng.standard_t(3, shape)
    if spread == "skewed":
        return rng.exponential(size=shape) - np.log(2)
    accuracy = rng.uniform(0.5, 1.0, shape)  # of both classifiers alike
    first, second = (rng.binomial(TRIALS, accuracy) for _ in range(2))
    return 100 * (first - second) / TRIALS


SPREADS = ("normal", "heavy tails", "skewed", f"of {TRIALS} test trials")


def coverage(spread: str, n: int, *, repetitions: int = REPETITIONS) -> dict[str, float]:
    """Return how often, in percent, each interval holds the true median."""
    rng = np.random.default_rng([SEED, n, SPREADS.index(spread)])
    depth, flips = median_depth(n, confidence=LEVEL), flips_depth(n, confidence=LEVEL)
    tail = (1 - LEVEL) / 2
    held: dict[str, list[NDArray[np.bool_]]] = {"sign test": [], "sign flips": [], "bootstrap": []}
    for _ in range(repetitions // CHUNK):
        values = draw(spread, (CHUNK, n), rng)
        ordered = np.sort(values, axis=1)
        held["sign test"].append(_holds(ordered[:, depth - 1], ordered[:, -depth]))
        for few in np.split(values, CHUNK // AT_ONCE):
            means = np.partition(subset_means(few), (flips - 1, -flips), axis=1)
            held["sign flips"].append(_holds(means[:, flips - 1], means[:, -flips]))
        drawn = rng.integers(n, size=(CHUNK, RESAMPLES, n))
        medians = _medians(values, drawn)
        held["bootstrap"].append(_holds(*np.quantile(medians, [tail, 1 - tail], axis=1)))
    return {name: 100 * float(np.concatenate(found).mean()) for name, found in held.items()}


def _medians(values: Numbers, drawn: NDArray[np.int64]) -> Numbers:
    """Return the median of each sample of subjects: of their ranks, which are sorted faster."""
    ordered, n = np.sort(values, axis=1), values.shape[1]
    ranks = np.argsort(np.argsort(values, axis=1), axis=1).astype(np.uint8)
    found = np.sort(np.take_along_axis(ranks[:, None], drawn, axis=2), axis=2).astype(np.int64)
    middle = [np.take_along_axis(ordered, found[..., k], axis=1) for k in ((n - 1) // 2, n // 2)]
    return np.asarray(np.mean(middle, axis=0), dtype=np.float64)


def _holds(low: Numbers, high: Numbers) -> NDArray[np.bool_]:
    return (low <= 0) & (high >= 0)


def coverage_table() -> str:
    """Return the coverage of a 90 % interval, in percent."""
    header = ["differences", "subjects", "sign test (used)", "sign flips of means", "bootstrap"]
    rows = []
    for spread in SPREADS:
        for n in SUBJECTS:
            found = coverage(spread, n)
            rows.append([spread, str(n), *(f"{value:.1f}" for value in found.values())])
    return markdown_table(header, rows, sides=["left", *["right"] * 4])


ROWS = (  # label, experiment, metric of the error
    ("0.025, drops, 30 epochs", "sgdr/eegbci_default_lr_0.025_30", "final"),
    ("0.025, drops, 60 epochs", "sgdr/eegbci_default_lr_0.025_60", "final"),
    ("0.025, drops, 120 epochs", "sgdr/eegbci_default_lr_0.025_120", "final"),
    ("0.025, restarts, 150 epochs", "sgdr/eegbci_sgdr_lr_0.025", "final"),
    ("0.025, 2 averaged snapshots", "sgdr/eegbci_sgdr_lr_0.025", "ensemble_1x2"),
    ("0.05, drops, 30 epochs", "sgdr/eegbci_default_lr_0.05_30", "final"),
    ("0.05, drops, 60 epochs", "sgdr/eegbci_default_lr_0.05_60", "final"),
    ("0.05, drops, 120 epochs", "sgdr/eegbci_default_lr_0.05_120", "final"),
    ("0.05, restarts, 150 epochs", "sgdr/eegbci_sgdr_lr_0.05", "final"),
    ("0.05, 2 averaged snapshots", "sgdr/eegbci_sgdr_lr_0.05", "ensemble_1x2"),
    ("both rates, 2 snapshots each", "sgdr/eegbci_sgdr_both_rates", "ensemble_2x2"),
)
REFERENCE = "sgdr/eegbci_reference"
ORDERS = (  # what is said to err less, and than what; places in ROWS
    (4, 3), (9, 8), (10, 3), (10, 8), (10, 4), (10, 9),
)  # fmt: skip


def results_table() -> str:
    """Return each row's error, and what it is less the reference's and other rows'."""
    results = load_results(RESULTS)
    if results is None:
        raise ValueError(f"{RESULTS}: no results here")
    evidence = results.evidence()
    reference = evidence[REFERENCE].values("test_error_pct@final")
    header = ["", "subjects", "seeds", "median error (%)", "less the reference's (points)"]
    sides: list[Alignment] = ["left", *["right"] * 4]  # type: ignore[list-item]
    rows = [["FBCSP, the reference", str(len(reference)), "", _median(reference), ""]]
    for label, name, moment in ROWS:
        errors = evidence[name].values(f"test_error_pct@{moment}")
        found = differences(errors, reference)
        seeds = str(len(next(iter(evidence[name].subjects.values())).runs))
        rows.append([label, str(found.n), seeds, _median(errors), interval_words(found)])
    first = markdown_table(header, rows, sides=sides)
    header = ["errs less than", "subjects", "difference (points), below 0: as the paper has it"]
    rows = []
    for better, worse in ORDERS:
        both = [_errors(evidence, place) for place in (better, worse)]
        found = differences(*both)
        what = f"{ROWS[better][0]} < {ROWS[worse][0]}"
        rows.append([what, str(found.n), interval_words(found)])
    return f"{first}\n\n{markdown_table(header, rows, sides=['left', 'right', 'right'])}"


def _errors(evidence: Mapping[str, Evidence], place: int) -> dict[int, float]:
    _, name, moment = ROWS[place]
    return evidence[name].values(f"test_error_pct@{moment}")


def differences(errors: Mapping[int, float], other: Mapping[int, float]) -> Interval:
    """Return the median over subjects of a difference, with its interval."""
    shared = sorted(errors.keys() & other.keys())
    return median_interval([errors[n] - other[n] for n in shared], confidence=LEVEL)


def interval_words(found: Interval) -> str:
    """Return a median with its interval."""
    ends = "" if found.low is None else f" [{found.low:+.1f}, {found.high:+.1f}]"
    return f"{found.mean:+.1f}{ends}"


def _median(errors: Mapping[int, float]) -> str:
    return f"{np.median([*errors.values()]):.1f}"


@command()
def main(arguments: list[str]) -> None:
    """Print both tables and write them into the page."""
    if arguments:
        raise ValueError(f"subjects takes no arguments, got {arguments}")
    about = f"`python benchmarks/subjects.py`: {REPETITIONS:,} repetitions, seed {SEED}, percent."
    blocks = {"coverage": f"{about}\n\n{coverage_table()}", "eeg-small": results_table()}
    for body in blocks.values():
        say(body)
    renew_page(PAGE, blocks)


if __name__ == "__main__":
    main()
