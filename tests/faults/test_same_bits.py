"""The same seed gives the same bits in two fresh processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def run_in(place: Path, *, hash_seed: str) -> Path:
    """Train in a fresh process; return the run's directory."""
    place.mkdir()
    subprocess.run(
        [sys.executable, "-m", "anneal", "run", "tracking=off", "hardware=cpu", "seed=3",
         "dataset.image_size=16", "training.length=20 steps", "training.batch_size=10",
         "training.log_lines=20", "training.evaluations=2"],
        cwd=place, check=True, capture_output=True, timeout=300,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )  # fmt: skip
    (found,) = place.glob("multirun/*/seed-3")
    return found


@pytest.mark.slow
def test_same_seed_gives_the_same_bits_in_two_fresh_processes(tmp_path: Path) -> None:
    one, other = (run_in(tmp_path / seed, hash_seed=seed) for seed in ("1", "2"))
    for name in ("history.jsonl", "result.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    states = [torch.load(run / "checkpoint.pt", weights_only=True) for run in (one, other)]
    weights = [state["state"]["model"] for state in states]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
