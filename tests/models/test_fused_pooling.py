"""The compiled pooling of Caffe's networks against the plain layers, which are held to Caffe's."""

import pytest
import torch
from torch import Tensor

from anneal.models.caffe_cifar import CaffeCIFAR, CaffeCIFARSigmoidBN, WithinChannelLRN
from anneal.models.fused_pooling import FusedPooling, Kernels
from anneal.runs.compiling import compile_model, obstacle_on_cpu

needs_compiler = pytest.mark.skipif(
    obstacle_on_cpu("any", torch.float32) is not None, reason="there is no C++ compiler"
)

# Measured, relative to the largest value: float32 5e-7, bf16 half a unit in the last place (2^-9)
# more than the plain layers, which round at each of them.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}


def kernels() -> Kernels:
    network = CaffeCIFAR()
    compile_model(network, torch.float32)
    assert network.kernels is not None
    return network.kernels


def plain_and_fused(
    z: Tensor, *, maximum: bool, relu: bool, alpha: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Output and gradient of the plain layers, and of the compiled ones."""
    network = CaffeCIFAR()
    norm = WithinChannelLRN(alpha) if alpha else None
    pools = (
        lambda x: network.pool(x, maximum=maximum, relu=relu, norm=norm),
        lambda x: FusedPooling.apply(x, kernels(), maximum, relu, alpha),
    )
    found = []
    for pool in pools:
        x = z.clone().requires_grad_()
        y = pool(x)
        weights = torch.arange(y.numel(), dtype=z.dtype).reshape(y.shape).remainder(7) - 3
        (y * weights).sum().backward()
        assert x.grad is not None
        found.append([y.detach(), x.grad])
    return found[0], found[1]


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("maximum", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (9, 12), (11, 2), (24, 31), (31, 8), (32, 32)])
def test_the_compiled_layers_do_what_the_plain_ones_do(
    size: tuple[int, int], maximum: bool, relu: bool, alpha: float, dtype: torch.dtype
) -> None:
    z = torch.randn(3, 32, *size, generator=torch.Generator().manual_seed(size[0])).to(dtype)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        laid = z.contiguous(memory_format=memory_format)
        plain, fused = plain_and_fused(laid, maximum=maximum, relu=relu, alpha=alpha)
        for wanted, got in zip(plain, fused, strict=True):
            assert got.dtype == dtype
            assert (got - wanted).abs().max() <= TOLERANCE[dtype] * wanted.abs().max()


@needs_compiler
@pytest.mark.parametrize("relu", [True, False])
def test_of_equal_values_the_first_wins_and_gets_the_gradient(relu: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(-2, 3, (2, 16, 12, 13), generator=generator).float()
    plain, fused = plain_and_fused(z, maximum=True, relu=relu, alpha=0.0)
    assert torch.equal(plain[0], fused[0])
    assert torch.equal(plain[1], fused[1])


@needs_compiler
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf"), 1e25])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("alpha", [0.0, 5e-5])
@pytest.mark.parametrize("maximum", [True, False])
def test_what_is_no_number_or_squares_to_none_becomes_what_it_becomes_in_the_plain_layers(
    maximum: bool, alpha: float, dtype: torch.dtype, value: float
) -> None:
    z = torch.ones(1, 16, 8, 8, dtype=dtype)
    z[0, 3, 4, 4] = value
    plain, fused = plain_and_fused(z, maximum=maximum, relu=True, alpha=alpha)
    torch.testing.assert_close(fused[0], plain[0], equal_nan=True, rtol=2**-7, atol=0.0)
    assert torch.equal(fused[1].isnan().any(), plain[1].isnan().any())


@needs_compiler
@pytest.mark.parametrize(
    ("z", "alpha"),
    [
        (torch.ones(1, 24, 8, 8), 0.0),
        (torch.ones(1, 16, 1, 8), 0.0),
        (torch.ones(1, 16, 8, 8, dtype=torch.float64), 0.0),
        (torch.ones(1, 16, 8, 8, device="meta"), 0.0),
        (torch.ones(1, 16, 8, 8), -1.0),
        (torch.ones(1, 16, 8, 8), float("nan")),
    ],
)
def test_what_the_kernels_are_not_made_for_never_reaches_them(z: Tensor, alpha: float) -> None:
    with pytest.raises(ValueError, match="fused pooling takes"):
        FusedPooling.apply(z, kernels(), True, True, alpha)


@needs_compiler
def test_a_compiled_network_takes_what_the_kernels_do_not_by_the_plain_layers() -> None:
    model = CaffeCIFAR().double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    wanted = model(images)
    compile_model(model, torch.float32)
    assert torch.equal(model(images), wanted)


@needs_compiler
@pytest.mark.parametrize("network", [CaffeCIFAR, CaffeCIFARSigmoidBN])
def test_a_compiled_network_gives_the_same_loss_and_gradients(
    network: type[CaffeCIFAR] | type[CaffeCIFARSigmoidBN],
) -> None:
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = network()
        if compiled:
            compile_model(model, torch.float32)
        with torch.no_grad():
            model.conv1.weight.mul_(100)  # as it is after some training
        images = 100 * torch.randn(8, 3, 32, 32)
        loss = model(images).square().mean()
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        with torch.no_grad():
            found.append([loss, *gradients, model.eval()(images)])
    for wanted, got in zip(*found, strict=True):
        # measured 3e-6
        assert (got - wanted).norm() <= 2e-5 * wanted.norm()


@needs_compiler
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    z = torch.randn(7, 32, 32, 32)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(plain_and_fused(z, maximum=True, relu=True, alpha=5e-5)[1])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
