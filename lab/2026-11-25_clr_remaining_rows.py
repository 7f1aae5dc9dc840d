"""CLR's CIFAR-10 rows beside Table 1: what each ends at, and at the end of its last whole cycle.

Question: does the order of the images explain triangular2's gap, and an older Caffe RMSProp's?
Reads: results/clr_cifar10/runs.csv
Command: python lab/2026-11-25_clr_remaining_rows.py
"""

import csv
from pathlib import Path
from statistics import fmean

RUNS = Path(__file__).parents[1] / "results/clr_cifar10/runs.csv"
ORDER = {  # row: its number in the paper and the seeds that had run
    "triangular2": (81.4, (0, 1, 2)),
    "triangular2_shuffled": (81.4, (0, 1, 2)),
    "fixed": (81.4, (0, 1, 2)),
    "fixed_shuffled": (81.4, (0,)),
}
SINGLE = {  # row, seed 0: its number in the paper
    "rmsprop_fixed_70000": 75.2,
    "rmsprop_fixed_70000_decay_0": 75.2,
    "rmsprop_triangular_25000": 72.8,
    "rmsprop_triangular_25000_decay_0": 72.8,
    "rmsprop_triangular_25000_staged_decay_0": 72.8,
    "rmsprop_triangular_70000": 75.1,
    "rmsprop_triangular_70000_decay_0": 75.1,
    "adadelta_fixed_70000": 67.3,
    "adadelta_triangular_25000": 67.3,
    "adadelta_triangular_25000_example": 67.3,
    "adam_triangular_25000": 79.8,
    "adam_triangular_25000_staged": 79.8,
    "nesterov_triangular_25000_staged": 81.3,
    "triangular": 81.4,
    "triangular_divided": 81.4,
    "triangular_staged": 81.4,
    "exp_range_stepsize_6_epochs": 82.2,
    "exp_range_amplitude": 82.2,
    "exp_range_70000": None,
    "triangular2_stepsize_2_epochs": None,
    "triangular2_stepsize_4_epochs": None,
    "triangular2_stepsize_8_epochs": None,
}

with RUNS.open(newline="") as file:
    RUN = {(run["experiment"], int(run["seed"])): run for run in csv.DictReader(file)}


def accuracy(row: str, at: str, seed: int = 0) -> float:
    """Return one run's test accuracy in %."""
    return float(RUN[f"clr/cifar10_{row}", seed][f"test_accuracy_pct@{at}"])


print("| row | paper | each seed | mean | mean - paper |")
print("| :--- | ---: | :--- | ---: | ---: |")
for row, (paper, seeds) in ORDER.items():
    ends = [accuracy(row, "final", seed) for seed in seeds]
    each = ", ".join(f"{end:.2f}" for end in ends)
    print(f"| {row} | {paper} | {each} | {fmean(ends):.2f} | {fmean(ends) - paper:+.2f} |")
print()
print("| row (seed 0) | paper | updates | at the end | last whole cycle | best |")
print("| :--- | ---: | ---: | ---: | ---: | ---: |")
for row, paper in SINGLE.items():
    updates = int(RUN[f"clr/cifar10_{row}", 0]["updates"])
    at = " | ".join(f"{accuracy(row, where):.2f}" for where in ("final", "recommended", "best"))
    print(f"| {row} | {paper or ''} | {updates:,} | {at} |".replace("|  |", "| |"))
