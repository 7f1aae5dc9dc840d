"""Question of ``anneal advise``: its checked configuration, with the images loaded."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anneal.advise.candidates import CANDIDATES, AdviceConfig
from anneal.advise.trials import Trial, plan_trial
from anneal.config.compose import check_experiment, compose_plain, compose_run
from anneal.config.paths import Paths
from anneal.config.schema import ExperimentConfig, SchedulerConfig
from anneal.config.strict import configuration_hash, parse, to_plain
from anneal.io.files import read_json
from anneal.io.text import did_you_mean
from anneal.runs.plan import range_test_hash
from anneal.runs.processes import refuse_several
from anneal.runs.range_test import Sweep, lay_out
from anneal.runs.setup import ExperimentSetup, load_setup
from anneal.runs.timed_settings import time_setup

ADVISE_FILE = "conf/advise.yaml"
ANSWER = "advice.json"
DECIDED_HERE = {
    "scheduler": "the schedule is recommended; advise.candidates lists those that are tried",
    "bounds": "they always come from a range test",
    "seed": "set range_test.seeds and advise.seeds",
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """A checked question.

    Args:
        advice: the section ``advise``.
        experiment: the configuration without a schedule.
        shapes: candidate -> its section of ``conf/scheduler``, from the simplest.
        setup: its images and this machine's settings.
        sweep: the range test; the trials share its split into training and held-out images.
        digest: hash of the question without the seeds of the trials.
    """

    advice: AdviceConfig
    experiment: ExperimentConfig
    shapes: Mapping[str, SchedulerConfig]
    setup: ExperimentSetup
    sweep: Sweep
    digest: str

    def plans(self, base_lr: float, max_lr: float) -> dict[str, Trial]:
        """Plan every candidate between a pair of bounds."""
        return {
            name: plan_trial(
                name,
                shape,
                self.experiment,
                self.setup.data.identity,
                base_lr=base_lr,
                max_lr=max_lr,
            )
            for name, shape in self.shapes.items()
        }


def ask(arguments: Sequence[str]) -> Question:
    """Compose and check a question, as ``anneal run`` does. Nothing is trained.

    Raises:
        ValueError: names the file, the key and the rule.
    """
    for argument in arguments:
        key = re.split(r"[=.@]", argument.lstrip("+~"))[0]
        if key in DECIDED_HERE:
            raise ValueError(f"{argument} is not an option of anneal advise: {DECIDED_HERE[key]}")
    plain = compose_plain("advise", arguments)
    advice = parse(AdviceConfig, plain.pop("advise"), where=ADVISE_FILE, key="advise")
    plain.pop("seed")
    places = plain.pop("paths")
    experiment = dataclasses.replace(
        check_experiment(plain, where=ADVISE_FILE), name=f"advise/{advice.name}", bounds="given"
    )
    _check_names(advice.candidates)
    names = [name for name in CANDIDATES if name in advice.candidates]
    shapes = {
        name: compose_run([f"scheduler={CANDIDATES[name].scheduler}"]).scheduler for name in names
    }
    refuse_several(experiment.hardware, for_what="anneal advise")
    setup = time_setup(load_setup(experiment, Paths.from_section(places)))
    question = _question(advice, experiment, shapes, setup)
    question.plans(1.0, 2.0)  # refuse a run too short for a schedule before anything is trained
    return question


def ask_again(question: Question, advice: AdviceConfig, experiment: ExperimentConfig) -> Question:
    """Return a question with other settings, on the same images, network and candidates.

    Raises:
        ValueError: a trial is too short for a schedule, or the sweep for its points.
    """
    shapes = {name: question.shapes[name] for name in advice.candidates}
    setup = dataclasses.replace(question.setup, experiment=experiment)
    changed = _question(advice, experiment, shapes, setup)
    changed.plans(1.0, 2.0)
    return changed


def _question(
    advice: AdviceConfig,
    experiment: ExperimentConfig,
    shapes: Mapping[str, SchedulerConfig],
    setup: ExperimentSetup,
) -> Question:
    return Question(
        advice=advice,
        experiment=experiment,
        shapes=shapes,
        setup=setup,
        sweep=lay_out(experiment, setup),
        digest=_digest(experiment, setup, shapes, raises=advice.raises),
    )


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in CANDIDATES:
            raise ValueError(
                f"{ADVISE_FILE}: advise.candidates: there is no '{name}'"
                f"{did_you_mean(name, CANDIDATES)}"
            )


def _digest(
    experiment: ExperimentConfig,
    setup: ExperimentSetup,
    shapes: Mapping[str, SchedulerConfig],
    *,
    raises: int,
) -> str:
    return configuration_hash(
        {
            "range_test": range_test_hash(experiment, setup.data.identity),
            "training": to_plain(experiment.training),
            "budget_fraction": experiment.budget_fraction,
            "candidates": {name: to_plain(shape) for name, shape in shapes.items()},
            "raises": raises,
        }
    )


def refuse_other_question(folder: Path, digest: str) -> None:
    """Refuse to overwrite the answer to another question.

    Raises:
        ValueError: the folder has one; names the key that sets another folder.
    """
    answer = folder / ANSWER
    if answer.is_file() and read_json(answer)["question"] != digest:
        raise ValueError(
            f"{folder} has the answer to another question; set advise.name=<another name> or "
            "move the folder away"
        )
