"""CLR, SGDR and super-convergence on small networks at small budgets, three seeds each.

Question: do small networks at a small budget show what the papers say?
Reads: results/{clr_resnet20_short,sgdr_wrn16_1_short,super_convergence_short}
Command: python lab/2026-11-22_small_networks.py
"""

import csv
import json
from pathlib import Path
from statistics import fmean

from anneal.results.statistics import paired_interval

RESULTS = Path(__file__).parents[1] / "results"
SEEDS = (0, 1, 2)
CAMPAIGNS = ("clr_resnet20_short", "sgdr_wrn16_1_short", "super_convergence_short")


def read(path: str) -> list[dict[str, str]]:
    """Return the lines of a table below results/."""
    with (RESULTS / path).open(newline="") as file:
        return list(csv.DictReader(file))


RUN = {
    (run["experiment"].split("/")[1], int(run["seed"])): run
    for campaign in CAMPAIGNS
    for run in read(f"{campaign}/runs.csv")
}


def accuracies(row: str, at: str = "final") -> list[float]:
    """Return a row's test accuracies in %, one a seed."""
    return [float(RUN[row, seed][f"test_accuracy_pct@{at}"] or "nan") for seed in SEEDS]


def difference(one: list[float], other: list[float]) -> str:
    """Return a paired difference with its 95 % interval."""
    found = paired_interval([a - b for a, b in zip(one, other, strict=True)])
    return f"{found.mean:.2f} ({found.low:.1f} to {found.high:.1f})"


def print_rows() -> None:
    """Print each row's updates, mean at the end and mean at the last whole cycle."""
    print("| row | updates | at the end, mean of 3 | last whole cycle, mean of 3 |")
    print("| :--- | ---: | ---: | ---: |")
    for row in dict.fromkeys(row for row, _ in RUN):
        updates = int(RUN[row, 0]["updates"])
        recommended = fmean(accuracies(row, "recommended"))
        cell = "" if recommended != recommended else f" {recommended:.2f}"
        print(f"| {row} | {updates:,} | {fmean(accuracies(row)):.2f} |{cell} |")


def print_differences() -> None:
    """Print the differences that the conclusion names."""
    cosine = accuracies("cifar10_wrn16_1_t0_200")
    restarts = accuracies("cifar10_wrn16_1_t0_10_x2", "recommended")
    drops = accuracies("cifar10_wrn16_1_default_0.05")
    clr, step = accuracies("cifar10_resnet20_clr"), accuracies("cifar10_resnet20_step")
    print("| difference of test accuracies in points | mean and 95 % interval |")
    print("| :--- | ---: |")
    print(f"| CLR - drops, ResNet-20 | {difference(clr, step)} |")
    print(f"| one cosine - drops, WRN-16-1 | {difference(cosine, drops)} |")
    print(
        f"| one cosine - T0 = 10, Tmult = 2 at its last restart | {difference(cosine, restarts)} |"
    )


def print_ensembles() -> None:
    """Print what more runs and what more snapshots of one run bring, T0 = 10, Tmult = 2."""
    accuracy = {
        (line["seeds"], line["num_snapshots"]): float(line["test_accuracy_pct"])
        for line in read("sgdr_wrn16_1_short/ensembles.csv")
        if line["experiment"].endswith("t0_10_x2")
    }
    one_run = [accuracy[seed, "1"] for seed in "012"]
    more_snapshots = [accuracy[seed, "3"] for seed in "012"]
    more_runs = accuracy["0+1+2", "1"]
    print("| ensembles of T0 = 10, Tmult = 2 | test accuracy |")
    print("| :--- | ---: |")
    print(f"| one run, one snapshot: seed 0 | {one_run[0]:.2f} |")
    print(f"| one run, one snapshot: mean of 3 seeds | {fmean(one_run):.2f} |")
    print(f"| three runs, one snapshot each | {more_runs:.2f} |")
    print(f"| the same - seed 0 | {more_runs - one_run[0]:+.2f} |")
    print(f"| the same - mean of 3 seeds | {more_runs - fmean(one_run):+.2f} |")
    print(f"| one run, three snapshots: mean of 3 seeds | {fmean(more_snapshots):.2f} |")
    print(f"| the same - one snapshot, mean of 3 seeds | {difference(more_snapshots, one_run)} |")


def print_range_test() -> None:
    """Print the plateau of the training loss and the range of the accuracy of the sweep to 3."""
    path = RESULTS / "super_convergence_short/range_tests/cifar10_caffe_resnet20.json"
    curve = json.loads(path.read_text())["curve"]
    late = [i for i, lr in enumerate(curve["lr"]) if lr >= 1.2]
    losses = [curve["train_loss"][i] for i in late]
    accuracy = curve["accuracy_pct"]
    print("| range test of Caffe's ResNet-20, rates 0 to 3 | |")
    print("| :--- | ---: |")
    print(f"| training loss at rates from 1.2 | {min(losses):.2f} to {max(losses):.2f} |")
    print(f"| accuracy on held-out images | {min(accuracy):.0f} to {max(accuracy):.0f} % |")


for print_table in (print_rows, print_differences, print_ensembles, print_range_test):
    if print_table is not print_rows:
        print()
    print_table()
