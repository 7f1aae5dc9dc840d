"""Fused blocks of He et al.'s networks against the plain ones, in float32 and bfloat16.

On a processor without AMX its tiles are emulated: slower, with the same products and sums.
"""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.library import opcheck
from torch.nn import functional

from anneal.models.resnet import BasicBlock, ResNetCIFAR
from anneal_cpu_kernels import apply
from anneal_cpu_kernels.fused_residual import run_blocks

pytestmark = pytest.mark.usefixtures("tiles")

# Of the norm. Measured: what comes out 1.7e-3, statistics 8e-6, gradients 1.1e-2 where a value that
# rounds to 0 opens or closes a ReLU, 3e-3 elsewhere.
OUTPUT, STATE, GRADIENT = 4e-3, 5e-5, 3e-2


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


def layers_of(block: BasicBlock) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d, nn.BatchNorm2d]:
    return block.conv1, block.bn1, block.conv2, block.bn2


def fused(x: Tensor, *blocks: BasicBlock, stem: nn.BatchNorm2d | None = None) -> Tensor:
    return run_blocks(x, stem, map(layers_of, blocks))


def plain(block: BasicBlock, x: Tensor) -> Tensor:
    """Compute in float32 and round where the kernels do."""
    z = functional.conv2d(x, rounded(block.conv1.weight), stride=block.stride, padding=1)
    y = rounded(functional.relu(block.bn1(rounded(z))))
    z = rounded(functional.conv2d(y, rounded(block.conv2.weight), padding=1))
    return functional.relu(block.shortcut(x) + block.bn2(z))


@pytest.mark.parametrize(("channels", "stride"), [(16, 1), (32, 1), (64, 1), (32, 2), (64, 2)])
@pytest.mark.parametrize(
    ("images", "height", "width"), [(1, 8, 8), (3, 8, 24), (9, 16, 8), (20, 32, 32), (2, 64, 40)]
)
def test_fused_block_equals_the_plain_block(
    images: int, height: int, width: int, channels: int, stride: int
) -> None:
    torch.manual_seed(0)
    sides = (height * stride, width * stride)
    values = torch.randn(images, channels // stride, *sides).add(0.5).bfloat16()
    gradient = torch.randn(images, channels, height, width).bfloat16()
    found = []
    for kernels in (True, False):
        torch.manual_seed(1)
        block = make_block(channels, stride)
        x = (values if kernels else values.float()).requires_grad_()
        y = fused(x, block) if kernels else plain(block, x)
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
    *,
    kernels: bool,
    threads: int = 1,
    precision: torch.dtype,
    contrast: float = 1.0,
    backend: str | None = None,
) -> ResNetCIFAR:
    """Return the network after one backward pass over 12 images."""
    torch.manual_seed(0)
    network = ResNetCIFAR(depth=8)
    if kernels:
        apply(network, torch.bfloat16)
    if backend is not None:
        network.compile(backend=backend)
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


@pytest.mark.parametrize("contrast", [1.0, 1e-3])  # with little of it eps is most of the variance
def test_network_with_kernels_is_as_near_to_float32_as_plain_bf16(
    contrast: float,
) -> None:
    exact = trained(kernels=False, precision=torch.float32, contrast=contrast)
    near = trained(kernels=False, precision=torch.bfloat16, contrast=contrast)
    ours = trained(kernels=True, precision=torch.bfloat16, contrast=contrast)
    for parts in (gradients, lambda network: list(network.buffers())):
        distances = [
            sum(apart(got, wanted) for got, wanted in zip(parts(n), parts(exact), strict=True))
            for n in (near, ours)
        ]
        assert distances[1] <= 1.2 * distances[0]


@pytest.mark.parametrize("with_stem", [True, False])
def test_blocks_run_together_equal_blocks_run_one_by_one(*, with_stem: bool) -> None:
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


def test_second_backward_of_blocks_is_refused() -> None:
    x = torch.ones(2, 16, 8, 8, dtype=torch.bfloat16)
    total = fused(x, make_block(16, 1), make_block(16, 1)).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="runs once, because it overwrites"):
        total.backward()


def test_second_derivative_of_blocks_is_refused() -> None:
    block = make_block(16, 1)
    total = fused(torch.ones(2, 16, 8, 8, dtype=torch.bfloat16), block).sum()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(total, [*block.parameters()], create_graph=True)


@pytest.mark.parametrize("with_stem", [True, False])
def test_blocks_operator_passes_opcheck(*, with_stem: bool) -> None:
    """All of opcheck but one test, which returns what the backward pass overwrites.

    ``test_compiled_network_with_kernels_has_equal_bits`` stands for it.
    """
    x = torch.randn(2, 16, 16, 16).bfloat16().requires_grad_()
    parameters: list[Tensor] = [*nn.BatchNorm2d(16).parameters()] if with_stem else []
    for block in (make_block(16, 1), make_block(32, 2)):
        for part in layers_of(block):
            parameters += part.parameters()
    running = torch.zeros(2 * (16 * (2 + with_stem) + 32 * 2))
    arguments = (x, parameters, running, with_stem, 1e-5, 0.1)
    operators = torch.ops.anneal_cpu_kernels
    opcheck(
        operators.blocks.default,
        arguments,
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )
    with torch.no_grad():
        y, _, *kept = operators.blocks(*arguments)
        gradients = [torch.empty_like(tensor) for tensor in (x, *parameters)]
        opcheck(
            operators.blocks_backward.default,
            (torch.ones_like(y), x, parameters, with_stem, y, *kept, gradients),
            test_utils=("test_schema", "test_faketensor"),
        )


def test_bits_are_equal_for_any_number_of_threads() -> None:
    networks = [trained(kernels=True, threads=n, precision=torch.bfloat16) for n in (1, 2, 3)]
    for one, other in pairwise(networks):
        first, *ours = zip(gradients(one), gradients(other), strict=True)
        assert apart(*first) <= OUTPUT  # the stem's convolution is torch's
        assert all(torch.equal(*each) for each in ours)


def test_network_with_kernels_is_evaluated_with_the_plain_layers() -> None:
    torch.manual_seed(0)
    network, images = ResNetCIFAR(depth=8).eval(), torch.randn(2, 3, 40, 32)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = network(images)
        apply(network, torch.bfloat16)
        assert torch.equal(network(images), wanted)


@pytest.mark.parametrize(("sides", "half"), [((40, 32), True), ((32, 32), False)])
def test_network_with_kernels_refuses_to_train_without_them(
    sides: tuple[int, int], half: bool
) -> None:
    network = ResNetCIFAR(depth=8)
    apply(network, torch.bfloat16)
    refused = pytest.raises(ValueError, match="fused residual blocks take bfloat16")
    with refused, torch.autocast("cpu", torch.bfloat16, enabled=half):
        network(torch.randn(2, 3, *sides))


def test_compiled_network_with_kernels_has_equal_bits() -> None:
    eager = trained(kernels=True, precision=torch.bfloat16)
    compiled = trained(kernels=True, precision=torch.bfloat16, backend="aot_eager")
    for got, wanted in zip(gradients(compiled), gradients(eager), strict=True):
        assert torch.equal(got, wanted)
    for got, wanted in zip(compiled.buffers(), eager.buffers(), strict=True):
        assert torch.equal(got, wanted)


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
def test_input_without_a_kernel_is_refused(x: Tensor, stride: int) -> None:
    with pytest.raises(ValueError, match="fused residual blocks take bfloat16"):
        fused(x, make_block(stride * x.shape[1], stride))


def test_nan_in_the_input_stays_nan() -> None:
    x = torch.ones(2, 16, 8, 8, dtype=torch.bfloat16)
    x[1, 3, 4, 4] = float("nan")
    assert fused(x, make_block(16, 1)).isnan().any()
