"""Batches of a store: windows, files in order, Caffe's settings, resuming from a number."""

import dataclasses
from itertools import chain

import numpy as np
import pytest
import torch
from tests.datasets.imagenet_sources import write_tree

from anneal.datasets import Paths, identify, load_dataset
from anneal.datasets.batches import EvaluationBatches, TrainingBatches
from anneal.datasets.image_data import Split
from anneal.datasets.imagenet.pixels import Warp
from anneal.datasets.imagenet.prepare import Preparation, prepare
from anneal.datasets.normalise import Normalise, statistics_of
from anneal.datasets.windows import Windows

CHRABASZCZ = {
    "order": "shuffled",
    "drop_last": True,
    "mirrored_copies": True,
    "files": 10,
}


def batches_of(split, config, *, batch_size=4, seed=3, normalise=None):
    return TrainingBatches(
        split,
        config=config,
        batch_size=batch_size,
        seed=seed,
        device="cpu",
        normalise=normalise or Normalise(config.scale),
    )


def labels_alone(labels) -> Split:
    return Split(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), torch.as_tensor(labels))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A raw store and one of JPEGs, of the same 14 and 6 images of 16 px."""
    folder = tmp_path_factory.mktemp("imagenet")
    tree = write_tree(folder / "tree")
    for kind in ("raw", "jpeg"):
        settings = Preparation(warp=Warp(size=16, filter="box"), store=kind)
        prepare(tree, folder / kind, settings, tell=lambda _: None)
    return folder


def of_store(configure, stores, kind="raw", **changes):
    return configure(
        name="imagenet16", source="imagenet16", folder=str(stores / kind), image_size=16,
        subset=True, **changes,
    )  # fmt: skip


# --- files ---------------------------------------------------------------------------------------


def test_epoch_of_full_imagenet_has_20010_updates(configure):
    split = labels_alone(np.arange(1_281_167) % 1000)
    batches = batches_of(split, configure(**CHRABASZCZ), batch_size=128)
    assert batches.steps_per_epoch == 20_010
    last_of_first_file, first_of_second = batches.indices_of(2_000), batches.indices_of(2_001)
    assert last_of_first_file.max() < 128_116 <= first_of_second.min()
    assert batches.indices_of(20_009).min() >= 9 * 128_116
    assert len(batches.indices_of(20_009)) == 128
    assert batches.indices_of(20_010).max() < 128_116  # the next epoch begins with file 0


def test_files_follow_in_order_each_with_its_copies_shuffled(configure):
    config = configure(**CHRABASZCZ | {"files": 3})
    batches = batches_of(labels_alone(np.zeros(11, np.int64)), config, batch_size=3)
    # 11 images: files 0-2, 3-5, 6-10; with copies 6, 6 and 10, so 2, 2 and 3 batches of 3.
    assert batches.steps_per_epoch == 7
    epoch = [batches.indices_of(n).tolist() for n in range(7)]
    assert [sorted(chain(*epoch[a:b])) for a, b in ((0, 2), (2, 4))] == [
        [0, 0, 1, 1, 2, 2],
        [3, 3, 4, 4, 5, 5],
    ]
    assert {*chain(*epoch[4:])} <= {6, 7, 8, 9, 10}
    again = batches_of(labels_alone(np.zeros(11, np.int64)), config, batch_size=3)
    assert [again.indices_of(n).tolist() for n in (6, 0)] == [epoch[6], epoch[0]]
    assert [batches.indices_of(n).tolist() for n in range(7, 14)] != epoch


def test_files_of_whole_classes_hold_ten_groups_unmixed(configure):
    labels = np.random.default_rng(0).permutation(np.arange(400) % 20)
    config = configure(**CHRABASZCZ | {"files_hold": "classes"})
    batches = batches_of(labels_alone(labels), config, batch_size=8)
    assert batches.steps_per_epoch == 100
    for number in range(100):
        found = torch.as_tensor(labels)[batches.indices_of(number)]
        assert {*(found // 2).tolist()} == {number // 10}


@pytest.mark.parametrize("wrong", [{"order": "stored"}, {"drop_last": False}])
def test_files_need_shuffled_order_and_full_batches(configure, wrong):
    with pytest.raises(ValueError, match=r"dataset.files needs dataset.order=shuffled and"):
        batches_of(labels_alone([0] * 40), configure(**CHRABASZCZ | wrong))


def test_batch_larger_than_every_file_is_refused(configure):
    with pytest.raises(ValueError, match=r"at most the 80 training images in 10 files .* got 9"):
        batches_of(labels_alone([0] * 40), configure(**CHRABASZCZ), batch_size=9)


# --- windows -------------------------------------------------------------------------------------


def test_mean_image_is_subtracted_at_the_place_of_the_window(configure):
    images = torch.randint(256, (9, 3, 12, 12), dtype=torch.uint8)
    split = Split(images, torch.zeros(9, dtype=torch.int64))
    config = configure(crop=7, subtract="mean_image")
    normalise = statistics_of(split, config)
    batches = batches_of(split, config, batch_size=9, normalise=normalise)
    found, _ = batches(0)
    whole = images.float() - images.double().mean(0).float()
    offsets = batches._windows(0, 9).offsets.T.tolist()
    assert len({*map(tuple, offsets)}) > 1
    for number, (top, left) in enumerate(offsets):
        torch.testing.assert_close(
            found[number], whole[number, :, top : top + 7, left : left + 7], rtol=0, atol=1e-5
        )
    assert batches.image_shape == (3, 7, 7)


def test_windows_reach_every_place_and_depend_on_the_number_alone(configure):
    split = Split(torch.zeros(64, 1, 8, 8, dtype=torch.uint8), torch.zeros(64, dtype=torch.int64))
    batches = batches_of(split, configure(crop=6), batch_size=64)
    drawn = [batches._windows(n, 64).offsets for n in range(8)]
    assert {*map(tuple, torch.cat(drawn, 1).T.tolist())} == {
        (a, b) for a in range(3) for b in range(3)
    }
    assert torch.equal(batches._windows(5, 64).offsets, drawn[5])
    assert not torch.equal(drawn[0], drawn[1])


def test_single_window_is_cut_as_one_of_many():
    images = torch.arange(4 * 3 * 9 * 8).view(4, 3, 9, 8)
    windows = Windows(torch.tensor([[0, 4, 2, 3], [3, 0, 1, 2]]), 5)
    for number, wanted in enumerate(windows.cut(images)):
        here = slice(number, number + 1)
        assert torch.equal(windows.part(here).cut(images[here])[0], wanted)


def test_evaluation_cuts_the_centre(configure):
    images = torch.arange(2 * 256 * 256, dtype=torch.int64).remainder(251).to(torch.uint8)
    split = Split(images.view(2, 1, 256, 256), torch.zeros(2, dtype=torch.int64))
    ((found, _),) = EvaluationBatches(
        split, batch_size=2, device="cpu", normalise=Normalise(255.0), crop=227
    )
    assert torch.equal(found, split.images[:, :, 14:241, 14:241].float())


# --- stores --------------------------------------------------------------------------------------


def test_store_gives_the_batches_of_its_pixels_in_its_order(configure, stores):
    config = of_store(configure, stores, crop=11, subtract="mean_image", mirror=True)
    data = load_dataset(config, Paths(stores))
    raw = np.fromfile(stores / "raw" / "train.u8", np.uint8).reshape(-1, 16, 16, 3)
    order = np.load(stores / "raw" / "train.order.npy")
    in_memory = Split(torch.from_numpy(raw[order].transpose(0, 3, 1, 2).copy()), data.train.labels)
    assert data.image_shape == (3, 11, 11)
    normalise, expected = statistics_of(data.train, config), statistics_of(in_memory, config)
    assert torch.equal(normalise.mean, expected.mean)
    ours = batches_of(data.train, config, normalise=normalise)
    theirs = batches_of(in_memory, config, normalise=expected)
    for number in (0, 1, 2, 9, 3):  # part-batches cross epochs; 9 is resumed at
        for found, wanted in zip(ours(number), theirs(number), strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    "changes",
    [
        {"crop": 11, "subtract": "channel_mean", "divide": "channel_std", "scale": 1.0},
        {"crop": 11, "subtract": "mean_image", "channel_order": "bgr"},
        {"divide": "overall_std"},
        {"crop_padding": 2, "subtract": "mean_image"},
    ],
)
def test_channels_last_keeps_the_bits_of_a_store(configure, stores, changes, batch_size):
    config = of_store(configure, stores, mirror=True, **changes)
    data = load_dataset(config, Paths(stores))
    normalise = statistics_of(data.train, config)
    planes, last = (
        TrainingBatches(
            data.train, config=config, batch_size=batch_size, seed=3, device="cpu",
            normalise=normalise, channels_last=asked,
        )
        for asked in (False, True)
    )  # fmt: skip
    for number in range(4):
        found, wanted = last(number)[0], planes(number)[0]
        assert torch.equal(found, wanted)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert wanted.is_contiguous()
    planes, last = (
        EvaluationBatches(
            data.test, batch_size=batch_size, device="cpu", normalise=normalise,
            channels_last=asked, crop=config.crop,
        )
        for asked in (False, True)
    )  # fmt: skip
    for (found, _), (wanted, _) in zip(last, planes, strict=True):
        assert torch.equal(found, wanted)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_pixels_become_floats_in_the_layout_of_a_store(configure, stores, monkeypatch):
    config = of_store(configure, stores, crop=11, subtract="mean_image")
    train = load_dataset(config, Paths(stores)).train
    asked = []
    whole = Normalise.__call__

    def watched(self, images, windows=None, *, memory_format):
        normal = whole(self, images, windows, memory_format=memory_format)
        asked.append((memory_format, normal.is_contiguous(memory_format=memory_format)))
        return normal

    monkeypatch.setattr(Normalise, "__call__", watched)
    for channels_last in (True, False):
        TrainingBatches(
            train, config=config, batch_size=4, seed=0, device="cpu",
            normalise=statistics_of(train, config), channels_last=channels_last,
        )(0)  # fmt: skip
    assert asked == [(torch.channels_last, True), (torch.contiguous_format, True)]


def test_batches_of_a_store_are_made_without_reading_the_device(configure, stores):
    config = of_store(
        configure, stores, crop=11, subtract="mean_image", mirror=True, channel_order="bgr"
    )
    data = load_dataset(config, Paths(stores)).to("meta")  # from which nothing can be read
    batches = TrainingBatches(
        data.train, config=config, batch_size=4, seed=0, device="meta",
        normalise=statistics_of(load_dataset(config, Paths(stores)).train, config),
    )  # fmt: skip
    for number in (0, 1, 5):
        images, labels = batches(number)
        assert (images.device.type, labels.device.type) == ("meta", "meta")
        assert images.shape == (4, 3, 11, 11)


@pytest.mark.gpu
def test_gpu_gets_the_batches_of_a_store_that_the_cpu_gets(configure, stores):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    config = of_store(
        configure, stores, crop=11, subtract="mean_image", mirror=True, channel_order="bgr"
    )
    train = load_dataset(config, Paths(stores)).train
    on_cpu, on_gpu = (
        TrainingBatches(
            train, config=config, batch_size=4, seed=0, device=device, channels_last=True,
            normalise=statistics_of(train, config),
        )
        for device in ("cpu", "cuda")
    )  # fmt: skip
    for number in (0, 1, 5):
        for found, wanted in zip(on_gpu(number), on_cpu(number), strict=True):
            assert found.device.type == "cuda"
            assert torch.equal(found.cpu(), wanted)


def test_store_of_jpegs_is_close_to_the_raw_store(configure, stores):
    found = [
        load_dataset(of_store(configure, stores, kind), Paths(stores)).train.take(torch.arange(14))
        for kind in ("raw", "jpeg")
    ]
    assert torch.equal(found[0][1], found[1][1])
    assert (found[0][0].int() - found[1][0].int()).abs().float().mean() < 8


def test_blue_green_red_reverses_pixels_and_sums(configure, stores):
    rgb, bgr = (
        load_dataset(of_store(configure, stores, channel_order=order), Paths(stores)).train
        for order in ("rgb", "bgr")
    )
    indices = torch.tensor([3, 0, 13])
    assert torch.equal(bgr.take(indices)[0], rgb.take(indices)[0].flip(1))
    assert torch.equal(bgr.sums()[0], rgb.sums()[0].flip(0))
    assert torch.equal(bgr.sums()[1], rgb.sums()[1].flip(0))


def test_first_images_of_a_store_have_no_known_sums(configure, stores):
    train = load_dataset(of_store(configure, stores), Paths(stores)).train
    assert train.first(5).sums() is None
    assert train.first(14).sums() is not None
    assert train.first(5).take(torch.tensor([4]))[0].equal(train.take(torch.tensor([4]))[0])


def test_evaluation_counts_every_image_of_a_store_once(configure, stores):
    data = load_dataset(of_store(configure, stores, crop=10), Paths(stores))
    batches = EvaluationBatches(
        data.test, batch_size=4, device="cpu", normalise=Normalise(255.0), crop=10
    )
    labels = torch.cat([labels for _, labels in batches])
    assert torch.equal(labels, data.test.labels)


def test_identity_of_a_store_changes_with_its_pixels(configure, stores):
    raw, jpeg = (identify(of_store(configure, stores, k), Paths(stores)) for k in ("raw", "jpeg"))
    assert raw["splits"] == jpeg["splits"]
    assert raw["splits"]["train"]["num_images"] == 14
    assert raw["checksums"]["train"] != jpeg["checksums"]["train"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 32}, r"dataset.image_size is 32, .*raw is a store of 16"),
        ({"resize_filter": "bilinear"}, r"dataset.resize_filter is bilinear, .* a store of box"),
        ({"scaled_decoding": True}, r"dataset.scaled_decoding is True, .* a store of False"),
        ({"subset": None}, r"must have 1,281,167 training and 50,000 validation images of 1,000"),
        ({"crop": 17}, r"dataset.crop must be at most the 16 x 16 px of the images, got 17"),
        ({"folder": None}, r"imagenet16 is not here; looked at .*anneal prepare SOURCE"),
    ],
)
def test_store_that_the_configuration_does_not_mean_is_refused(configure, stores, changes, message):
    config = dataclasses.replace(of_store(configure, stores), **changes)
    with pytest.raises(ValueError, match=message):
        load_dataset(config, Paths(stores / "elsewhere"))
