"""Stage ``reference``: decode the trials of a data set without a network, by FBCSP.

``python -m anneal.commands.stages.reference <campaign> <experiment> <dataset>`` writes
``evaluations/<campaign>/<experiment>/derived.json``: the test accuracy of each subject, on the
trials and the split that networks have.
"""

import statistics

import torch

from anneal.config.compose import compose_dataset
from anneal.config.paths import Paths
from anneal.datasets import load_dataset
from anneal.datasets.eeg.edf import require_extra
from anneal.datasets.eeg.signal_set import signal_of
from anneal.datasets.identity import of_subject
from anneal.io.terminal import command, say
from anneal.models.eeg.fbcsp import FBCSP
from anneal.results.derived import derived_run, save_derived
from anneal.results.metrics import Run
from anneal.runs.layout import EVALUATIONS
from anneal.runs.subjects import subject_name


@command("campaign", "experiment", "dataset")
def main(arguments: list[str]) -> None:
    """Fit the reference decoder of each subject; write and print the test accuracies."""
    campaign, name, dataset = arguments
    config = compose_dataset(dataset)
    require_extra(config.source)
    found: dict[str, list[Run]] = {}
    accuracies = []
    for subject in signal_of(config).subjects:
        data = load_dataset(of_subject(config, subject), Paths.from_environment())
        (train, train_labels), (test, test_labels) = (
            split.take(torch.arange(len(split))) for split in (data.train, data.test)
        )
        decoder = FBCSP(sampling_hz=data.identity["sampling_hz"])
        decoder.fit(train.numpy(), train_labels.numpy())
        accuracies.append(decoder.accuracy_pct(test.numpy(), test_labels.numpy()))
        run = derived_run(
            0,
            updates=0,
            metrics={"test_accuracy_pct@final": accuracies[-1]},
            made_of={"decoder": decoder.describe(), "data": data.identity},
            precision="float64",
        )
        found[subject_name(name, subject)] = [run]
    save_derived(EVALUATIONS / campaign / name, found)
    shown = " ".join(f"{value:.1f}" for value in accuracies)
    say(f"{name}: {shown} %, median {statistics.median(accuracies):.1f} %")


if __name__ == "__main__":
    main()
