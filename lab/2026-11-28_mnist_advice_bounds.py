"""The upper bound that a range test gives on MNIST, and the rates that train.

Question: is MNIST's advice worse than AdamW's default because its range test stops too low?
Trains: range tests of three lengths and 3 rates, three seeds each, some minutes; ANNEAL_ARCHIVES
    names the images; the bits depend on the processor
Command: python lab/2026-11-28_mnist_advice_bounds.py
"""

import json
import re
import statistics
import subprocess
from pathlib import Path

SETTING = [
    *["dataset=mnist", "dataset.first_images=6000", "dataset.order=shuffled", "model=caffe_lenet"],
    *["optimizer=adamw", "training.batch_size=64", "training.length=2 epochs", "hardware=cpu"],
    *["training.evaluations=1", "hardware.threads=1", "tracking=off"],
]
SEEDS = (3, 4, 5)  # the advice had 0 to 2


def run(*overrides: str) -> str:
    """Return what ``anneal run`` printed."""
    said = subprocess.run(
        ["anneal", "run", *SETTING, *overrides], capture_output=True, text=True, check=False
    )
    return said.stdout + said.stderr


print("| updates of the sweep | Smith's rule | minimum | steepest | valley |")
print("| ---: | ---: | ---: | ---: | ---: |")
for steps in (150, 450, 1500):
    said = run(
        *["scheduler=triangular2", "bounds=range_test", "range_test=wide", "seed=0"],
        f"range_test.length={steps} steps",
    )
    folder = Path(re.findall(r"(multirun/range_tests/[\w-]+)", said)[0])
    rules = json.loads((folder / "suggestion.json").read_text())["agreement"]
    shown = [rules[rule]["max_lr"] for rule in ("smith", "minimum", "steepest", "valley")]
    print(f"| {steps:,} | {' | '.join('-' if v is None else f'{v:.2g}' for v in shown)} |")

print("\n| max_lr of warmup_stable_decay | test accuracy (%), seeds 3 to 5 | mean |")
print("| ---: | :--- | ---: |")
for max_lr in (0.0002, 0.001, 0.003):
    finals = []
    for seed in SEEDS:
        said = run("scheduler=warmup_stable_decay", f"scheduler.max_lr={max_lr}", f"seed={seed}")
        folder = Path(re.findall(r"(multirun/[0-9a-f]+/seed-\d+)", said)[0])
        result = json.loads((folder / "result.json").read_text())
        finals.append(result["test_accuracy_pct@final"])
    values = " ".join(f"{value:.2f}" for value in finals)
    print(f"| {max_lr:g} | {values} | {statistics.fmean(finals):.2f} |")
