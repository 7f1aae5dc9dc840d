"""Filters of a store against numbers by hand, and real photographs where they are at hand."""

import io
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.datasets.imagenet_sources import picture

from anneal.datasets.imagenet.pixels import Warp, decode, warp

REAL = Path(os.environ.get("ANNEAL_ARCHIVES", "nowhere")) / "imagenet"


def grey(rows):
    return np.repeat(np.array(rows, np.uint8)[:, :, None], 3, 2)


def test_box_is_the_plain_mean_of_the_pixels_in_a_box():
    image = grey([[10, 20, 30, 40], [50, 60, 70, 80], [1, 2, 3, 4], [5, 6, 7, 8]])
    found = warp(image, Warp(size=2, filter="box"))
    # Rows first: 15 35 / 55 75 / 1.5 3.5 / 5.5 7.5, each rounded up: 2 4 / 6 8; then columns.
    assert found[:, :, 0].tolist() == [[35, 55], [4, 6]]


def test_box_of_odd_sizes_takes_the_pixels_whose_centres_lie_inside():
    # 5 to 2: the boxes are 0 to 2.5 and 2.5 to 5; the centre of pixel 2 is 2.5, in the first.
    wide = grey([[10, 20, 60, 40, 50]] * 2)
    found = warp(wide, Warp(size=2, filter="box"))
    assert found[:, :, 0].tolist() == [[30, 45], [30, 45]]
    # 7 to 3, boxes of 2.333: pixels 0 1 / 2 3 4 / 5 6.
    tall = grey([[v] * 3 for v in (3, 5, 10, 20, 30, 7, 9)])
    found = warp(tall, Warp(size=3, filter="box"))
    assert found[:, 0, 0].tolist() == [4, 20, 8]


@pytest.mark.parametrize("size", [8, 38, 64])
def test_box_of_a_jpeg_is_pillows_of_its_pixels(size):
    for seed, (width, height) in enumerate([(50, 38), (101, 64), (64, 64)]):
        content = picture(seed, width=width, height=height)
        found = Warp(size=size, filter="box")(content)
        with Image.open(io.BytesIO(content)) as image:
            wanted = image.resize((size, size), Image.Resampling.BOX)
        assert np.array_equal(found, np.asarray(wanted))
        assert found.flags.c_contiguous
        assert found.flags.writeable


def test_both_filters_warp_each_side_by_its_own_factor():
    image = grey([[0, 0, 0, 200, 200, 200]] * 2)
    for name in ("box", "bilinear"):
        found = warp(image, Warp(size=2, filter=name))[:, :, 0].astype(int)
        assert (found[0] == found[1]).all()
        assert found[0, 0] < 40
        assert found[0, 1] > 160


@pytest.mark.parametrize(("name", "most"), [("box", 4.0), ("bilinear", 2.0)])
@pytest.mark.parametrize("size", [8, 16])
def test_scaled_decoding_changes_smooth_pictures_within_its_bound(name, most, size):
    pytest.importorskip("simplejpeg", reason="the extra imagenet is not installed")
    for seed, (width, height) in enumerate([(400, 300), (301, 463)]):
        content = picture(seed, width=width, height=height)
        whole, scaled = (
            Warp(size=size, filter=name, dct_scaling=asked)(content).astype(int)
            for asked in (False, True)
        )
        assert 0 < np.abs(whole - scaled).mean() <= most


@pytest.mark.archives
def test_photographs_of_every_size_match_means_by_hand():
    paths = sorted((REAL / "sample").rglob("*.JP*G")) + sorted((REAL / "sample").rglob("*.jp*g"))
    if not paths:
        pytest.skip("ANNEAL_ARCHIVES has no imagenet/sample")
    sizes = set()
    for path in paths:
        pixels = decode(path.read_bytes())
        sizes.add(pixels.shape[:2])
        found = warp(pixels, Warp(size=8, filter="box"))
        rows = by_hand(by_hand(pixels.transpose(1, 0, 2), 8).transpose(1, 0, 2), 8)
        assert np.abs(found.astype(int) - rows).max() <= 1, path  # 22 bits of weights decide ties
    assert min(sizes) < (100, 100)
    assert max(sizes) > (1000, 1000)


def by_hand(image, size):
    """Mean over each box along the first axis, rounded half up."""
    scale = len(image) / size
    edges = [int(n * scale + 0.5) for n in range(size + 1)]  # a centre on an edge is the first's
    parts = [np.floor(image[a:b].astype(np.float64).mean(0) + 0.5) for a, b in pairwise(edges)]
    return np.stack(parts).astype(np.uint8)
