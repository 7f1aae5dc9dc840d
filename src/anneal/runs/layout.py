"""Folders and file names of each stage's outputs."""

from pathlib import Path

EXPERIMENTS = Path("experiments")
RANGE_TESTS = Path("range_tests")
RUNS = Path("runs")
EVALUATIONS = Path("evaluations")
RESULTS = Path("results")
MULTIRUN = Path("multirun")
ADVICE = Path("advice")
DATA = Path("data")
PAPER = Path("paper")
REPRODUCTION = Path("local/reproduce")  # a copy of the tree: `anneal reproduce`

CAMPAIGN_FILE = "campaign.yaml"
SUGGESTION = "suggestion.json"
CURVE = "curve.csv"
RECORD = "record.json"
CURVES = "curves.csv"
DERIVED = "derived.json"  # runs of an experiment that trained nothing of its own
SKIPPED = "skipped.json"  # instead of a record, if the range test gave no bounds
REPLACED = ".replaced"  # below runs/: stale runs
GRID = ".grid"  # below runs/<campaign>: logs and last attempts of `anneal grid`
GIVEN = "given"  # name of "no range test": the bounds are given


def identity_file(dataset: str) -> Path:
    """Return the file with the identity of a data set: ``data/<dataset>.identity.json``."""
    return DATA / f"{dataset}.identity.json"


def seed_folder(experiment_folder: Path, seed: int) -> Path:
    """Return the run directory of one seed."""
    return experiment_folder / f"seed-{seed}"
