"""The compiled blocks of He et al.'s networks against the plain ones, in float32 and bfloat16."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from anneal.models.fused_residual import FusedBlocks, Kernels
from anneal.models.resnet import BasicBlock, ResNetCIFAR
from anneal.runs.compiling import compile_model, has_tiles, obstacle_on_cpu

needs_tiles = pytest.mark.skipif(
    not has_tiles() or obstacle_on_cpu("cifar_resnet20", torch.bfloat16) is not None,
    reason="wrong processor: it has no tiles for bfloat16 (AMX), or there is no C++ compiler",
)

# Of the norm. Measured: what comes out 1.7e-3, statistics 8e-6, gradients 1.1e-2 where a value that
# rounds to 0 opens or closes a ReLU, 3e-3 elsewhere.
OUTPUT, STATE, GRADIENT = 4e-3, 5e-5, 3e-2


def kernels() -> Kernels:
    network = ResNetCIFAR(depth=8)
    compile_model(network, torch.bfloat16)
    assert network.kernels is not None
    return network.kernels


def apart(got: Tensor, wanted: Tensor) -> float:
    return ((got.float() - wanted.float()).norm() / (wanted.float().norm() + 1e-12)).item()


def rounded(values: Tensor) -> Tensor:
    """Round to bfloat16; the gradient goes through."""
    return values + (values.bfloat16().float() - values).detach()


def make_block(channels: int, stride: int) -> BasicBlock:
    block = BasicBlock(channels // stride, channels, stride=stride)
    for norm in (block.bn1, block.bn2):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return block.to(memory_format=torch.channels_last)


def fused(x: Tensor, *blocks: BasicBlock, stem: nn.BatchNorm2d | None = None) -> Tensor:
    def parts(norm: nn.BatchNorm2d) -> tuple[Tensor | None, ...]:
        return norm.weight, norm.bias, norm.running_mean, norm.running_var

    parameters = [] if stem is None else [None, *parts(stem), None, None, None, None, None]
    for block in blocks:
        parameters += (block.conv1.weight, *parts(block.bn1))
        parameters += (block.conv2.weight, *parts(block.bn2))
    y: Tensor = FusedBlocks.apply(  # type: ignore[no-untyped-call]
        x, kernels(), 1e-5, 0.1, *parameters
    )
    return y


def plain(block: BasicBlock, x: Tensor) -> Tensor:
    """Compute in float32 and round where the kernels do."""
    z = functional.conv2d(x, rounded(block.conv1.weight), stride=block.stride, padding=1)
    y = rounded(functional.relu(block.bn1(rounded(z))))
    z = rounded(functional.conv2d(y, rounded(block.conv2.weight), padding=1))
    return functional.relu(block.shortcut(x) + block.bn2(z))


@needs_tiles
@pytest.mark.parametrize(("channels", "stride"), [(16, 1), (32, 1), (64, 1), (32, 2), (64, 2)])
@pytest.mark.parametrize(
    ("images", "height", "width"), [(1, 8, 8), (3, 8, 24), (9, 16, 8), (20, 32, 32), (2, 64, 40)]
)
def test_a_block_does_what_the_plain_one_does(
    images: int, height: int, width: int, channels: int, stride: int
) -> None:
    torch.manual_seed(0)
    sides = (height * stride, width * stride)
    values = torch.randn(images, channels // stride, *sides).add(0.5).bfloat16()
    gradient = torch.randn(images, channels, height, width).bfloat16()
    found = []
    for compiled in (True, False):
        torch.manual_seed(1)
        block = make_block(channels, stride)
        x = (values if compiled else values.float()).requires_grad_()
        y = fused(x, block) if compiled else plain(block, x)
        wanted = [x, *block.parameters()]
        gradients = torch.autograd.grad(y, wanted, gradient.to(y.dtype))
        state = [b for n, b in block.named_buffers() if n.endswith(("mean", "var"))]
        found.append((y, state, gradients))
        values = values.detach()
    (y, state, gradients), (wanted_y, wanted_state, wanted_gradients) = found
    assert y.dtype == torch.bfloat16
    assert apart(y, wanted_y) <= OUTPUT
    for got, expected in zip(state, wanted_state, strict=True):
        assert apart(got, expected) <= STATE
    for got, expected in zip(gradients, wanted_gradients, strict=True):
        assert apart(got, expected) <= GRADIENT


def trained(
    *, compiled: bool, threads: int = 1, precision: torch.dtype, contrast: float = 1.0
) -> ResNetCIFAR:
    """Return the network after one backward pass over 12 images."""
    torch.manual_seed(0)
    network = ResNetCIFAR(depth=8)
    if compiled:
        compile_model(network, torch.bfloat16)
    images, labels = contrast * torch.randn(12, 3, 32, 32), torch.randint(10, (12,))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            loss = functional.cross_entropy(network(images).float(), labels)
        loss.backward()
    finally:
        torch.set_num_threads(before)
    return network


def gradients(network: ResNetCIFAR) -> list[Tensor]:
    return [p.grad for p in network.parameters() if p.grad is not None]


@needs_tiles
@pytest.mark.parametrize("contrast", [1.0, 1e-3])  # with little of it eps is most of the variance
def test_a_compiled_network_is_as_near_to_float32_as_the_plain_one_in_bfloat16(
    contrast: float,
) -> None:
    exact = trained(compiled=False, precision=torch.float32, contrast=contrast)
    near = trained(compiled=False, precision=torch.bfloat16, contrast=contrast)
    ours = trained(compiled=True, precision=torch.bfloat16, contrast=contrast)
    for parts in (gradients, lambda network: list(network.buffers())):
        distances = [
            sum(apart(got, wanted) for got, wanted in zip(parts(n), parts(exact), strict=True))
            for n in (near, ours)
        ]
        assert distances[1] <= 1.2 * distances[0]


@needs_tiles
@pytest.mark.parametrize("with_stem", [True, False])
def test_blocks_behind_each_other_do_what_each_does_by_itself(*, with_stem: bool) -> None:
    torch.manual_seed(0)
    values, gradient = torch.randn(11, 16, 32, 64).bfloat16(), torch.randn(11, 64, 8, 16).bfloat16()
    found = []
    for together in (True, False):
        torch.manual_seed(1)
        stem = nn.BatchNorm2d(16) if with_stem else None
        blocks = [make_block(c, s) for c, s in [(16, 1), (16, 1), (32, 2), (32, 1), (64, 2)]]
        x = values.clone().requires_grad_()
        y = fused(x, *blocks[: together * 5], stem=stem) if together or with_stem else x
        for block in blocks[together * 5 :]:
            y = fused(y, block)
        state = [b for block in blocks for b in block.buffers()]
        weights = [p for block in blocks for p in block.parameters()]
        weights += [] if stem is None else [*stem.parameters()]
        found.append((y, state, torch.autograd.grad(y, [x, *weights], gradient)))
    (y, state, gradients), (wanted_y, wanted_state, wanted_gradients) = found
    assert torch.equal(y, wanted_y)
    assert all(torch.equal(a, b) for a, b in zip(state, wanted_state, strict=True))
    for got, expected in zip(gradients, wanted_gradients, strict=True):
        assert apart(got, expected) <= GRADIENT


@needs_tiles
def test_the_way_back_is_gone_once() -> None:
    y = fused(torch.ones(2, 16, 8, 8, dtype=torch.bfloat16), make_block(16, 1), make_block(16, 1))
    y.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@needs_tiles
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    networks = [trained(compiled=True, threads=n, precision=torch.bfloat16) for n in (1, 2, 3)]
    for one, other in pairwise(networks):
        first, *ours = zip(gradients(one), gradients(other), strict=True)
        assert apart(*first) <= OUTPUT  # the stem's convolution is torch's
        assert all(torch.equal(*each) for each in ours)


@needs_tiles
def test_a_compiled_network_takes_what_the_kernels_do_not_by_the_plain_layers() -> None:
    torch.manual_seed(0)
    network = ResNetCIFAR(depth=8)
    images = torch.randn(2, 3, 40, 32)
    inputs = {
        "float32": (images, False, True),
        "other sides": (images, True, True),
        "evaluation": (images[:, :, :32], True, False),
    }
    for values, half, training in inputs.values():
        network.train(training)
        found = []
        for used in (None, kernels()):
            network.kernels = used
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                found.append(network(values))
        assert torch.equal(*found)


@needs_tiles
@pytest.mark.parametrize(
    ("x", "stride"),
    [
        (torch.ones(1, 16, 8, 8), 1),
        (torch.ones(1, 16, 8, 8, dtype=torch.bfloat16, device="meta"), 1),
        (torch.ones(1, 16, 8, 12, dtype=torch.bfloat16), 1),
        (torch.ones(1, 16, 16, 8, dtype=torch.bfloat16), 2),
        (torch.ones(1, 24, 8, 8, dtype=torch.bfloat16), 1),
        (torch.ones(1, 8, 16, 16, dtype=torch.bfloat16), 2),
        (torch.ones(1, 16, 32, 32, dtype=torch.bfloat16), 4),
    ],
)
def test_what_the_kernels_are_not_made_for_never_reaches_them(x: Tensor, stride: int) -> None:
    with pytest.raises(ValueError, match="fused blocks take bfloat16"):
        fused(x, make_block(stride * x.shape[1], stride))


@needs_tiles
def test_what_is_no_number_stays_none() -> None:
    x = torch.ones(2, 16, 8, 8, dtype=torch.bfloat16)
    x[1, 3, 4, 4] = float("nan")
    assert fused(x, make_block(16, 1)).isnan().any()
