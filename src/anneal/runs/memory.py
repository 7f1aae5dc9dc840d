"""Advice on what to lower where the memory does not hold a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from anneal.config.schema import ExperimentConfig
from anneal.runs.setup import EVALUATION_BATCH

FULL_WORDS = (  # of torch's RuntimeError: CPU, MPS, and CUDA's libraries
    "can't allocate memory",
    "not enough memory",
    "MPS backend out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
PERHAPS = "could not create a primitive"  # oneDNN's words for a full memory, and not for it alone


@contextmanager
def memory_explained(experiment: ExperimentConfig, *, trains: bool = True) -> Iterator[None]:
    """Turn the error of a full memory into one line with what to lower.

    Args:
        experiment: that runs.
        trains: whether it trains; else it only evaluates.

    Raises:
        ValueError: the memory of the device, or of the process, is full.
    """
    try:
        yield
    except (RuntimeError, MemoryError, ValueError) as error:
        said = str(error)
        is_full = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not is_full and not any(words in said for words in (*FULL_WORDS, PERHAPS)):
            raise
        begin = f"{said}; or the memory is full" if PERHAPS in said else "out of memory"
        training = experiment.training
        advice = (
            f"training.batch_size is {training.batch_size}; lower it, and raise "
            f"training.accumulation ({training.accumulation}) by the same factor for as many "
            "images an update, or take a smaller model or dataset.image_size"
        )
        if not trains:
            advice = (
                f"an evaluation takes {EVALUATION_BATCH} images at a time, with any "
                "training.batch_size; free memory on this device or evaluate on another "
                "(hardware.device), or train a smaller model or dataset.image_size"
            )
        raise ValueError(f"{begin}: {advice}") from error
