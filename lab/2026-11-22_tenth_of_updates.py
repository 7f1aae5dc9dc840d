"""CLR's Table 1 on CIFAR-10 at a tenth of the updates: accuracy and time of each row.

Question: what does Table 1 show at a tenth of the updates, and how long does it take?
Reads: results/clr_cifar10_short/runs.csv
Command: python lab/2026-11-22_tenth_of_updates.py
"""

import csv
from pathlib import Path

RUNS = Path(__file__).parents[1] / "results/clr_cifar10_short/runs.csv"

print("| row | updates | test accuracy at the end | seconds |")
print("| :--- | ---: | ---: | ---: |")
with RUNS.open(newline="") as file:
    for run in csv.DictReader(file):
        row = run["experiment"].removeprefix("clr/")
        accuracy = float(run["test_accuracy_pct@final"])
        print(f"| {row} | {int(run['updates']):,} | {accuracy:.2f} | {float(run['seconds']):.0f} |")
