"""The Caffe net's training step under OpenMP's waiting policies, as ratios to the default.

Written again on 2026-11-28; the script of the entry was not kept.

Question: does it help to let OpenMP's idle threads sleep?
Measures: images/s on this machine, settings interleaved, each in a process of its own; start other
    programs first to see what they change
Command: python lab/2026-11-22_openmp_wait_policy.py [--size 24] [--threads 2]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import torch
from torch.nn import functional

from anneal.models.build import build_model

SETTINGS = {
    "default": {},
    "PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "GOMP_SPINCOUNT 1,000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT 100,000": {"GOMP_SPINCOUNT": "100000"},
}
BATCH, STEPS, ROUNDS = 100, 40, 5


def measure(size: int, threads: int) -> float:
    """Return images/s of training steps in this process."""
    torch.set_num_threads(threads)
    model = build_model(
        library="timm",
        architecture="caffe_cifar",
        arguments={},
        num_classes=10,
        channels=3,
        image_size=size,
        small_images=False,
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    images = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (BATCH,))
    for step in range(STEPS + 5):
        if step == 5:
            began = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
    return STEPS * BATCH / (time.perf_counter() - began)


def main() -> None:
    """Measure each setting in processes of their own, or, as one of these, this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--here", action="store_true", help="measure this process alone")
    arguments = parser.parse_args()
    if arguments.here:
        print(measure(arguments.size, arguments.threads))
        return
    command = [sys.executable, __file__, "--here"]
    command += ["--size", str(arguments.size), "--threads", str(arguments.threads)]
    rates: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(ROUNDS):
        for name, setting in SETTINGS.items():
            environment = {**os.environ, **setting}
            said = subprocess.check_output(command, env=environment, text=True)
            rates[name].append(float(said))
    print("| setting | images/s | to the default |")
    print("| :--- | ---: | ---: |")
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates["default"], strict=True))
        print(f"| {name} | {statistics.median(found):,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
