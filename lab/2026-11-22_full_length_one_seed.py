"""CLR's fixed, triangular2 and exp_range on CIFAR-10 at full length: the curves of seed 0.

Question: do the first three rows at full length follow the paper's Figure 1?
Reads: results/clr_cifar10/curves
Command: python lab/2026-11-22_full_length_one_seed.py
"""

import csv
from pathlib import Path

CURVES = Path(__file__).parents[1] / "results/clr_cifar10/curves"
PLACES = {
    "fixed": (59_000, 60_000, 61_000, 70_000),
    "triangular2": (16_000, 18_000, 25_000),
    "exp_range": (40_000, 42_000),
}

print("| row | update | rate | test accuracy |")
print("| :--- | ---: | ---: | ---: |")
for row, updates in PLACES.items():
    with (CURVES / f"clr__cifar10_{row}.csv").open(newline="") as file:
        lines = {int(r["update"]): r for r in csv.DictReader(file) if r["seed"] == "0"}
    for update in updates:
        line = lines[update]
        accuracy = float(line["test_accuracy_pct"])
        print(f"| {row} | {update:,} | {float(line['lr']):.2g} | {accuracy:.2f} |")
