"""The trainer against plain loops on six networks: ratios and costs of one benchmark file.

Question: how fast is the trainer compared with the loops that everybody starts from?
Reads: results/benchmarks/amd-epyc.json
Command: python lab/2026-11-22_benchmark_six_networks.py
"""

import json
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "results/benchmarks/amd-epyc.json"
PARTS = ("schedule", "logging", "progress", "tracking")

record = json.loads(BENCHMARK.read_text())
print("| network | to the plain loop | to the in-memory loop | share of bf16 matrix-product rate |")
print("| :--- | ---: | ---: | ---: |")
for network in record["networks"].values():
    share = 100 * network["share_of_matmul_bf16"]
    print(
        f"| {network['network']} | {network['ratio_to_plain']:.2f} "
        f"| {network['ratio_to_memory']:.2f} | {share:.0f} % |"
    )
print()
print("| network | " + " | ".join(f"cost of {part}" for part in PARTS) + " |")
print("| :--- |" + " ---: |" * len(PARTS))
for network in record["networks"].values():
    if "cost_of_schedule" in network:
        costs = " | ".join(f"{100 * network[f'cost_of_{part}']:.0f} %" for part in PARTS)
        print(f"| {network['network']} | {costs} |")
