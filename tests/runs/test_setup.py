"""The set-up of an experiment: what its network, and nothing else, decides of a learner."""

import dataclasses

import pytest

from anneal.config.schema import ExperimentConfig
from anneal.runs.setup import load_setup


@pytest.mark.parametrize(
    ("architecture", "coast"), [("cifar_sd_resnet110", True), ("cifar_resnet20", False)]
)
def test_closed_blocks_coast_where_the_network_says_so(
    experiment: ExperimentConfig, architecture: str, coast: bool
) -> None:
    model = dataclasses.replace(experiment.model, library="timm", architecture=architecture)
    hardware = dataclasses.replace(experiment.hardware, compile="off")
    chosen = dataclasses.replace(experiment, model=model, hardware=hardware)
    assert load_setup(chosen).learner(0).closed_blocks_coast is coast
