"""CLR's Table 1 on CIFAR-10 with three and with five seeds: mean, 95 % interval, joint interval.

Question: do two more seeds settle the claims on triangular2, decay and exp_range?
Reads: results/clr_cifar10/runs.csv
Command: python lab/2026-11-25_table1_five_seeds.py
"""

import csv
from pathlib import Path

from anneal.results.statistics import mean_interval

RUNS = Path(__file__).parents[1] / "results/clr_cifar10/runs.csv"
PAPER = {"triangular2": 81.4, "decay": 78.5, "exp_range": 82.2}
JUDGED_TOGETHER = 5  # claims of Table 1 on CIFAR-10, which share an error rate of 5 %

with RUNS.open(newline="") as file:
    RUN = {(run["experiment"], int(run["seed"])): run for run in csv.DictReader(file)}

print("| row | paper | seeds | mean | 95 % interval | half-width | 5 claims jointly |")
print("| :--- | ---: | ---: | ---: | :--- | ---: | :--- |")
for row, paper in PAPER.items():
    for num_seeds in (3, 5):
        accuracies = [
            float(RUN[f"clr/cifar10_{row}", seed]["test_accuracy_pct@final"])
            for seed in range(num_seeds)
        ]
        found = mean_interval(accuracies)
        joint = mean_interval(accuracies, confidence=1 - 0.05 / JUDGED_TOGETHER)
        print(
            f"| {row} | {paper} | {num_seeds} | {found.mean:.2f} "
            f"| {found.low:.2f} to {found.high:.2f} | {found.half_width:.2f} "
            f"| {joint.low:.2f} to {joint.high:.2f} |"
        )
