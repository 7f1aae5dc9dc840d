"""Test outputs of a run's snapshots, computed once and cached as arrays.

``<folder>/<update>.npy`` is float32 (images, classes), the softmax outputs in the stored order of
the test images; ``outputs.json`` says of which weights, code and settings each is, so that a
network runs again only when one of them has changed.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from anneal.io.files import read_json, synced, write_json
from anneal.results.ensembles import Labels, Output
from anneal.runs.code_digest import code_digest
from anneal.runs.directory import RunDirectory
from anneal.runs.setup import ExperimentSetup

RECEIPTS = "outputs.json"


def snapshot_outputs(
    directory: RunDirectory, setup: ExperimentSetup, *, updates: Iterable[int], folder: Path
) -> dict[int, Output]:
    """Return the softmax outputs of snapshots on the test images, by update.

    Args:
        directory: of the run.
        setup: data and settings of its experiment.
        updates: of snapshots that are there.
        folder: keeps the arrays.

    Raises:
        ValueError: a snapshot is unreadable or of another configuration; names the file.
    """
    files = directory.snapshots()
    receipts = read_json(folder / RECEIPTS) if (folder / RECEIPTS).is_file() else {}
    model = None
    outputs: dict[int, Output] = {}
    for update in updates:
        array = folder / f"{update}.npy"
        with files[update].open("rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()
        made_of = f"{weights} {code_digest()} {setup.settings.numerics}"
        if receipts.get(str(update)) != made_of or not array.is_file():
            model = model or setup.model()
            model.load_state_dict(directory.read_snapshot(update))
            with synced(array) as written:
                np.save(written, setup.predict(model, setup.data.test).numpy())
            receipts |= {str(update): made_of}
            write_json(folder / RECEIPTS, receipts)
        outputs[update] = np.load(array, mmap_mode="r")
    return outputs


def labels_of_test_images(setup: ExperimentSetup) -> Labels:
    """Return the class of each test image, int64 (images,)."""
    return setup.data.test.labels.cpu().numpy()
