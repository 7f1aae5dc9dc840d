"""Train the small run with a number of threads and print its losses: ``small_run.py 2``."""

import dataclasses
import json
import sys
from pathlib import Path

from anneal.config import ExperimentConfig
from anneal.loading import open_experiment
from anneal.parsing import parse
from anneal.plans import plan_run
from anneal.runs import build_training
from anneal.yaml_files import read_yaml

EXPERIMENT = Path(__file__).with_suffix(".yaml")
# Each precision with the memory format that measured_settings.json picks beside it.
MEMORY_FORMATS = {"float32": "contiguous", "bf16": "channels_last"}


def losses_of_small_run(*, threads: int, precision: str) -> list[float]:
    """Train from the first update and return the loss of each."""
    experiment = parse(ExperimentConfig, read_yaml(EXPERIMENT), where=str(EXPERIMENT))
    hardware = dataclasses.replace(
        experiment.hardware,
        threads=threads,
        precision=precision,
        memory_format=MEMORY_FORMATS[precision],
    )
    experiment = dataclasses.replace(experiment, hardware=hardware)
    workshop = open_experiment(experiment)
    plan = plan_run(experiment, workshop.data.identity, bounds=None, where=str(EXPERIMENT))
    records = []
    build_training(plan, workshop, seed=0).run(record=records.append)
    return [record["loss"] for record in records]


if __name__ == "__main__":
    num_threads = int(sys.argv[1])
    measured = {p: losses_of_small_run(threads=num_threads, precision=p) for p in MEMORY_FORMATS}
    sys.stdout.write(json.dumps(measured, allow_nan=False) + "\n")
