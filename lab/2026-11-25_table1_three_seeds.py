"""CLR's Table 1 on CIFAR-10 at full length, three seeds: ends, cycles' ends and the jump.

Question: do the rows of Table 1 end at their numbers, and where does each differ from the paper?
Reads: results/clr_cifar10 (runs.csv, curves)
Command: python lab/2026-11-25_table1_three_seeds.py
"""

import csv
from pathlib import Path
from statistics import fmean

RESULTS = Path(__file__).parents[1] / "results/clr_cifar10"
PAPER = {"fixed": 81.4, "triangular2": 81.4, "decay": 78.5, "exp": 79.1, "exp_range": 82.2}
PLACES = {"triangular2": (16_000, 17_000, 18_000), "exp_range": (40_000, 42_000)}
SEEDS = (0, 1, 2)

with (RESULTS / "runs.csv").open(newline="") as file:
    RUN = {(run["experiment"], int(run["seed"])): run for run in csv.DictReader(file)}

print("| row | paper | seed 0 | seed 1 | seed 2 | mean - paper | highest - lowest |")
print("| :--- | ---: | ---: | ---: | ---: | ---: | ---: |")
for row, paper in PAPER.items():
    ends = [float(RUN[f"clr/cifar10_{row}", s]["test_accuracy_pct@final"]) for s in SEEDS]
    each = " | ".join(f"{end:.2f}" for end in ends)
    spread = max(ends) - min(ends)
    print(f"| {row} | {paper} | {each} | {fmean(ends) - paper:+.2f} | {spread:.2f} |")
print()
print("| row | update | seed 0 | seed 1 | seed 2 |")
print("| :--- | ---: | ---: | ---: | ---: |")
for row, updates in PLACES.items():
    with (RESULTS / f"curves/clr__cifar10_{row}.csv").open(newline="") as file:
        measured = {
            (int(line["update"]), int(line["seed"])): line["test_accuracy_pct"]
            for line in csv.DictReader(file)
        }
    for update in updates:
        each = " | ".join(f"{float(measured[update, seed]):.2f}" for seed in SEEDS)
        print(f"| {row} | {update:,} | {each} |")
