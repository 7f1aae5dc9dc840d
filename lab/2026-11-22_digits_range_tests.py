"""LR range tests on 1,437 digits: sweeps of several lengths and last rates, read by Smith's rule.

Question: which range test gives bounds on the digits?
Trains: five range tests of three seeds, some minutes; the bits depend on the processor
Command: python lab/2026-11-22_digits_range_tests.py
"""

import json
import re
import subprocess
from pathlib import Path

SWEEPS = (  # last rate, epochs, held-out fraction, points
    (0.02, 8, 0.1, 20),
    (0.02, 24, 0.2, 24),
    (0.04, 24, 0.2, 24),
    (0.04, 48, 0.2, 24),
    (0.08, 48, 0.2, 24),
)

print("| last rate | epochs | updates | held-out | seeds with bounds | bounds | spread of each |")
print("| ---: | ---: | ---: | ---: | ---: | :--- | :--- |")
for last_lr, epochs, held_out, points in SWEEPS:
    run = [
        *["anneal", "run", "experiment=digits/triangular2_found", "budget_fraction=0.01"],
        *["model.arguments.width=1.0"],
        *["hardware.threads=1", "hardware.compile=off", "tracking=off"],
        *[f"range_test.last_lr={last_lr}"],
        *[f"range_test.length={epochs} epochs", f"range_test.points={points}"],
        f"range_test.held_out_fraction={held_out}",
    ]
    said = subprocess.run(run, capture_output=True, text=True, check=False)  # fails without bounds
    folder = Path(re.findall(r"(multirun/range_tests/[\w-]+)", said.stdout + said.stderr)[0])
    record = json.loads((folder / "suggestion.json").read_text())
    smith = record["agreement"]["smith"]
    bounds = spread = ""
    if smith["base_lr"] is not None:
        bounds = f" {smith['base_lr']:.4f} to {smith['max_lr']:.4f}"
        spread = f" {smith['base_spread']:.1f} and {smith['max_spread']:.1f}"
    print(
        f"| {last_lr} | {epochs} | {record['total_steps']} | {record['held_out_images']} "
        f"| {smith['num_found']} of {smith['num_seeds']} |{bounds} |{spread} |"
    )
