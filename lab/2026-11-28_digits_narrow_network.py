"""Caffe's network on the digits at a half and a quarter of its width.

Question: can the default campaign be made cheaper with a narrower network?
Trains: 18 runs of 250 or 700 updates, some minutes; the bits depend on the processor
Command: python lab/2026-11-28_digits_narrow_network.py
"""

import json
import re
import subprocess
from pathlib import Path

SETTING = ["budget_fraction=0.01", "hardware=cpu", "hardware.threads=1", "tracking=off"]
ROWS = ("fixed", "triangular2", "decay")

print("| width | row | test accuracy (%), seeds 0 and 1 |")
print("| ---: | :--- | :--- |")
for width in (1.0, 0.5, 0.25):
    for row in ROWS:
        override = f"model.arguments.width={width}"
        said = subprocess.run(
            ["anneal", "run", "-m", f"experiment=digits/{row}", "seed=0,1", override, *SETTING],
            capture_output=True,
            text=True,
            check=True,
        )
        folder = Path(re.findall(r"(multirun/\w+)/seed-", said.stdout + said.stderr)[0])
        finals = []
        for seed in (0, 1):
            result = json.loads((folder / f"seed-{seed}/result.json").read_text())
            finals.append(f"{result['test_accuracy_pct@final']:.1f}")
        print(f"| {width} | {row} | {' '.join(finals)} |", flush=True)
