"""Warm restarts on the digits: accuracy after the last update and at the last whole cycle's end.

Question: why did one seed of digits/sgdr end at 84 %?
Trains: three runs of 250 updates, under a minute; the bits depend on the processor
Command: python lab/2026-11-22_digits_warm_restarts.py
"""

import csv
import json
import re
import subprocess
from pathlib import Path

RUN = [
    *["anneal", "run", "-m", "experiment=digits/sgdr", "seed=0,1,2", "budget_fraction=0.01"],
    *["model.arguments.width=1.0"],
    *["hardware.threads=1", "hardware.precision=float32", "hardware.compile=off", "tracking=off"],
]

said = subprocess.run(RUN, capture_output=True, text=True, check=True)
folder = Path(re.findall(r"(multirun/\w+)/seed-", said.stdout + said.stderr)[0])
subprocess.run(["anneal", "ensemble", str(folder)], capture_output=True, check=True)
with (folder / "ensemble/ensemble.csv").open(newline="") as file:
    at_cycle_end = {
        line["seeds"]: float(line["test_accuracy_pct"])
        for line in csv.DictReader(file)
        if (line["num_runs"], line["num_snapshots"]) == ("1", "1")
    }
ends = sorted(int(path.stem) for path in (folder / "seed-0/snapshots").glob("*.pt"))

print(f"| seed | after update 250 | after update {ends[-1]} |")
print("| ---: | ---: | ---: |")
for seed, accuracy in at_cycle_end.items():
    result = json.loads((folder / f"seed-{seed}/result.json").read_text())
    print(f"| {seed} | {result['test_accuracy_pct@final']:.1f} | {accuracy:.1f} |")
print(f"\nCycles end after {', '.join(map(str, ends))} of 250 updates.")
