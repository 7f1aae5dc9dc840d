"""Test outputs of a run's snapshots, computed once and cached as arrays.

``<folder>/<update>.npy`` is float32 (images, classes), the softmax outputs in the stored order of
the test images. ``outputs.json`` has the digest of the weights, code and settings of each; the
network runs again only if one of them has changed.
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
    """Return update -> softmax outputs of its snapshot on the test images.

    Args:
        directory: of the run.
        setup: data and settings of its experiment.
        updates: of existing snapshots.
        folder: for the arrays.

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
