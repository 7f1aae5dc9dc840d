"""CLR's rows tried beside triangular2, bf16 against float32, Figures 3 and 6.

Question: why does CLR's triangular2 end below its number on CIFAR-10?
Reads: results/clr_cifar10 (runs.csv, curves, range_tests), results/precision_check/runs.csv,
    paper/figures_data/clr_fig3.csv
Command: python lab/2026-11-25_clr_rows_beside_paper.py
"""

import csv
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from anneal.results.statistics import paired_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
ROWS = {  # row, seed 0: its number in the paper
    "triangular_staged": 81.4,
    "triangular2_max_0.006": 81.4,
    "triangular2_shuffled": 81.4,
    "nesterov_fixed_70000": 82.1,
    "nesterov_triangular_25000": 81.3,
    "nesterov_triangular_25000_staged": 81.3,
    "adam_fixed_70000": 81.4,
    "adam_triangular_25000": 79.8,
    "adam_triangular_70000": 81.1,
    "adagrad_fixed_70000": 74.6,
    "adagrad_triangular_25000": 76.0,
    "adadelta_triangular_25000": 67.3,
    "rmsprop_fixed_70000": 75.2,
    "rmsprop_triangular_25000": 72.8,
    "rmsprop_triangular_70000": 75.1,
    "sigmoid_bn_fixed": 60.8,
    "sigmoid_bn_clr": 72.2,
}


def read(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def final_accuracies(campaign: str) -> dict[tuple[str, int], dict[str, str]]:
    """Return a campaign's runs by experiment and seed."""
    return {(r["experiment"], int(r["seed"])): r for r in read(RESULTS / campaign / "runs.csv")}


def print_rows() -> None:
    """Print what each row ends at, beside triangular2's seed 0."""
    runs = final_accuracies("clr_cifar10")
    print("| row (seed 0) | paper | at the end | last whole cycle | best |")
    print("| :--- | ---: | ---: | ---: | ---: |")
    for row, paper in {"triangular2": 81.4, **ROWS}.items():
        run = runs[f"clr/cifar10_{row}", 0]
        columns = (f"test_accuracy_pct@{at}" for at in ("final", "recommended", "best"))
        print(f"| {row} | {paper} | " + " | ".join(f"{float(run[c]):.2f}" for c in columns) + " |")


def print_precision() -> None:
    """Print bf16 minus float32 over pairs of one seed, after 5,000 updates."""
    runs = final_accuracies("precision_check")
    ends = {
        precision: [
            float(runs[f"clr/cifar10_triangular2_{precision}", s]["test_accuracy_pct@final"])
            for s in range(3)
        ]
        for precision in ("bf16", "float32")
    }
    pairs = zip(ends["bf16"], ends["float32"], strict=True)
    found = paired_interval([one - other for one, other in pairs])
    print("| after 5,000 updates | seed 0 | seed 1 | seed 2 |")
    print("| :--- | ---: | ---: | ---: |")
    for precision, accuracies in ends.items():
        print(f"| {precision} | " + " | ".join(f"{a:.2f}" for a in accuracies) + " |")
    print(
        f"| bf16 - float32 | mean {found.mean:.1f} | from {found.low:.1f} | to {found.high:.1f} |"
    )


def print_figure_3() -> None:
    """Print how far our mean accuracies lie above those read off the paper's Figure 3."""
    record = json.loads((RESULTS / "clr_cifar10/range_tests/cifar10_caffe.json").read_text())
    ours: dict[float, list[float]] = defaultdict(list)
    curve = record["curve"]
    for lr, accuracy in zip(curve["lr"], curve["accuracy_pct"], strict=True):
        ours[round(lr, 3)].append(accuracy)
    paper = {
        float(line["lr"]): float(line["test_accuracy_pct"])
        for line in read(ROOT / "paper/figures_data/clr_fig3.csv")
    }
    above = {lr: fmean(ours[lr]) - paper[lr] for lr in paper if lr > 0}
    print("| range test, five seeds | |")
    print("| :--- | ---: |")
    print(f"| bounds by Smith's rule | {record['base_lr']:.3f} to {record['max_lr']:.3f} |")
    print(f"| above the paper's curve | {min(above.values()):.0f} to {max(above.values()):.0f} |")
    print(f"| at 0.006 | {fmean(ours[0.006]):.1f} % |")
    print(f"| at 0.02 | {fmean(ours[0.02]):.1f} % |")


def print_figure_6() -> None:
    """Print the sigmoid network's accuracy in the middle and at the end of its cycles."""
    curve = read(RESULTS / "clr_cifar10/curves/clr__cifar10_sigmoid_bn_clr.csv")
    measured = [
        (int(line["update"]), float(line["test_accuracy_pct"]))
        for line in curve
        if line["test_accuracy_pct"]
    ]
    print("| sigmoid_bn_clr, the last cycles, of 4,000 updates each | lowest | highest |")
    print("| :--- | ---: | ---: |")
    for place, first in (("end", 0), ("middle, rate rising", 1_000), ("middle, falling", 3_000)):
        at = [accuracy for update, accuracy in measured[-36:] if update % 4_000 == first]
        print(f"| {place} | {min(at):.2f} | {max(at):.2f} |")


for print_table in (print_rows, print_precision, print_figure_3, print_figure_6):
    if print_table is not print_rows:
        print()
    print_table()
