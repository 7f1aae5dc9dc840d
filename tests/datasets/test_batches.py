import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anneal.datasets.augment import augment
from anneal.datasets.batches import EvaluationBatches, TrainingBatches, hold_out, stream_seed
from anneal.datasets.image_data import DecodedSplit, ImageData, Split
from anneal.datasets.normalise import Normalise, statistics_of
from anneal.datasets.splitting import stratified_split

AUGMENTING = {
    "scale": 1.0,
    "crop_padding": 2,
    "mirror": True,
    "order": "shuffled",
}
FLOAT32_RTOL = 2e-6  # measured against float64: 4e-7


def make_split(num_images=23, shape=(3, 8, 8), seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (num_images, *shape), dtype=torch.uint8, generator=generator)
    images[:, 0, 0, 0] = torch.arange(num_images)  # each image carries its number
    return Split(images, torch.arange(num_images) % 4)


def make_batches(config, split=None, **changes):
    arguments = {
        "config": config,
        "batch_size": 5,
        "seed": 0,
        "device": "cpu",
        "normalise": Normalise(config.scale),
    }
    return TrainingBatches(split or make_split(), **(arguments | changes))


def numbers_of(images):
    return images[:, 0, 0, 0].int().tolist()


def test_stored_order_goes_round_the_images_and_every_batch_is_full(configure):
    batches = make_batches(configure(order="stored"))
    seen = [numbers_of(batches(index)[0]) for index in range(6)]
    assert seen == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12, 13, 14],
        [15, 16, 17, 18, 19],
        [20, 21, 22, 0, 1],
        [2, 3, 4, 5, 6],
    ]
    assert numbers_of(batches(23)[0]) == [0, 1, 2, 3, 4], "23 batches of 5 are 5 rounds of 23"


def test_stored_order_restarts_each_epoch_with_drop_last(configure):
    batches = make_batches(configure(order="stored", drop_last=True))
    assert [numbers_of(batches(index)[0])[0] for index in range(5)] == [0, 5, 10, 15, 0]


def test_epoch_rounds_down_with_drop_last_and_up_without(configure):
    dropped = make_batches(configure(drop_last=True))
    kept = make_batches(configure(drop_last=False, order="shuffled"))
    assert (dropped.steps_per_epoch, kept.steps_per_epoch) == (4, 5)
    assert [len(dropped(index)[1]) for index in range(5)] == [5, 5, 5, 5, 5]
    assert [len(kept(index)[1]) for index in range(6)] == [5, 5, 5, 5, 3, 5]
    assert numbers_of(dropped(4)[0]) == [0, 1, 2, 3, 4]


def test_images_that_divide_into_batches_make_no_partial_batch(configure):
    split = make_split(20)
    for drop_last in (True, False):
        assert make_batches(configure(drop_last=drop_last), split).steps_per_epoch == 4


@pytest.mark.parametrize("num_images", [20, 23])
def test_each_epoch_visits_each_image_once_in_another_order(configure, num_images):
    batches = make_batches(configure(order="shuffled"), make_split(num_images))
    steps = batches.steps_per_epoch
    epochs = [
        [n for step in range(steps) for n in numbers_of(batches(epoch * steps + step)[0])]
        for epoch in range(3)
    ]
    assert all(sorted(epoch) == list(range(num_images)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != sorted(epochs[0])


@given(order=st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_batch_is_a_function_of_its_number_whatever_was_asked_before(configure, order):
    config = configure(**AUGMENTING)
    batches = make_batches(config)
    expected = {index: make_batches(config)(index) for index in range(12)}
    for index in order:
        images, labels = batches(index)
        assert torch.equal(images, expected[index][0])
        assert torch.equal(labels, expected[index][1])


def test_different_seeds_give_different_orders_and_different_crops(configure):
    config = configure(**AUGMENTING)
    first, second = (make_batches(config, seed=seed) for seed in (0, 1))
    assert first.indices_of(0).tolist() != second.indices_of(0).tolist()
    same = torch.zeros(23, 3, 8, 8, dtype=torch.uint8)
    same[:, :, 3, 3] = 200
    one_image = Split(same, torch.zeros(23, dtype=torch.int64))
    crops = [make_batches(config, one_image, seed=seed)(0)[0] for seed in (0, 1)]
    assert not torch.equal(*crops)


def test_every_batch_draws_crops_of_its_own(configure):
    same = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(10, 1, 1, 1)
    one_image = Split(same, torch.zeros(10, dtype=torch.int64))
    batches = make_batches(configure(**AUGMENTING), one_image)
    crops = {batches(index)[0].numpy().tobytes() for index in range(6)}  # three epochs
    assert len(crops) == 6


def test_neighbouring_seeds_epochs_and_batches_share_no_stream(configure):
    orders = [
        tuple(make_batches(configure(order="shuffled"), seed=seed).indices_of(5 * epoch).tolist())
        for seed, epoch in itertools.product(range(6), range(6))
    ]
    assert len(set(orders)) == 36


def test_order_does_not_depend_on_the_global_generators(configure):
    torch.manual_seed(1)
    first = make_batches(configure(**AUGMENTING))(3)[0]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = make_batches(configure(**AUGMENTING))(3)[0]
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_data_in_memory_is_never_changed(configure):
    split = make_split()
    before = split.images.clone()
    batches = make_batches(configure(**AUGMENTING), split, normalise=Normalise(255.0))
    for index in range(10):
        batches(index)[0].zero_()
    assert torch.equal(split.images, before)


def test_only_the_images_asked_for_are_used(configure):
    indices = torch.tensor([1, 4, 6, 9, 12, 20])
    batches = make_batches(configure(order="shuffled"), batch_size=2, indices=indices)
    seen = [n for index in range(3) for n in numbers_of(batches(index)[0])]
    assert sorted(seen) == indices.tolist()
    assert (batches.steps_per_epoch, batches.num_images) == (3, 6)


def test_labels_stay_with_their_images(configure):
    batches = make_batches(configure(order="shuffled"))
    for index in range(batches.steps_per_epoch):
        images, labels = batches(index)
        assert [n % 4 for n in numbers_of(images)] == labels.tolist()


def test_channels_last_changes_the_memory_and_not_the_numbers(configure):
    config = configure(**AUGMENTING)
    plain, last = (make_batches(config, channels_last=flag)(7)[0] for flag in (False, True))
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()


def test_batch_larger_than_data_is_refused_with_drop_last(configure):
    with pytest.raises(ValueError, match="batch_size must be at most the 23 training images"):
        make_batches(configure(drop_last=True), batch_size=24)
    assert make_batches(configure(drop_last=False), batch_size=24).steps_per_epoch == 1


def test_reflection_wider_than_the_image_is_refused(configure):
    with pytest.raises(
        ValueError, match=r"dataset.crop_padding must be less than the image's 8 px"
    ):
        make_batches(configure(crop_padding=8, crop_fill="reflect"))


def test_negative_number_of_a_batch_is_refused(configure):
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        make_batches(configure())(-1)


def test_evaluation_gives_every_image_once_in_order_and_again(configure):
    batches = EvaluationBatches(
        make_split(), batch_size=10, device="cpu", normalise=Normalise(255.0)
    )
    for _ in range(2):
        assert [n for images, _ in batches for n in numbers_of(images)] == list(range(23))
    assert [len(labels) for _, labels in batches] == [10, 10, 3]
    assert len(batches) == 3


def test_evaluation_of_chosen_images_gives_those(configure):
    batches = EvaluationBatches(
        make_split(),
        batch_size=2,
        device="cpu",
        normalise=Normalise(255.0),
        indices=torch.tensor([3, 5, 8]),
    )
    assert [numbers_of(images) for images, _ in batches] == [[3, 5], [8]]


@pytest.mark.parametrize("scale", [1.0, 255.0])
@pytest.mark.parametrize("subtract", ["nothing", "mean_image", "channel_mean"])
@pytest.mark.parametrize("divide", ["nothing", "channel_std"])
def test_normalisation_is_that_of_numpy(configure, scale, subtract, divide):
    split = make_split(num_images=1500)  # more than one chunk
    normalise = statistics_of(split, configure(scale=scale, subtract=subtract, divide=divide))
    pixels = split.images.numpy().astype(np.float64) * (scale / 255)
    mean = {
        "nothing": 0.0,
        "mean_image": pixels.mean(0),
        "channel_mean": pixels.mean((0, 2, 3), keepdims=True)[0],
    }[subtract]
    std = pixels.std((0, 2, 3), keepdims=True)[0] if divide == "channel_std" else 1.0
    expected = (pixels - mean) / std
    found = normalise(split.images[:40]).numpy()
    assert found.dtype == np.float32
    # subtracting cancels digits: the error is relative to a full pixel
    np.testing.assert_allclose(
        found, expected[:40], rtol=FLOAT32_RTOL, atol=FLOAT32_RTOL * scale / np.min(std)
    )


def test_normalised_training_images_have_mean_zero_and_deviation_one(configure):
    split = make_split(num_images=300)
    config = configure(scale=1.0, subtract="channel_mean", divide="channel_std")
    normal = statistics_of(split, config)(split.images).double()
    torch.testing.assert_close(
        normal.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        normal.std((0, 2, 3), correction=0),
        torch.ones(3, dtype=torch.float64),
        atol=1e-6,
        rtol=0,
    )


def test_constant_channel_cannot_be_divided_by_its_deviation(configure):
    split = Split(torch.full((4, 1, 2, 2), 7, dtype=torch.uint8), torch.zeros(4).long())
    with pytest.raises(ValueError, match=r"dataset.divide: a channel is constant"):
        statistics_of(split, configure(divide="channel_std"))


@pytest.mark.parametrize("fill", ["zero", "reflect"])
@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("shape", [(7, 3, 8, 6), (2, 1, 5, 5), (3, 3, 300, 301)])
def test_augmentation_is_that_of_a_loop_over_images(fill, mirror, padding, shape):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    found = augment(
        images.clone(),
        crop_padding=padding,
        crop_fill=fill,
        mirror=mirror,
        generator=torch.Generator().manual_seed(5),
    )
    generator = torch.Generator().manual_seed(5)
    if padding:
        rows, columns = torch.randint(2 * padding + 1, (2, shape[0]), generator=generator)
    coins = torch.randint(2, (shape[0],), generator=generator) if mirror else [0] * shape[0]
    mode = {"zero": "constant", "reflect": "reflect"}[fill]
    for i in range(shape[0]):
        image = images[i].numpy()
        if padding:
            width = [(0, 0), (padding, padding), (padding, padding)]
            padded = np.pad(image, width, mode=mode)
            top, left = int(rows[i]), int(columns[i])
            image = padded[:, top : top + shape[2], left : left + shape[3]]
        if coins[i]:
            image = image[:, :, ::-1]
        np.testing.assert_array_equal(found[i].numpy(), image)


@pytest.mark.parametrize("subtract", ["nothing", "channel_mean", "mean_image"])
@pytest.mark.parametrize("side", [8, 300])
def test_images_mirrored_as_bytes_or_as_floats_are_equal(configure, subtract, side):
    split = make_split(6, (3, side, side))
    config = configure(scale=1.0, subtract=subtract, mirror=True, order="stored")
    normalise = statistics_of(split, config)
    expected = augment(
        normalise(split.images),
        crop_padding=0,
        crop_fill="zero",
        mirror=True,
        generator=torch.Generator().manual_seed(stream_seed(0, "augment", 2)),
    )
    assert not torch.equal(expected, normalise(split.images))
    before = split.images.clone()
    batches = make_batches(config, split, batch_size=6, normalise=normalise)
    assert torch.equal(batches(2)[0], expected)
    assert torch.equal(split.images, before)


def test_every_offset_and_both_sides_are_drawn_about_equally_often():
    images = torch.zeros(9000, 1, 3, 3)
    images[:, 0, 1, 0] = 1.0  # left of the centre
    generator = torch.Generator().manual_seed(0)
    moved = augment(images, crop_padding=1, crop_fill="zero", mirror=True, generator=generator)
    positions = Counter(
        tuple(image[0].nonzero()[0].tolist()) if image.any() else None for image in moved
    )
    # offsets 0, 1, 2: a third of the images lose the pixel at the left; the rest lie in one of
    # three rows and two columns, and mirrored images in the two columns mirrored
    assert 2800 < positions[None] < 3200
    assert all(400 < positions[row, 0] < 600 for row in range(3))
    assert all(850 < positions[row, 1] < 1150 for row in range(3))
    assert all(400 < positions[row, 2] < 600 for row in range(3))


def test_zero_fill_is_the_mean_because_images_are_normalised_first(configure):
    config = configure(scale=1.0, subtract="channel_mean", crop_padding=4, mirror=False)
    split = Split(torch.full((6, 1, 8, 8), 90, dtype=torch.uint8), torch.zeros(6).long())
    batches = make_batches(config, split, normalise=statistics_of(split, config))
    assert not batches(0)[0].abs().max() > 1e-7


def test_holding_out_takes_the_same_share_of_every_class_by_its_seed():
    split = make_split(40)
    kept, held = hold_out(split, fraction=0.25, seed=3)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(40))
    assert np.bincount(split.labels[held]).tolist() == [3, 3, 2, 2]
    again = hold_out(split, fraction=0.25, seed=3)
    assert torch.equal(held, again[1])
    assert not torch.equal(held, hold_out(split, fraction=0.25, seed=4)[1])


@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    percent=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_stratified_split_is_exact_in_size_and_even_over_classes(counts, percent, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    kept, aside = stratified_split(labels, fraction=percent / 100, seed=seed)
    assert len(aside) == -(-len(labels) * percent // 100)
    assert sorted([*kept, *aside]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        taken = int((labels[aside] == label).sum())
        assert taken < count
        assert abs(taken - count * percent / 100) <= 1


def test_class_is_never_emptied_by_a_split():
    labels = np.array([0, 1, 1, 1])
    _, aside = stratified_split(labels, fraction=0.5, seed=0)
    assert labels[aside].tolist() == [1, 1]
    with pytest.raises(ValueError, match="each class must keep one"):
        stratified_split(np.array([0, 1]), fraction=0.5, seed=0)


def test_split_that_is_decoded_gives_the_batches_of_one_in_memory(configure):
    split = make_split()
    decoded = DecodedSplit(
        lambda index: split.images[index].numpy(), split.labels, image_shape=(3, 8, 8)
    )
    config = configure(**AUGMENTING)
    in_memory, on_demand = make_batches(config, split), make_batches(config, decoded)
    for index in (0, 1, 2, 9, 3, 4, 5, 6):
        for expected, found in zip(in_memory(index), on_demand(index), strict=True):
            assert torch.equal(expected, found)


def test_decoding_error_is_raised_at_its_batch(configure):
    def decode(index):
        raise ValueError(f"image {index} cannot be read")

    split = DecodedSplit(decode, torch.zeros(9).long(), image_shape=(3, 8, 8))
    with pytest.raises(ValueError, match="image 0 cannot be read"):
        make_batches(configure(), split)(0)


@pytest.mark.gpu
def test_gpu_sees_the_same_images_in_the_same_order_as_the_cpu(configure):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    config = configure(**AUGMENTING)
    on_cpu, on_gpu = make_batches(config), make_batches(config, device="cuda")
    for index in (0, 3, 11):
        images, labels = on_gpu(index)
        assert images.device.type == "cuda"
        assert torch.equal(on_cpu(index)[0], images.cpu())
        assert torch.equal(on_cpu(index)[1], labels.cpu())


# --- mirrored copies, the first images, one deviation for all channels ----------------------------


def test_epoch_of_mirrored_copies_has_each_image_and_mirror_once(configure):
    split = make_split()
    config = configure(order="shuffled", mirrored_copies=True)
    batches = make_batches(config, split)
    assert (batches.num_images, batches.steps_per_epoch) == (46, 10)
    for epoch in range(2):
        images = torch.cat([batches(epoch * 10 + step)[0] for step in range(10)])
        expected = torch.cat([split.images, split.images.flip(3)]).float()
        assert sorted(image.numpy().tobytes() for image in images) == sorted(
            image.numpy().tobytes() for image in expected
        )
    dropped = make_batches(configure(order="shuffled", mirrored_copies=True, drop_last=True))
    assert dropped.steps_per_epoch == 9


def test_sgdrs_epoch_has_781_batches_of_128(configure):
    split = Split(torch.zeros(50_000, 1, 1, 1, dtype=torch.uint8), torch.zeros(50_000).long())
    config = configure(order="shuffled", mirrored_copies=True, drop_last=True)
    batches = make_batches(config, split, batch_size=128)
    assert batches.steps_per_epoch == 781
    assert len(batches(780)[1]) == 128


def test_copies_are_mirrored_before_the_crop_and_keep_their_labels(configure):
    split = make_split()
    config = configure(crop_padding=2, mirrored_copies=True)  # stored order: copies come last
    plain = make_batches(configure(crop_padding=2), split, batch_size=23)
    both = make_batches(config, split, batch_size=23)
    assert torch.equal(both(0)[0], plain(0)[0])
    mirrored = make_batches(
        configure(crop_padding=2), Split(split.images.flip(3), split.labels), batch_size=23
    )
    copies, labels = both(1)
    assert torch.equal(copies, mirrored(1)[0])  # the crops of batch 1
    assert torch.equal(labels, split.labels)


def test_mirrored_copy_of_a_normalised_image_is_what_sgdrs_code_mirrors(configure):
    """SGDR_WRNs.py: the mean of each pixel is subtracted first, then copies are mirrored."""
    split = make_split()
    config = configure(subtract="mean_image", mirrored_copies=True)
    batches = make_batches(config, split, batch_size=23, normalise=statistics_of(split, config))
    x = split.images.float() - split.images.float().mean(0)
    assert torch.allclose(batches(1)[0], x.flip(3), rtol=FLOAT32_RTOL, atol=1e-4)


def test_mirroring_both_ways_is_refused(configure):
    with pytest.raises(ValueError, match=r"dataset\.mirror must be false where dataset\.mirrored"):
        make_batches(configure(mirror=True, mirrored_copies=True))


@pytest.mark.parametrize("lazy", [False, True])
def test_first_images_are_the_first_stored(configure, lazy):
    split = make_split()
    whole = ImageData("x", split, make_split(5), ("a", "b", "c", "d"), {"splits": "as before"})
    if lazy:
        images = split.images.numpy()
        train = DecodedSplit(lambda i: images[i], split.labels, image_shape=(3, 8, 8))
        whole = dataclasses.replace(whole, train=train)
    data = whole.first(7)
    assert len(data.train) == 7
    assert len(data.test) == 5
    assert data.identity == whole.identity
    batches = make_batches(configure(order="shuffled"), data.train)
    seen = [n for step in range(batches.steps_per_epoch) for n in numbers_of(batches(step)[0])]
    assert sorted(seen) == list(range(7))
    assert whole.first(None).train is whole.train


def test_one_deviation_for_all_channels_is_that_of_all_values(configure):
    split = make_split(50)
    normalise = statistics_of(split, configure(subtract="mean_image", divide="overall_std"))
    values = split.images.double()
    expected = (values - values.mean(0)) / values.std(correction=0)
    assert normalise.std.shape == (1, 1, 1)
    assert torch.allclose(normalise(split.images).double(), expected, rtol=1e-5, atol=1e-6)
