"""Training input from a raw store in both layouts of a network: microseconds an image.

Question: what does it cost to turn a store's bytes into floats in the layout of the network?
Measures: one core, seconds of the processor; random pixels of 256 px.
Command: python lab/2026-11-28_layout_of_store_input.py
"""

import os
import tempfile
import time
from pathlib import Path

import torch

from anneal.config.compose import compose_run
from anneal.datasets.batches import TrainingBatches
from anneal.datasets.imagenet.split import made_up_split
from anneal.datasets.normalise import statistics_of
from anneal.runs.hardware import keep_freed_memory, usable_cores

SECONDS, BATCH = 3.0, 64
CASES = {
    "channel mean and deviation, 224 px": ["dataset=imagenet"],
    "mean image, 227 px (Caffe)": ["dataset=imagenet_caffe"],
}

os.sched_setaffinity(0, usable_cores()[-1:])
torch.set_num_threads(1)
keep_freed_memory()
print("| statistics | planes | channels_last |")
print("| :--- | ---: | ---: |")
with tempfile.TemporaryDirectory() as folder:
    train = made_up_split(Path(folder), side=256, labels=torch.zeros(256, dtype=torch.int64))
    for words, options in CASES.items():
        config = compose_run(options).dataset
        normalise, found = statistics_of(train, config), []
        for channels_last in (False, True):
            batches = TrainingBatches(
                train, config=config, batch_size=BATCH, seed=0, device="cpu",
                normalise=normalise, channels_last=channels_last,
            )  # fmt: skip
            number, fastest = 0, float("inf")
            began = time.process_time()
            while time.process_time() - began < SECONDS:
                before = time.process_time()
                for _ in range(8):
                    batches(number)
                    number += 1
                fastest = min(fastest, (time.process_time() - before) / (8 * BATCH))
            found.append(f"{1e6 * fastest:.0f}")
        print(f"| {words} | {' | '.join(found)} |")
