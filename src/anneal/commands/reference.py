"""Decode a data set of signals without a network, by FBCSP.

``python -m anneal.commands.reference <dataset>`` writes ``data/<dataset>.reference.csv``:
the test accuracy of each subject, of the trials and the split that networks have.
"""

import statistics

import torch

from anneal.config.compose import compose_dataset
from anneal.config.paths import Paths
from anneal.datasets import load_dataset
from anneal.datasets.eeg.edf import require_extra
from anneal.datasets.eeg.signal_set import signal_of
from anneal.datasets.identity import of_subject
from anneal.io.csv_files import csv_text
from anneal.io.files import write_whole
from anneal.io.terminal import command, say
from anneal.models.eeg.fbcsp import FBCSP
from anneal.runs.layout import DATA


@command("dataset")
def main(arguments: list[str]) -> None:
    """Fit the reference decoder of each subject; write and print the test accuracies."""
    (name,) = arguments
    config = compose_dataset(name)
    subjects = signal_of(config).subjects
    require_extra(config.source)
    rows, accuracies = [], []
    for subject in subjects:
        data = load_dataset(of_subject(config, subject), Paths.from_environment())
        (train, train_labels), (test, test_labels) = (
            split.take(torch.arange(len(split))) for split in (data.train, data.test)
        )
        decoder = FBCSP(sampling_hz=data.identity["sampling_hz"])
        decoder.fit(train.numpy(), train_labels.numpy())
        accuracy = decoder.accuracy_pct(test.numpy(), test_labels.numpy())
        accuracies.append(accuracy)
        rows.append([subject, len(test_labels), f"{accuracy:.4f}"])
    target = DATA / f"{name}.reference.csv"
    write_whole(target, csv_text(["subject", "test_trials", "test_accuracy_pct"], rows))
    shown = " ".join(f"{value:.1f}" for value in accuracies)
    say(f"{target}: {shown} %, median {statistics.median(accuracies):.1f} %")


if __name__ == "__main__":
    main()
