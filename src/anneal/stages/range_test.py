"""Stage ``range_test``: sweep the rate on held-out training images and suggest bounds (edge).

``python -m anneal.stages.range_test <campaign> <name>``
"""

from anneal.command_line import command
from anneal.config import ExperimentConfig
from anneal.layout import EXPERIMENTS, RANGE_TESTS
from anneal.loading import open_experiment
from anneal.parsing import parse
from anneal.sweeps import sweep_seeds
from anneal.yaml_files import read_yaml


@command("campaign", "range_test")
def main(arguments: list[str]) -> None:
    """Run one range test of a campaign with all its seeds."""
    campaign, name = arguments
    path = EXPERIMENTS / campaign / RANGE_TESTS.name / f"{name}.yaml"
    experiment = parse(ExperimentConfig, read_yaml(path), where=str(path))
    workshop = open_experiment(experiment)
    sweep_seeds(experiment, workshop, name=name, folder=RANGE_TESTS / campaign / name)


if __name__ == "__main__":
    main()
