"""Stage ``range_test``: sweep the learning rate and suggest bounds from held-out accuracy.

``python -m anneal.commands.stages.range_test <campaign> <name>``
"""

from anneal.config.schema import ExperimentConfig
from anneal.config.strict import parse
from anneal.io.files import read_yaml
from anneal.io.terminal import command
from anneal.runs.layout import EXPERIMENTS, RANGE_TESTS
from anneal.runs.memory import memory_explained
from anneal.runs.processes import refuse_several
from anneal.runs.range_test import sweep_seeds
from anneal.runs.setup import load_setup


@command("campaign", "range_test")
def main(arguments: list[str]) -> None:
    """Run one range test of a campaign with all its seeds."""
    campaign, name = arguments
    path = EXPERIMENTS / campaign / RANGE_TESTS.name / f"{name}.yaml"
    experiment = parse(ExperimentConfig, read_yaml(path), where=str(path))
    refuse_several(experiment.hardware, for_what="a range test")
    with memory_explained(experiment):
        setup = load_setup(experiment)
        sweep_seeds(experiment, setup, name=name, folder=RANGE_TESTS / campaign / name)


if __name__ == "__main__":
    main()
