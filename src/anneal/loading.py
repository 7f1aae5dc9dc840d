"""An experiment's images, settings and plan, ready to work with (edge)."""

from anneal.builders import Workshop, open_workshop
from anneal.config import ExperimentConfig
from anneal.datasets import Paths, load_dataset
from anneal.hardware import decide
from anneal.layout import identity_file
from anneal.plans import Bounds, Plan, plan_run
from anneal.resolved import Loaded
from anneal.yaml_files import read_json


def open_experiment(experiment: ExperimentConfig, paths: Paths | None = None) -> Workshop:
    """Load an experiment's images and decide how this machine computes."""
    data = load_dataset(experiment.dataset, paths or Paths.from_environment())
    settings = decide(experiment.hardware, architecture=experiment.model.architecture)
    return open_workshop(experiment, data, settings)


def plan_experiment(loaded: Loaded, bounds: Bounds | None) -> tuple[Plan, Workshop]:
    """Load what one experiment of a campaign needs, and plan it.

    Raises:
        ValueError: the images are not those that ``download`` identified.
    """
    workshop = open_experiment(loaded.experiment)
    identity = workshop.data.identity
    file = identity_file(loaded.experiment.dataset.name)
    if file.is_file() and read_json(file) != identity:
        raise ValueError(
            f"{file} describes other images than those found now: run the download stage again"
        )
    plan = plan_run(loaded.experiment, identity, bounds=bounds, where=str(loaded.path))
    return plan, workshop
