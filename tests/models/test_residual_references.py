"""Our networks against the authors' files, written out line by line with torch's functions.

Each reference reads weights in the order in which the authors' file uses them (``Blobs``), so it
knows nothing of our modules; a test maps ours to that order once, by the order of the calls.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.densenet import DenseNet
from torchvision.models.resnet import BasicBlock as TorchvisionBlock

from anneal.models.caffe_layers import CaffeBatchNorm
from anneal.models.registry import OURS
from anneal.models.resnet import BasicBlock, StochasticDepthResNet
from anneal.training.loop import Learner
from anneal.training.seeding import seed_part

RTOL = 1e-9  # of the largest value, in float64


class Blobs:
    """The weights of a network in the order in which its layers are called."""

    def __init__(self, layers: list[nn.Module]) -> None:
        self._layers: Iterator[nn.Module] = iter(layers)

    def conv(self, x: Tensor, *, stride: int = 1, bias: bool = False) -> Tensor:
        layer = next(self._layers)
        assert isinstance(layer, nn.Conv2d)
        assert (layer.bias is not None) == bias
        pad = 1 if layer.kernel_size == (3, 3) else 0
        return functional.conv2d(x, layer.weight, layer.bias, stride=stride, padding=pad)

    def norm(self, x: Tensor, eps: float = 1e-5) -> Tensor:
        """Batch normalisation of a training batch, with scale and shift."""
        layer = next(self._layers)
        assert isinstance(layer, nn.BatchNorm2d | CaffeBatchNorm)
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        scale, shift = (p.view(1, -1, 1, 1) for p in (layer.weight, layer.bias))
        return (x - mean) / (variance + eps) ** 0.5 * scale + shift

    def linear(self, x: Tensor) -> Tensor:
        layer = next(self._layers)
        assert isinstance(layer, nn.Linear)
        return x @ layer.weight.T + layer.bias

    def end(self) -> None:
        assert next(self._layers, None) is None, "the reference left a layer out"


relu = functional.relu


def zeros_like_channels(x: Tensor, more: int) -> Tensor:
    return torch.cat((x, x.new_zeros(len(x), more, *x.shape[2:])), 1)


# --- the authors' files ---------------------------------------------------------------------------


def fb_resnet(blobs: Blobs, x: Tensor, *, depth: int) -> Tensor:
    """models/resnet.lua, dataset cifar10, shortcutType A."""
    n = (depth - 2) // 6
    x = relu(blobs.norm(blobs.conv(x)))
    channels = 16
    for features, first_stride in ((16, 1), (32, 2), (64, 2)):
        for i in range(n):
            stride = first_stride if i == 0 else 1
            s = relu(blobs.norm(blobs.conv(x, stride=stride)))
            s = blobs.norm(blobs.conv(s))
            shortcut = x
            if channels != features:  # Concat of Identity and MulConstant(0) after the stride
                shortcut = functional.avg_pool2d(x, 1, stride)
                shortcut = torch.cat((shortcut, shortcut * 0), 1)
            x = relu(s + shortcut)
            channels = features
    return blobs.linear(functional.avg_pool2d(x, 8, 1).flatten(1))


def stochastic_depth(blobs: Blobs, x: Tensor, *, gates: list[bool]) -> Tensor:
    """main.lua and ResidualDrop.lua with N = len(gates) / 3, training."""
    n = len(gates) // 3
    x = relu(blobs.norm(blobs.conv(x, bias=True)))
    for i, gate in enumerate(gates):
        widens = i in (n, 2 * n)
        skip = x
        if widens:
            skip = functional.avg_pool2d(skip, 2, 2)
            skip = zeros_like_channels(skip, skip.shape[1])
        output = skip
        if gate:
            net = relu(blobs.norm(blobs.conv(x, stride=2 if widens else 1, bias=True)))
            output = output + blobs.norm(blobs.conv(net, bias=True))
        x = relu(output)
    return blobs.linear(functional.avg_pool2d(x, 8, 8).flatten(1))


def wide_resnet(blobs: Blobs, x: Tensor, *, n: int, k: int) -> Tensor:
    """models/wide-resnet.lua without dropout."""
    x, planes = blobs.conv(x), 16
    for out_planes, first_stride in ((16 * k, 1), (32 * k, 2), (64 * k, 2)):
        for i in range(n):
            stride = first_stride if i == 0 else 1
            if planes == out_planes:  # BN and ReLU belong to the convolutions' branch
                shortcut, convs = x, relu(blobs.norm(x))
            else:  # BN and ReLU belong to both
                x = relu(blobs.norm(x))
                shortcut, convs = None, x
            convs = blobs.conv(convs, stride=stride)
            convs = blobs.conv(relu(blobs.norm(convs)))
            shortcut = blobs.conv(x, stride=stride) if shortcut is None else shortcut
            x, planes = convs + shortcut, out_planes
    x = relu(blobs.norm(x))
    return blobs.linear(functional.avg_pool2d(x, 8, 1).flatten(1))


def sgdr(blobs: Blobs, x: Tensor, *, n: int, k: int) -> Tensor:
    """SGDR_WRNs.py, ResNet_FullPre_Wide without dropout; eps is Lasagne's."""
    n_filters = {0: 16, 1: 16 * k, 2: 32 * k, 3: 64 * k}

    def batch_norm_rectify(x: Tensor) -> Tensor:
        return relu(blobs.norm(x, eps=1e-4))

    def residual_block(l: Tensor, *, increase_dim: bool = False, first: bool = False) -> Tensor:  # noqa: E741
        first_stride = 2 if increase_dim else 1
        bn_pre_relu = l if first else batch_norm_rectify(l)
        conv_1 = batch_norm_rectify(blobs.conv(bn_pre_relu, stride=first_stride))
        conv_2 = blobs.conv(conv_1, bias=True)
        if increase_dim or first:
            return conv_2 + blobs.conv(l, stride=first_stride)
        return conv_2 + l

    x = batch_norm_rectify(blobs.conv(x))
    assert x.shape[1] == n_filters[0]
    for stack in (1, 2, 3):
        x = residual_block(x, first=stack == 1, increase_dim=stack > 1)
        assert x.shape[1] == n_filters[stack]
        for _ in range(1, n):
            x = residual_block(x)
    return blobs.linear(batch_norm_rectify(x).mean((2, 3)))


def densenet(blobs: Blobs, x: Tensor, *, depth: int, bottleneck: bool) -> Tensor:
    """densenet.lua, and make_densenet.py, which adds nothing to it but its fillers."""
    n = (depth - 4) // (6 if bottleneck else 3)
    x = blobs.conv(x)
    for stage in range(3):
        for _ in range(n):
            new = blobs.conv(relu(blobs.norm(x)))
            if bottleneck:
                new = blobs.conv(relu(blobs.norm(new)))
            x = torch.cat((x, new), 1)
        if stage < 2:
            x = functional.avg_pool2d(blobs.conv(relu(blobs.norm(x))), 2)
    return blobs.linear(functional.avg_pool2d(relu(blobs.norm(x)), 8).flatten(1))


def caffe_average_pool(x: Tensor) -> Tensor:
    """AVE 3x3, stride 2, no padding: sizes rounded up, a clipped window counts what is left."""
    side = -((3 - x.shape[2]) // 2) + 1
    rows = [x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].mean((2, 3))
            for i in range(side) for j in range(side)]  # fmt: skip
    return torch.stack(rows, 2).view(*x.shape[:2], side, side)


def super_convergence(blobs: Blobs, x: Tensor, *, depth: int) -> Tensor:
    """architectures/Resnet20Cifar.prototxt: pre, L1_b1 ... L3_b3, post."""
    n = (depth - 2) // 6

    def cbr(x: Tensor, stride: int = 1) -> Tensor:
        return blobs.norm(blobs.conv(x, stride=stride, bias=True))

    x = relu(cbr(x))
    for level in (1, 2, 3):
        for b in range(1, n + 1):
            if level > 1 and b == 1:
                y = cbr(relu(cbr(x, stride=2)))
                x = relu(y + caffe_average_pool(x))
                x = zeros_like_channels(x, x.shape[1])  # L2_b1_zeros, L2_b1_concat0
            else:
                x = relu(cbr(relu(cbr(x))) + x)
    return blobs.linear(functional.avg_pool2d(x, 8, 1).flatten(1))


def projected(
    blobs: Blobs, x: Tensor, *, widths: tuple[int, ...], plain: tuple[int, ...]
) -> Tensor:
    """hyperParam1's gResnet56.prototxt and wide32cifar.prototxt."""

    def conv_bn_scale(x: Tensor, stride: int = 1) -> Tensor:
        return blobs.norm(blobs.conv(x, stride=stride, bias=True))

    x = relu(conv_bn_scale(x))
    for group, count in enumerate(plain):
        if group > 0:
            y = conv_bn_scale(relu(conv_bn_scale(x, stride=2)))
            x = conv_bn_scale(x, stride=2) + y
        for _ in range(count):
            x = conv_bn_scale(relu(conv_bn_scale(x))) + x
        assert x.shape[1] == widths[group]
    return blobs.linear(x.mean((2, 3)))


# --- the comparison -------------------------------------------------------------------------------

LAYERS = (nn.Conv2d, nn.BatchNorm2d, CaffeBatchNorm, nn.Linear)


def called(model: nn.Module, images: Tensor) -> tuple[list[nn.Module], Tensor]:
    """Return the layers that have weights in the order of their calls, and the output."""
    order: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda layer, _i, _o: order.append(layer))
        for module in model.modules()
        if isinstance(module, LAYERS)
    ]
    output = model(images)
    for handle in handles:
        handle.remove()
    return order, output


def randomised(model: nn.Module) -> nn.Module:
    """Return it in float64, its biases, scales and shifts moved off 0 and 1."""
    model = model.double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.add_(0.3 * noise)
    return model


def assert_same(model: nn.Module, reference: Callable[[Blobs, Tensor], Tensor]) -> None:
    """Compare logits and the gradient of every weight on a batch of three images."""
    generator = torch.Generator().manual_seed(8)
    images = torch.randn(3, 3, 32, 32, generator=generator, dtype=torch.float64)
    torch.manual_seed(9)
    order, ours = called(model, images)
    blobs = Blobs(order)
    theirs = reference(blobs, images)
    blobs.end()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=RTOL * theirs.abs().max().item())
    used = [p for layer in order for p in layer.parameters()]
    direction = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    mine = torch.autograd.grad((ours * direction).sum(), used)
    expected = torch.autograd.grad((theirs * direction).sum(), used)
    largest = max(gradient.abs().max().item() for gradient in expected)
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=RTOL * largest)


CASES: list[tuple[str, dict[str, Any], Callable[..., Tensor], dict[str, Any]]] = [
    ("cifar_resnet20", {}, fb_resnet, {"depth": 20}),
    ("cifar_wrn16_2", {}, wide_resnet, {"n": 2, "k": 2}),
    ("cifar_wrn28_1", {}, wide_resnet, {"n": 4, "k": 1}),
    ("sgdr_wrn16_1", {}, sgdr, {"n": 2, "k": 1}),
    ("sgdr_wrn16_2", {}, sgdr, {"n": 2, "k": 2}),
    ("cifar_densenet40_12", {}, densenet, {"depth": 40, "bottleneck": False}),
    ("caffe_densenet40_12", {"dropout": 0.0}, densenet, {"depth": 40, "bottleneck": False}),
    ("caffe_resnet20", {}, super_convergence, {"depth": 20}),
    (
        "caffe_wide_resnet32",
        {},
        projected,
        {"widths": (16, 64, 256), "plain": (5, 4, 4)},
    ),
    ("cifar_resnet110", {}, fb_resnet, {"depth": 110}),
    ("sgdr_wrn28_1", {}, sgdr, {"n": 4, "k": 1}),
    ("cifar_densenet_bc100_12", {}, densenet, {"depth": 100, "bottleneck": True}),
    ("caffe_resnet56", {}, super_convergence, {"depth": 56}),
    (
        "caffe_projection_resnet56",
        {},
        projected,
        {"widths": (16, 32, 64), "plain": (8, 8, 8)},
    ),
]


@pytest.mark.parametrize(("name", "arguments", "reference", "settings"), CASES)
def test_network_is_its_authors_file(
    name: str,
    arguments: dict[str, Any],
    reference: Callable[..., Tensor],
    settings: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    model = randomised(OURS[name](**arguments))
    assert_same(model, lambda blobs, images: reference(blobs, images, **settings))


# --- stochastic depth -----------------------------------------------------------------------------


def gates_of(model: StochasticDepthResNet, seed: int) -> list[bool]:
    """Return which blocks the next batch takes after ``manual_seed(seed)``: rand >= death rate."""
    torch.manual_seed(seed)
    return [draw >= rate for draw, rate in zip(torch.rand(54).tolist(), rates(), strict=True)]


def rates() -> list[float]:
    return [i / 54 * 0.5 for i in range(1, 55)]  # main.lua: i / #addtables * opt.deathRate


def test_stochastic_depth_is_its_authors_file_with_the_gates_it_drew() -> None:
    torch.manual_seed(0)
    model = randomised(OURS["cifar_sd_resnet110"]())
    assert isinstance(model, StochasticDepthResNet)
    gates = gates_of(model, 9)  # the seed with which assert_same calls the network
    assert 30 < sum(gates) < 54
    assert_same(model, lambda blobs, images: stochastic_depth(blobs, images, gates=gates))


def test_share_of_batches_that_take_a_block_falls_linearly_to_a_half() -> None:
    model = StochasticDepthResNet(depth=20)
    assert model.death_rates == pytest.approx([i / 9 * 0.5 for i in range(1, 10)])
    taken = torch.zeros(9)
    for number, block in enumerate(model.blocks):
        assert isinstance(block, BasicBlock)

        def count(_m: nn.Module, _i: Any, _o: Any, number: int = number) -> None:
            taken[number] += 1

        block.conv1.register_forward_hook(count)
    torch.manual_seed(0)
    images = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        for _ in range(600):
            model(images)
    survival = 1 - torch.tensor(model.death_rates)
    error = 4 * (survival * (1 - survival) / 600).sqrt()
    assert bool(((taken / 600 - survival).abs() < error).all())


def test_closed_block_has_gradients_of_zero_and_keeps_its_statistics() -> None:
    torch.manual_seed(0)
    model = StochasticDepthResNet(depth=8, death_rate=0.9)
    model.death_rates = [0.0, 1.0, 0.0]  # the second is closed, always
    before = model.get_buffer("blocks.1.bn1.running_mean").clone()
    learner = Learner(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        batches=lambda _: (torch.randn(4, 3, 8, 8), torch.arange(4)),
        closed_blocks_coast=True,
    )
    learner.update(0)
    assert not any(p.grad is None or p.grad.any() for p in model.blocks[1].parameters())
    assert all(p.grad is not None and p.grad.any() for p in model.blocks[2].parameters())
    assert torch.equal(model.get_buffer("blocks.1.bn1.running_mean"), before)


def optim_sgd(
    x: Tensor, dfdx: Tensor, state: dict[str, Tensor], *, lr: float, mom: float, wd: float
) -> None:
    """torch/optim's sgd.lua with nesterov and no dampening, on the flat vector of all weights."""
    dfdx = dfdx + wd * x
    state["dfdx"] = dfdx.clone() if "dfdx" not in state else state["dfdx"] * mom + dfdx
    x -= lr * (dfdx + mom * state["dfdx"])


@pytest.mark.parametrize("accumulation", [1, 2])
def test_closed_blocks_decay_and_coast_as_in_the_authors_flat_vector(accumulation: int) -> None:
    """main.lua: gradients:zero(), then optim.sgd on all weights, those of closed blocks too."""
    torch.manual_seed(0)
    model = StochasticDepthResNet(depth=20).double()
    theirs = copy.deepcopy(model)
    learner = Learner(
        model=model,
        optimizer=torch.optim.SGD(
            model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True
        ),
        batches=lambda number: (images[number], labels[number]),
        accumulation=accumulation,
        closed_blocks_coast=True,
    )
    images = torch.randn(6 * accumulation, 4, 3, 8, 8, dtype=torch.float64)
    labels = torch.randint(0, 10, (6 * accumulation, 4))
    flat = nn.utils.parameters_to_vector(theirs.parameters()).detach().clone()
    state: dict[str, Tensor] = {}
    closed = []
    for update in range(6):
        torch.manual_seed(update)
        learner.update(update)
        torch.manual_seed(update)
        gradients = torch.zeros_like(flat)
        for part in range(update * accumulation, (update + 1) * accumulation):
            if accumulation > 1:
                seed_part(0, part)  # each part has a stream of its own
            loss = functional.cross_entropy(theirs(images[part]).float(), labels[part])
            found = torch.autograd.grad(
                loss / accumulation, list(theirs.parameters()), materialize_grads=True
            )
            gradients += torch.cat([gradient.flatten() for gradient in found])
        closed.append(bool((gradients == 0).sum() > 600))  # a block of the first stage at least
        optim_sgd(flat, gradients, state, lr=0.1, mom=0.9, wd=0.01)
        nn.utils.vector_to_parameters(flat.clone(), theirs.parameters())
        for name, weight in theirs.named_parameters():
            ours = model.get_parameter(name)
            torch.testing.assert_close(ours, weight, rtol=1e-9, atol=1e-12, msg=f"{name} {update}")
    assert sum(closed) >= (3 if accumulation == 1 else 1)


def test_evaluation_weighs_each_residual_by_its_survival() -> None:
    torch.manual_seed(0)
    model = StochasticDepthResNet(depth=8)
    for _ in range(3):
        model(torch.randn(4, 3, 8, 8))
    model.eval()
    images = torch.randn(4, 3, 8, 8)
    x = model.stem(images)
    for block, survival in zip(model.blocks, (5 / 6, 4 / 6, 3 / 6), strict=True):
        assert isinstance(block, BasicBlock)
        x = relu(block.shortcut(x) + survival * block.residual(x))
    torch.testing.assert_close(model(images), model.classify(x))
    torch.manual_seed(1)
    first = torch.rand(1)
    torch.manual_seed(1)
    model(images)
    assert torch.equal(torch.rand(1), first), "evaluation draws nothing"


def test_timms_drop_path_is_another_method() -> None:
    """It draws for each image, and scales in training; Huang et al. drop for the whole batch."""
    torch.manual_seed(0)
    dropped = timm.layers.DropPath(0.5)(torch.ones(64, 1, 1, 1)).flatten()
    assert set(dropped.tolist()) == {0.0, 2.0}


# --- torchvision's blocks -------------------------------------------------------------------------


def test_torchvisions_basic_block_with_our_shortcut_is_our_block() -> None:
    torch.manual_seed(0)
    for before, after, stride in ((16, 16, 1), (16, 32, 2)):
        ours = BasicBlock(before, after, stride=stride).double()

        class Shortcut(nn.Module):
            block = ours

            def forward(self, x: Tensor) -> Tensor:
                return self.block.shortcut(x)

        downsample = None if stride == 1 else Shortcut()
        theirs = TorchvisionBlock(before, after, stride, downsample).double()
        missing = theirs.load_state_dict(ours.state_dict(), strict=False)
        assert all("downsample" in key for key in missing.missing_keys)
        assert missing.unexpected_keys == []
        images = torch.randn(2, before, 8, 8, dtype=torch.float64)
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=1e-12)


def test_torchvisions_densenet_with_our_stem_is_our_densenet_bc() -> None:
    torch.manual_seed(0)
    ours = OURS["cifar_densenet_bc100_12"]().double()
    theirs = DenseNet(12, (16, 16, 16), 24, num_classes=10).double()
    theirs.features.conv0 = nn.Conv2d(3, 24, 3, padding=1, bias=False, dtype=torch.float64)
    for name in ("norm0", "relu0", "pool0"):
        setattr(theirs.features, name, nn.Identity())
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        our_layers, _ = called(ours, images)
        their_layers, _ = called(theirs, images)
        assert len(our_layers) == len(their_layers)
        for mine, other in zip(our_layers, their_layers, strict=True):
            other.load_state_dict(mine.state_dict())
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=1e-10)
