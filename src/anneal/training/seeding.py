"""Random streams of a run, one for each purpose, derived from its seed."""

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global generators that a model's initialisation and its dropout draw from.

    Args:
        seed: from 0 to 2**32 - 1. Data order and augmentation do not draw from these: each batch is
            a function of the seed and its number (``datasets.batches``).
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - a user's own model may draw from it
    torch.manual_seed(seed)


def seed_part(seed: int, part: int) -> None:
    """Seed the global generators for one part of an update: dropout, stochastic depth.

    Args:
        seed: of the run.
        part: its number since the start of the run, which is that of its batch.
    """
    words = np.random.SeedSequence((seed, part)).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)  # noqa: NPY002
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


def random_state() -> dict[str, Any]:
    """Return the state of every global generator, loadable with ``weights_only=True``."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    words = torch.from_numpy(np.asarray(keys).astype("int64"))
    state["numpy"] = [str(kind), words, position, has_gauss, gauss]
    version, internal, gauss_next = random.getstate()
    state["python"] = [version, list(internal), gauss_next]
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def drawn_since(state: dict[str, Any]) -> set[str]:
    """Return the global generators that moved on since :func:`random_state` returned ``state``."""
    now = random_state()
    return {name for name, value in state.items() if not _equal(value, now[name])}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every global generator back to what :func:`random_state` returned."""
    torch.set_rng_state(state["torch"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        (kind, keys.numpy().astype("uint32"), position, has_gauss, gauss)
    )
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    if "cuda" in state and torch.cuda.is_available():
        # the checkpoint may be of a machine with more of them, or fewer
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
