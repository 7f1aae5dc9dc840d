"""Print the losses of the small run, by threads and instructions: ``small_run.py 2 native``."""

import dataclasses
import json
import sys
from pathlib import Path

from anneal.config.schema import ExperimentConfig
from anneal.config.strict import parse
from anneal.io.files import read_yaml
from anneal.runs.plan import plan_run
from anneal.runs.setup import build_training, load_setup

EXPERIMENT = Path(__file__).with_suffix(".yaml")
# Each precision with what measured_settings.json picks beside it on one processor or another.
SETTINGS = {
    "float32": {"precision": "float32", "memory_format": "contiguous", "compile": "off"},
    "bf16": {"precision": "bf16", "memory_format": "channels_last", "compile": "off"},
}


def losses_of_small_run(*, threads: int, settings: dict[str, str]) -> list[float]:
    """Train from the first update with these settings of hardware; return the loss of each."""
    experiment = parse(ExperimentConfig, read_yaml(EXPERIMENT), where=str(EXPERIMENT))
    hardware = dataclasses.replace(experiment.hardware, threads=threads, **settings)
    experiment = dataclasses.replace(experiment, hardware=hardware)
    setup = load_setup(experiment)
    plan = plan_run(experiment, setup.data.identity, bounds=None, where=str(EXPERIMENT))
    records = []
    build_training(plan, setup, seed=0).run(record=records.append)
    return [record["loss"] for record in records]


if __name__ == "__main__":
    num_threads, native = int(sys.argv[1]), sys.argv[2] == "native"
    measured = {
        name: losses_of_small_run(threads=num_threads, settings=settings)
        for name, settings in SETTINGS.items()
        if native or name == "float32"  # bf16 without its instructions takes minutes
    }
    sys.stdout.write(json.dumps(measured, allow_nan=False) + "\n")
