"""Fused pooling of Caffe's networks against the plain layers, which are tested against Caffe's."""

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from anneal.models.caffe_cifar import CaffeCIFAR, CaffeCIFARSigmoidBN, WithinChannelLRN
from anneal_cpu_kernels import apply
from anneal_cpu_kernels.fused_pooling import fused_pool

pytestmark = pytest.mark.usefixtures("needs_compiler")

# Measured, relative to the largest value: float32 5e-7, bf16 half a unit in the last place (2^-9)
# more than the plain layers, which round at each of them.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}


def plain_and_fused(
    z: Tensor, *, maximum: bool, relu: bool, alpha: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Return output and gradient of the plain layers, and of the fused ones."""
    network = CaffeCIFAR()
    norm = WithinChannelLRN(alpha) if alpha else None
    pools = (
        lambda x: network.pool(x, maximum=maximum, relu=relu, norm=norm),
        lambda x: fused_pool(x, maximum=maximum, relu=relu, alpha=alpha),
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


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("maximum", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (9, 12), (11, 2), (24, 31), (31, 8), (32, 32)])
def test_fused_pooling_equals_the_plain_layers(
    size: tuple[int, int], maximum: bool, relu: bool, alpha: float, dtype: torch.dtype
) -> None:
    z = torch.randn(3, 32, *size, generator=torch.Generator().manual_seed(size[0])).to(dtype)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        laid = z.contiguous(memory_format=memory_format)
        plain, fused = plain_and_fused(laid, maximum=maximum, relu=relu, alpha=alpha)
        for wanted, got in zip(plain, fused, strict=True):
            assert got.dtype == dtype
            assert (got - wanted).abs().max() <= TOLERANCE[dtype] * wanted.abs().max()


@pytest.mark.parametrize("relu", [True, False])
def test_first_of_equal_values_gets_the_gradient(relu: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(-2, 3, (2, 16, 12, 13), generator=generator).float()
    plain, fused = plain_and_fused(z, maximum=True, relu=relu, alpha=0.0)
    assert torch.equal(plain[0], fused[0])
    assert torch.equal(plain[1], fused[1])


@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf"), 1e25])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("alpha", [0.0, 5e-5])
@pytest.mark.parametrize("maximum", [True, False])
def test_nan_and_infinity_give_what_the_plain_layers_give(
    maximum: bool, alpha: float, dtype: torch.dtype, value: float
) -> None:
    z = torch.ones(1, 16, 8, 8, dtype=dtype)
    z[0, 3, 4, 4] = value
    plain, fused = plain_and_fused(z, maximum=maximum, relu=True, alpha=alpha)
    torch.testing.assert_close(fused[0], plain[0], equal_nan=True, rtol=2**-7, atol=0.0)
    assert torch.equal(fused[1].isnan().any(), plain[1].isnan().any())


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
def test_input_without_a_kernel_is_refused(z: Tensor, alpha: float) -> None:
    with pytest.raises(ValueError, match="fused pooling takes"):
        fused_pool(z, maximum=True, relu=True, alpha=alpha)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("maximum", "relu", "alpha"), [(True, True, 5e-5), (False, True, 0.0)])
def test_pooling_operator_passes_opcheck(
    maximum: bool, relu: bool, alpha: float, dtype: torch.dtype
) -> None:
    z = torch.randn(2, 16, 9, 8, dtype=dtype, requires_grad=True)
    opcheck(torch.ops.anneal_cpu_kernels.pool.default, (z, maximum, relu, alpha))


def test_second_backward_of_pooling_gives_the_same_gradient() -> None:
    z = torch.randn(2, 16, 9, 8, requires_grad=True)
    total = fused_pool(z, maximum=False, relu=True, alpha=0.1).sum()
    (first,) = torch.autograd.grad(total, z, retain_graph=True)
    (second,) = torch.autograd.grad(total, z)
    assert torch.equal(first, second)


def test_second_derivative_of_pooling_is_refused() -> None:
    z = torch.randn(2, 16, 9, 8, requires_grad=True)
    total = fused_pool(z, maximum=False, relu=True, alpha=0.1).sum()
    (gradient,) = torch.autograd.grad(total, z, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        gradient.sum().backward()


@pytest.mark.parametrize("network", [CaffeCIFAR, CaffeCIFARSigmoidBN])
def test_network_with_kernels_has_the_same_loss_and_gradients(
    network: type[CaffeCIFAR] | type[CaffeCIFARSigmoidBN],
) -> None:
    found = []
    for fused in (False, True):
        torch.manual_seed(0)
        model = network()
        if fused:
            apply(model, torch.float32)
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


def test_bits_are_equal_for_any_number_of_threads() -> None:
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
