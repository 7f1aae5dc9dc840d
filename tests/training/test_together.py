"""Parts of an update in one forward pass: equal to the loop over parts, in far fewer operations."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from anneal.config.schema import DatasetConfig
from anneal.datasets.batches import TrainingBatches
from anneal.datasets.gathered import GatheredBatches
from anneal.datasets.image_data import Split
from anneal.datasets.normalise import Normalise
from anneal.models.build import parameter_groups
from anneal.models.caffe_cifar import CaffeCIFAR, CaffeCIFARSigmoidBN
from anneal.models.caffe_resnet import CaffeProjectionResNet, CaffeResNet
from anneal.models.resnet import ResNetCIFAR, StochasticDepthResNet
from anneal.training.loop import Learner
from anneal.training.optimizers.caffe import CaffeSGD
from anneal.training.seeding import seed_everything
from anneal.training.together import interleave

PARTS, BATCH = 4, 6
TOLERANCE = 1e-6  # of float64 weights and float32 losses


MIRRORED = DatasetConfig(
    name="noise", source="digits", dataset_class=None, folder=None, image_size=None,
    test_fraction=None, split_seed=0, memory_gib=1.0, scale=255.0, subtract="mean_image",
    divide="nothing", crop_padding=0, crop_fill="zero", mirror=True, order="stored",
    drop_last=False,
)  # fmt: skip


class CountedOperations(TorchDispatchMode):
    """Count what is dispatched inside: about one kernel each on a GPU."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        self.counts[str(operation)] += 1
        return operation(*arguments, **(keywords or {}))


def batch(number, side=8, size=BATCH):
    generator = torch.Generator().manual_seed(number)
    images = 20 * torch.randn(size, 3, side, side, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 10, (size,), generator=generator)


def learner(build, *, together, accumulation=PARTS, batches=batch, **fields):
    seed_everything(1)
    model = build().double()
    model.train()
    rule = CaffeSGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-3)
    return Learner(
        model=model, optimizer=rule, batches=batches, accumulation=accumulation, seed=1,
        together=together, **fields,
    )  # fmt: skip


def assert_equal(one, other):
    for (name, expected), found in zip(
        one.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert torch.allclose(expected, found, rtol=TOLERANCE, atol=TOLERANCE), name


NETWORKS = {
    "caffe_net": lambda: CaffeCIFAR(img_size=8),
    "caffe_sigmoid_bn": lambda: CaffeCIFARSigmoidBN(img_size=8),  # no scale, no shift
    "caffe_bn": lambda: CaffeResNet(depth=8, bias_decay_mult=1, batches_per_update=PARTS),
    "projection": lambda: CaffeProjectionResNet(widths=(4, 8, 16), plain_blocks=(1, 0, 0)),
    "torch_bn": lambda: ResNetCIFAR(depth=8),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("accumulation", [1, PARTS])
def test_parts_together_equal_the_loop_over_parts(name, accumulation):
    apart, together = (
        learner(NETWORKS[name], together=together, accumulation=accumulation)
        for together in (False, True)
    )
    for update in range(4):
        assert apart.update(update).item() == pytest.approx(
            together.update(update).item(), rel=TOLERANCE
        )
    assert_equal(apart.model, together.model)
    with torch.no_grad():
        outputs = [each.model.eval()(batch(99)[0]) for each in (apart, together)]
    assert torch.allclose(*outputs, rtol=TOLERANCE)


def test_parts_together_equal_the_loop_channels_last():
    def batches(number):
        images, labels = batch(number)
        return images.contiguous(memory_format=torch.channels_last), labels

    apart, together = (
        learner(NETWORKS["caffe_bn"], together=together, batches=batches)
        for together in (False, True)
    )
    for each in (apart, together):
        each.model.to(memory_format=torch.channels_last)
        each.update(0)
    assert_equal(apart.model, together.model)


def test_images_of_parts_take_turns_in_their_memory_format():
    parts = [batch(number)[0].contiguous(memory_format=torch.channels_last) for number in (0, 1)]
    images, labels = interleave([(parts[0], torch.arange(6)), (parts[1], torch.arange(6, 12))])
    assert labels.tolist() == [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]
    assert torch.equal(images[0::2], parts[0])
    assert torch.equal(images[1::2], parts[1])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_frozen_normalisation_keeps_its_statistics():
    def build():
        network = NETWORKS["caffe_bn"]()
        network.stem.bn.scale_factor.fill_(1)
        network.stem.bn.variance_sum.fill_(4)
        return network

    apart, together = (learner(build, together=together) for together in (False, True))
    for each in (apart, together):
        each.model.stem.bn.eval()
        each.update(0)
    assert together.model.stem.bn.variance_sum.tolist() == [4] * 16
    assert_equal(apart.model, together.model)


class OneOfTwo(nn.Module):
    """A network one of whose layers takes no part, or takes part twice."""

    def __init__(self, used):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])
        self.fc = nn.Linear(3 * 64, 10)
        self.used = used

    def forward(self, x):
        for number in self.used:
            x = self.norms[number](x)
        return self.fc(x.flatten(1))


def test_layer_that_takes_no_part_keeps_its_statistics():
    apart, together = (learner(lambda: OneOfTwo([1]), together=t) for t in (False, True))
    for each in (apart, together):
        each.update(0)
    assert together.model.norms[0].num_batches_tracked == 0
    assert together.model.norms[0].weight.grad is None
    assert together.model.norms[1].num_batches_tracked == PARTS
    assert_equal(apart.model, together.model)


def refused(build, **fields):
    """Return why parts together are refused; the weights and forwards are those of before."""
    together = learner(build, together=True, **fields)
    before = [weight.clone() for weight in together.model.parameters()]
    with pytest.raises(ValueError, match=r"^hardware\.parts must be apart") as error:
        together.update(0)
    assert all(map(torch.equal, before, together.model.parameters()))
    assert not any("forward" in vars(module) for module in together.model.modules())
    return str(error.value)


def test_layer_that_runs_twice_is_refused():
    assert "norms.1 does" in refused(lambda: OneOfTwo([1, 1]))


@pytest.mark.parametrize(
    "build",
    [
        lambda: StochasticDepthResNet(depth=8),
        lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 10)),
    ],
)
def test_network_that_draws_is_refused_with_several_parts(build):
    assert "draws random numbers" in refused(build)


def test_network_that_draws_takes_one_part_as_the_loop_does():
    def build():
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 10))

    losses = []
    for together in (False, True):
        one = learner(build, together=together, accumulation=1)
        losses.append([one.update(update).item() for update in range(2)])
    assert losses[0] == losses[1]


def test_normalisation_of_another_kind_is_refused():
    class Activated(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    line = refused(lambda: nn.Sequential(Activated(3), nn.Flatten(), nn.Linear(192, 10)))
    assert line.endswith("0 is Activated")


def test_parts_of_different_sizes_are_refused():
    line = refused(NETWORKS["torch_bn"], batches=lambda number: batch(number, size=5 + number))
    assert "got 5 and 6 and 7 and 8 (" in line


def test_statistics_that_are_not_finite_end_with_their_update():
    def batches(number):
        images, labels = batch(number)
        return (images * float("inf") if number < PARTS else images), labels

    one = learner(NETWORKS["torch_bn"], together=True, batches=batches)
    state = {name: value.clone() for name, value in one.model.state_dict().items()}
    one.update(0)
    one.model.load_state_dict(state)
    one.update(1)
    assert one.model.bn1.running_mean.isfinite().all()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_resnet56_of_eight_parts_makes_few_operations(precision):
    seed_everything(1)
    model = CaffeResNet(depth=56, bias_decay_mult=0, batches_per_update=8)
    rule = CaffeSGD(parameter_groups(model, weight_decay=1e-4), lr=0.1, momentum=0.9)
    split = Split(torch.randint(256, (32, 3, 8, 8), dtype=torch.uint8), torch.arange(32) % 10)
    arguments = {
        "config": MIRRORED, "batch_size": 2, "seed": 0,
        "device": "cpu", "normalise": Normalise(255.0, mean=torch.zeros(3, 8, 8)),
    }  # fmt: skip
    apart = Learner(
        model=model, optimizer=rule, batches=TrainingBatches(split, **arguments),
        accumulation=8, precision=precision,
    )  # fmt: skip
    gathered = GatheredBatches(split, **arguments)
    model.train()
    found = []
    for each in (apart, replace(apart, together=True, interleaved=gathered.interleaved)):
        each.update(0)  # what is made once
        with CountedOperations() as counted:
            each.update(1)
        found.append(counted.counts.total())
    assert found[0] > 9000
    assert found[1] <= 1500
