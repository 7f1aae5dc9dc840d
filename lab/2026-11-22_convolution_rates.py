"""GFLOP/s of two convolutions in bf16 and float32: forward and weight gradient.

Written again on 2026-11-28; the script of the entry was not kept.

Question: why does the trainer gain two and not four over the plain loop with AVX512_BF16?
Measures: time on this machine, the fastest of 20 rounds
Command: python lab/2026-11-22_convolution_rates.py [--threads 2]
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn.functional import conv2d

BATCH, SIZE, ROUNDS = 100, 32, 20
CONVOLUTIONS = {"3x3, 16 to 16 channels": (16, 16, 3), "first of the Caffe net": (3, 32, 5)}


def fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest round."""
    times = []
    for _ in range(ROUNDS + 3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[3:])


def rates(inputs: int, outputs: int, width: int, dtype: torch.dtype) -> tuple[float, float]:
    """Return a convolution's GFLOP/s forward and those of its weight gradient."""
    layout = {"dtype": dtype, "memory_format": torch.channels_last}
    images = torch.randn(BATCH, inputs, SIZE, SIZE).to(**layout)
    gradient = torch.randn(BATCH, outputs, SIZE, SIZE).to(**layout)
    weight = torch.randn(outputs, inputs, width, width).to(**layout).requires_grad_()
    result = conv2d(images, weight, padding=width // 2)
    gflop = 2 * BATCH * SIZE**2 * inputs * outputs * width**2 / 1e9
    forward = fastest(lambda: conv2d(images, weight.detach(), padding=width // 2))
    backward = fastest(lambda: torch.autograd.grad(result, weight, gradient, retain_graph=True))
    return gflop / forward, gflop / backward


parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
torch.set_num_threads(parser.parse_args().threads)
print("| convolution | precision | forward, GFLOP/s | weight gradient, GFLOP/s |")
print("| :--- | :--- | ---: | ---: |")
for name, shape in CONVOLUTIONS.items():
    for dtype in (torch.bfloat16, torch.float32):
        forward, gradient = rates(*shape, dtype)
        print(f"| {name} | {str(dtype)[6:]} | {forward:.0f} | {gradient:.0f} |")
