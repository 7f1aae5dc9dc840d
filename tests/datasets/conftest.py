import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anneal.config.schema import DatasetConfig

PLAIN = DatasetConfig(
    name="plain",
    source="digits",
    dataset_class=None,
    folder=None,
    image_size=None,
    test_fraction=None,
    split_seed=0,
    memory_gib=1.0,
    scale=255.0,
    subtract="nothing",
    divide="nothing",
    crop_padding=0,
    crop_fill="zero",
    mirror=False,
    order="stored",
    drop_last=False,
)


@pytest.fixture(scope="session")
def configure() -> Callable[..., DatasetConfig]:
    """A configuration that does nothing to the images, with some keys replaced."""

    def build(**changes: Any) -> DatasetConfig:
        return dataclasses.replace(PLAIN, **changes)

    return build


@pytest.fixture
def draw_image() -> Callable[..., None]:
    """Write an image of random pixels, made from its seed."""

    def draw(
        path: Path, *, seed: int, width: int = 12, height: int = 10, mode: str = "RGB"
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (height, width) if mode == "L" else (height, width, 3)
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(path)

    return draw
