"""The Caffe net's training step with and without glibc keeping freed memory (``mallopt``).

Written again on 2026-11-28; the script of the entry was not kept.

Question: where does a third of the Caffe net's update go?
Measures: images/s on this machine, five interleaved processes of 60 steps for each setting
Command: python lab/2026-11-22_freed_memory.py [--threads 2]
"""

import argparse
import ctypes
import subprocess
import sys
import time

import torch
from torch.nn import functional

from anneal.models.build import build_model

BATCH, SIZE, STEPS, PROCESSES = 100, 32, 60, 5
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def measure(threads: int, keep: bool) -> float:
    """Return images/s of training steps in this process."""
    if keep:
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, 2**30)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(TOP_PAD, 2**27)
    torch.set_num_threads(threads)
    model = build_model(
        library="timm",
        architecture="caffe_cifar",
        arguments={},
        num_classes=10,
        channels=3,
        image_size=SIZE,
        small_images=False,
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    images = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (BATCH,))
    began = time.perf_counter()
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
    return STEPS * BATCH / (time.perf_counter() - began)


def main() -> None:
    """Measure both settings in processes of their own, or, as one of these, this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--here", choices=("kept", "given back"), help="measure this process alone")
    arguments = parser.parse_args()
    if arguments.here:
        print(measure(arguments.threads, keep=arguments.here == "kept"))
        return
    rates: dict[str, list[float]] = {"given back": [], "kept": []}
    for _ in range(PROCESSES):
        for setting, found in rates.items():
            command = [sys.executable, __file__, "--threads", str(arguments.threads)]
            found.append(float(subprocess.check_output([*command, "--here", setting], text=True)))
    print("| freed memory | lowest images/s | highest images/s |")
    print("| :--- | ---: | ---: |")
    for setting, found in rates.items():
        print(f"| {setting} | {min(found):,.0f} | {max(found):,.0f} |")


if __name__ == "__main__":
    main()
