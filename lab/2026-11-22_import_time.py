"""Seconds that importing takes: torch, timm with torchvision, and what sets up a run.

Question: what does importing cost a stage?
Measures: time on this machine, each import in three processes of its own, the median
Command: python lab/2026-11-22_import_time.py
"""

import statistics
import subprocess
import sys

MODULES = ("torch", "torch, torchvision, timm", "anneal.runs.setup")  # the last was anneal.builders
TIMED = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(modules: str) -> float:
    """Return how long one fresh process takes to import these."""
    command = [sys.executable, "-c", TIMED.format(modules)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


print("| import | seconds |")
print("| :--- | ---: |")
for modules in MODULES:
    seconds(modules)  # reads the files from disk once
    print(f"| {modules} | {statistics.median(seconds(modules) for _ in range(3)):.1f} |")
