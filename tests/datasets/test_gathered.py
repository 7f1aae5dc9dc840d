"""Batches made by one gather: those of ``TrainingBatches``, to the last bit."""

import itertools

import pytest
import torch

from anneal.datasets.batches import TrainingBatches
from anneal.datasets.gathered import AHEAD, GatheredBatches
from anneal.datasets.image_data import DecodedSplit, Split
from anneal.datasets.normalise import Normalise, statistics_of

GENERATOR = torch.Generator().manual_seed(0)
SPLIT = Split(
    torch.randint(256, (23, 3, 9, 8), dtype=torch.uint8, generator=GENERATOR), torch.arange(23) % 4
)

CONFIGURATIONS = {
    "plain": {"order": "stored"},
    "mirror": {"order": "stored", "mirror": True},
    "crop": {"crop_padding": 2, "mirror": True, "order": "shuffled"},
    "reflect": {"crop_padding": 3, "crop_fill": "reflect", "mirror": True},
    "copies": {"crop_padding": 2, "mirrored_copies": True, "order": "shuffled"},
    "windows": {"crop": 6, "mirror": True, "subtract": "mean_image"},
    "both": {"crop": 6, "crop_padding": 1, "crop_fill": "zero", "subtract": "mean_image"},
    "overall": {"scale": 1.0, "subtract": "channel_mean", "divide": "overall_std", "mirror": True},
    "mean_image": {"subtract": "mean_image", "divide": "channel_std", "crop_padding": 2},
}  # fmt: skip


def both(config, **changes):
    """Return the usual batches and the gathered ones of one configuration."""
    arguments = {
        "config": config, "batch_size": 5, "seed": 3, "device": "cpu",
        "normalise": statistics_of(SPLIT, config),
    }  # fmt: skip
    return [kind(SPLIT, **(arguments | changes)) for kind in (TrainingBatches, GatheredBatches)]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_gathered_batches_are_the_usual_ones_to_the_bit(configure, name, channels_last):
    usual, gathered = both(configure(**CONFIGURATIONS[name]), channels_last=channels_last)
    for number in (0, 1, 4, 9, 2, AHEAD + 3):
        (images, labels), (found, found_labels) = usual(number), gathered(number)
        assert torch.equal(images, found)
        assert torch.equal(labels, found_labels)
        assert (images.dtype, images.stride()) == (found.dtype, found.stride())


def test_grey_images_have_the_usual_memory_format(configure):
    split = Split(SPLIT.images[:, :1].contiguous(), SPLIT.labels)
    usual, gathered = (
        kind(
            split, config=configure(order="stored"), batch_size=5, seed=3, device="cpu",
            normalise=Normalise(255.0), channels_last=True,
        )
        for kind in (TrainingBatches, GatheredBatches)
    )  # fmt: skip
    (images, _), (found, _) = usual(0), gathered(0)
    assert torch.equal(images, found)
    assert images.stride() == found.stride()


def test_several_gathered_batches_take_turns(configure):
    usual, gathered = both(configure(**CONFIGURATIONS["crop"], drop_last=True))
    gathered(0)  # sends what comes before AHEAD
    images, labels = gathered.interleaved([AHEAD - 1, AHEAD])
    for place, number in enumerate((AHEAD - 1, AHEAD)):
        assert torch.equal(images[place::2], usual(number)[0])
        assert torch.equal(labels[place::2], usual(number)[1])


def test_draws_are_sent_for_many_batches_at_once(configure, monkeypatch):
    _, gathered = both(configure(**CONFIGURATIONS["crop"]), following=lambda number: number + 2)
    sent = []
    send = GatheredBatches._sent_ahead
    monkeypatch.setattr(
        GatheredBatches, "_sent_ahead", lambda self, n: (sent.append([*n]), send(self, n))[1]
    )
    for number in itertools.islice(itertools.count(1, 2), AHEAD + 1):
        gathered(number)
    assert sent == [[1], [1 + 2 * AHEAD]]


def test_gathered_batches_change_no_image_in_memory(configure):
    before = SPLIT.images.clone()
    _, gathered = both(configure(order="stored"), normalise=Normalise(255.0))
    gathered(0)[0].zero_()
    assert torch.equal(SPLIT.images, before)


def test_gathering_needs_images_in_memory(configure):
    decoded = DecodedSplit(
        lambda n: SPLIT.images[n].numpy(), SPLIT.labels, image_shape=SPLIT.image_shape
    )
    signals = Split(torch.zeros(4, 3, 50), torch.arange(4))
    for split in (decoded, signals):
        with pytest.raises(
            ValueError, match=r"^hardware\.inputs must be stepwise where images are"
        ):
            GatheredBatches(
                split, config=configure(), batch_size=2, seed=0, device="cpu",
                normalise=Normalise(255.0),
            )  # fmt: skip
