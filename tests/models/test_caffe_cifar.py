"""The network against Caffe's own loops (BVLC/caffe @9b89154, src/caffe/layers), in plain numpy."""

import copy

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

import anneal.models.timm  # noqa: F401
from anneal.models.caffe_cifar import (
    CaffeBatchNorm,
    CaffeCIFAR,
    CaffeCIFARSigmoidBN,
    WithinChannelLRN,
    pooled_size,
)

Array = NDArray[np.float64]

FLOAT64_RTOL = 1e-10  # measured: 5e-13 relative to the largest value, through the whole network
SIZES = [8, 9, 11, 24, 31, 32]
ALPHA = 5e-5

# --- Caffe's loops ------------------------------------------------------------------------------


def convolve(x: Array, weight: Array, bias: Array, pad: int = 2) -> Array:
    _, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    y = np.zeros((x.shape[0], weight.shape[0], height, width)) + bias[:, None, None]
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            window = padded[:, :, i : i + height, j : j + width]
            y += np.einsum("nchw,oc->nohw", window, weight[:, :, i, j])
    return y


def convolve_backward(x: Array, weight: Array, dy: Array, pad: int = 2) -> tuple[Array, ...]:
    _, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    d_padded, d_weight = np.zeros_like(padded), np.zeros_like(weight)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            window = padded[:, :, i : i + height, j : j + width]
            d_weight[:, :, i, j] = np.einsum("nchw,nohw->oc", window, dy)
            d_padded[:, :, i : i + height, j : j + width] += np.einsum(
                "nohw,oc->nchw", dy, weight[:, :, i, j]
            )
    return d_padded[:, :, pad:-pad, pad:-pad], d_weight, dy.sum((0, 2, 3))


def windows(size: int, kernel: int, stride: int, pad: int) -> list[tuple[int, int, int]]:
    """First and last pixel of each window, clipped to the image, and the length AVE divides by."""
    pooled = int(np.ceil((size + 2 * pad - kernel) / stride)) + 1
    if pad and (pooled - 1) * stride >= size + pad:
        pooled -= 1
    found = []
    for p in range(pooled):
        start = p * stride - pad
        end = min(start + kernel, size + pad)
        found.append((max(start, 0), min(end, size), end - start))
    return found


def average_pool(x: Array, kernel: int = 3, stride: int = 2, pad: int = 0) -> Array:
    rows, columns = (windows(size, kernel, stride, pad) for size in x.shape[2:])
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for i, (top, bottom, high) in enumerate(rows):
        for j, (left, right, wide) in enumerate(columns):
            y[:, :, i, j] = x[:, :, top:bottom, left:right].sum((2, 3)) / (high * wide)
    return y


def average_pool_backward(
    x: Array, dy: Array, kernel: int = 3, stride: int = 2, pad: int = 0
) -> Array:
    dx = np.zeros_like(x)
    rows, columns = (windows(size, kernel, stride, pad) for size in x.shape[2:])
    for i, (top, bottom, high) in enumerate(rows):
        for j, (left, right, wide) in enumerate(columns):
            dx[:, :, top:bottom, left:right] += dy[:, :, i, j][:, :, None, None] / (high * wide)
    return dx


def max_pool(x: Array) -> tuple[Array, NDArray[np.int64]]:
    """Also each maximum's index in the image: the first one where several are equal."""
    batch, channels, height, width = x.shape
    rows, columns = (windows(size, 3, 2, 0) for size in (height, width))
    y = np.zeros((batch, channels, len(rows), len(columns)))
    where = np.zeros(y.shape, dtype=np.int64)
    for n, c in np.ndindex(batch, channels):
        for i, (top, bottom, _) in enumerate(rows):
            for j, (left, right, _) in enumerate(columns):
                best = -np.inf
                for h in range(top, bottom):
                    for w in range(left, right):
                        if x[n, c, h, w] > best:
                            best = x[n, c, h, w]
                            where[n, c, i, j] = h * width + w
                y[n, c, i, j] = best
    return y, where


def max_pool_backward(x: Array, where: NDArray[np.int64], dy: Array) -> Array:
    dx = np.zeros((*x.shape[:2], x.shape[2] * x.shape[3]))
    for n, c, i, j in np.ndindex(dy.shape):
        dx[n, c, where[n, c, i, j]] += dy[n, c, i, j]
    return dx.reshape(x.shape)


def lrn(x: Array) -> Array:
    """Split, square, AVE pool, power, product: the layers that Caffe's LRN layer consists of."""
    return x * (1 + ALPHA * average_pool(x**2, 3, 1, 1)) ** -0.75


def lrn_backward(x: Array, dy: Array) -> Array:
    base = 1 + ALPHA * average_pool(x**2, 3, 1, 1)
    d_pooled = dy * x * (-0.75 * ALPHA) * base**-1.75
    return dy * base**-0.75 + average_pool_backward(x**2, d_pooled, 3, 1, 1) * 2 * x


def batch_norm(x: Array, eps: float = 1e-5) -> tuple[Array, Array, Array]:
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    y = (x - mean[:, None, None]) / np.sqrt(variance + eps)[:, None, None]
    return y, mean, variance


def softmax_loss(logits: Array, labels: NDArray[np.int64]) -> tuple[float, Array]:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    gradient = probabilities.copy()
    gradient[rows, labels] -= 1
    return float(-np.log(probabilities[rows, labels]).mean()), gradient / len(labels)


def cifar10_full(
    p: dict[str, Array], x: Array, labels: NDArray[np.int64]
) -> tuple[float, dict[str, Array], dict[str, Array], Array]:
    """Loss, each layer's output, each parameter's gradient and the input's, of ``cifar10_full``."""
    conv1 = convolve(x, p["conv1.weight"], p["conv1.bias"])
    pool1, where = max_pool(conv1)
    relu1 = np.maximum(pool1, 0)
    norm1 = lrn(relu1)
    conv2 = convolve(norm1, p["conv2.weight"], p["conv2.bias"])
    relu2 = np.maximum(conv2, 0)
    pool2 = average_pool(relu2)
    norm2 = lrn(pool2)
    conv3 = convolve(norm2, p["conv3.weight"], p["conv3.bias"])
    relu3 = np.maximum(conv3, 0)
    pool3 = average_pool(relu3)
    flat = pool3.reshape(len(x), -1)
    ip1 = flat @ p["ip1.weight"].T + p["ip1.bias"]
    loss, d = softmax_loss(ip1, labels)

    g = {"ip1.weight": d.T @ flat, "ip1.bias": d.sum(0)}
    d = (d @ p["ip1.weight"]).reshape(pool3.shape)
    d = average_pool_backward(relu3, d) * (conv3 > 0)
    d, g["conv3.weight"], g["conv3.bias"] = convolve_backward(norm2, p["conv3.weight"], d)
    d = average_pool_backward(relu2, lrn_backward(pool2, d)) * (conv2 > 0)
    d, g["conv2.weight"], g["conv2.bias"] = convolve_backward(norm1, p["conv2.weight"], d)
    d = max_pool_backward(conv1, where, lrn_backward(relu1, d) * (pool1 > 0))
    d, g["conv1.weight"], g["conv1.bias"] = convolve_backward(x, p["conv1.weight"], d)
    outputs = {
        "conv1": conv1, "norm1": norm1, "conv2": conv2, "norm2": norm2, "conv3": conv3, "ip1": ip1
    }  # fmt: skip
    return loss, outputs, g, d


# --- The tests ------------------------------------------------------------------------------------


def assert_close(ours: torch.Tensor, theirs: Array) -> None:
    """Compare relative to the largest value: sums that cancel have no relative precision."""
    scale = float(np.abs(theirs).max())
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0, atol=FLOAT64_RTOL * scale)


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    """Zero-mean noise on the scale of mean-subtracted pixels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * 60


@pytest.mark.parametrize("size", SIZES)
def test_every_layer_and_every_gradient_equals_caffes_loops(size: int) -> None:
    torch.manual_seed(3)
    model = CaffeCIFAR(num_classes=7, img_size=size).double()
    with torch.no_grad():  # weights at which activations reach 100s, so that LRN matters
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.05 if "weight" in name else 1.0)
    outputs: dict[str, torch.Tensor] = {}
    for name, module in model.named_children():
        module.register_forward_hook(
            lambda _m, _i, output, name=name: outputs.update({name: output})
        )
    x = pixels(2, 3, size, size).requires_grad_()
    labels = torch.tensor([1, 4])

    loss = functional.cross_entropy(model(x), labels)
    loss.backward()

    parameters = {name: p.detach().numpy() for name, p in model.named_parameters()}
    expected = cifar10_full(parameters, x.detach().numpy(), labels.numpy())
    expected_loss, expected_outputs, expected_gradients, expected_input_gradient = expected
    assert np.abs(expected_outputs["norm1"]).max() > 20  # LRN is not the identity here
    assert loss.item() == pytest.approx(expected_loss, rel=FLOAT64_RTOL)
    assert outputs.keys() == expected_outputs.keys()
    for name, output in outputs.items():
        assert_close(output, expected_outputs[name])
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert_close(parameter.grad, expected_gradients[name])
    assert x.grad is not None
    assert_close(x.grad, expected_input_gradient)


@pytest.mark.parametrize("size", [*range(3, 34), 64, 65])
def test_torchs_ceil_mode_pools_as_caffe_does(size: int) -> None:
    model = CaffeCIFAR()
    x = pixels(1, 2, size, size + 1).requires_grad_()
    averaged = model.pool(x, maximum=False, relu=False)
    assert averaged.shape[2] == len(windows(size, 3, 2, 0)) == pooled_size(size)
    dy = pixels(*averaged.shape, seed=1)
    averaged.backward(dy)
    assert_close(averaged, average_pool(x.detach().numpy()))
    assert x.grad is not None
    assert_close(x.grad, average_pool_backward(x.detach().numpy(), dy.numpy()))
    assert_close(model.pool(x, maximum=True, relu=False), max_pool(x.detach().numpy())[0])


def test_max_pooling_gives_the_gradient_to_the_first_of_equal_pixels() -> None:
    x = torch.ones(1, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    dy = pixels(1, 1, 4, 4)
    CaffeCIFAR().pool(x, maximum=True, relu=False).backward(dy)
    _, where = max_pool(x.detach().numpy())
    assert x.grad is not None
    assert_close(x.grad, max_pool_backward(x.detach().numpy(), where, dy.numpy()))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 9, 7), (1, 1, 1, 1), (2, 4, 2, 5)])
def test_lrn_equals_caffes_composition_of_layers(
    shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    x = (pixels(*shape) * 4).contiguous(memory_format=memory_format).requires_grad_()
    y = WithinChannelLRN()(x)
    dy = pixels(*shape, seed=1)
    y.backward(dy)
    assert_close(y, lrn(x.detach().numpy()))
    assert x.grad is not None
    assert_close(x.grad, lrn_backward(x.detach().numpy(), dy.numpy()))


def test_lrn_divides_by_nine_at_the_border_too() -> None:
    x = torch.full((1, 1, 3, 3), 200.0, dtype=torch.float64)
    y = WithinChannelLRN()(x)[0, 0]
    for (row, column), neighbours in {(0, 0): 4, (0, 1): 6, (1, 1): 9}.items():
        expected = 200 * (1 + ALPHA * neighbours * 200**2 / 9) ** -0.75
        assert y[row, column].item() == pytest.approx(expected, rel=1e-14)


def test_lrns_backward_is_the_derivative_of_its_forward() -> None:
    x = pixels(2, 2, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(WithinChannelLRN(alpha=1e-3), (x,))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_lrn_in_bfloat16_rounds_its_output_and_nothing_before(
    memory_format: torch.memory_format,
) -> None:
    x = pixels(2, 4, 8, 8).bfloat16().contiguous(memory_format=memory_format).requires_grad_()
    dy = pixels(2, 4, 8, 8, seed=1).bfloat16()
    y = WithinChannelLRN()(x)
    y.backward(dy)
    wide = x.detach().float().requires_grad_()
    expected = WithinChannelLRN()(wide)
    expected.backward(dy.float())
    assert x.grad is not None
    assert wide.grad is not None
    assert y.dtype == x.grad.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(y, expected.bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(x.grad, wide.grad.bfloat16(), rtol=0, atol=0)


def test_training_step_works_in_channels_last_under_bfloat16_autocast() -> None:
    torch.manual_seed(0)
    model = CaffeCIFAR().to(memory_format=torch.channels_last)
    x = pixels(8, 3, 32, 32).float().contiguous(memory_format=torch.channels_last)
    reference = copy.deepcopy(model)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    functional.cross_entropy(y.float(), torch.arange(8)).backward()
    functional.cross_entropy(reference(x), torch.arange(8)).backward()
    for ours, exact in zip(model.parameters(), reference.parameters(), strict=True):
        assert ours.grad is not None
        assert exact.grad is not None
        # measured: 8 % of the norm at conv1, where max pooling picks other pixels
        assert (ours.grad - exact.grad).norm() <= 0.2 * exact.grad.norm()


@pytest.mark.gpu
def test_network_computes_on_cuda_what_it_does_on_the_cpu() -> None:
    torch.manual_seed(0)
    model = CaffeCIFAR(img_size=31).double()
    x = pixels(2, 3, 31, 31)
    expected = model(x).detach().numpy()
    assert_close(model.cuda()(x.cuda()).cpu(), expected)


@pytest.mark.slow
def test_compiled_network_has_the_same_gradients() -> None:
    torch.manual_seed(0)
    model = CaffeCIFAR(img_size=8).double()
    compiled = torch.compile(copy.deepcopy(model), backend="aot_eager")
    x = pixels(2, 3, 8, 8)
    model(x).square().sum().backward()
    compiled(x).square().sum().backward()
    for ours, theirs in zip(model.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_cifar10_full_has_its_89578_parameters() -> None:
    model = timm.create_model("caffe_cifar")
    assert sum(p.numel() for p in model.parameters()) == 89_578
    assert model.ip1.in_features == 64 * 4 * 4


def test_rates_and_decays_are_multiplied_as_in_the_prototxt() -> None:
    model = CaffeCIFAR()
    assert model.multipliers.keys() == dict(model.named_parameters()).keys()
    rates = {name: rate for name, (rate, _) in model.multipliers.items()}
    decays = {name: decay for name, (_, decay) in model.multipliers.items()}
    assert {n for n, rate in rates.items() if rate == 2} == {"conv1.bias", "conv2.bias", "ip1.bias"}
    assert {n for n, rate in rates.items() if rate == 1} == rates.keys() - {
        "conv1.bias", "conv2.bias", "ip1.bias"
    }  # fmt: skip
    assert decays.pop("ip1.weight") == 250
    assert decays.pop("ip1.bias") == 0
    assert set(decays.values()) == {1}


def test_weights_start_gaussian_with_caffes_deviations_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    model = CaffeCIFAR(num_classes=100)
    deviations = {"conv1": 1e-4, "conv2": 1e-2, "conv3": 1e-2, "ip1": 1e-2}
    for name, deviation in deviations.items():
        weight = model.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        standard_error = weight.numel() ** -0.5
        assert weight.std().item() == pytest.approx(deviation, rel=4 * standard_error)
        assert abs(weight.mean().item()) < 4 * deviation * standard_error
        kurtosis = (weight / deviation).pow(4).mean().item()  # 3 for a gaussian, 1.8 for a uniform
        assert kurtosis == pytest.approx(3, abs=4 * 24**0.5 * standard_error * 2)
        bias = model.get_submodule(name).bias
        assert isinstance(bias, torch.Tensor)
        assert not bias.any()


def test_narrow_network_has_fewer_filters_and_wider_deviations() -> None:
    torch.manual_seed(0)
    model = timm.create_model("caffe_cifar", num_classes=100, img_size=24, width=0.25)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes["conv1.weight"] == (8, 3, 5, 5)
    assert shapes["conv2.weight"] == (8, 8, 5, 5)
    assert shapes["conv3.weight"] == (16, 8, 5, 5)
    assert shapes["ip1.weight"] == (100, 16 * 3 * 3)
    for name, deviation in {"conv1": 1e-4, "conv2": 2e-2, "conv3": 2e-2, "ip1": 2e-2}.items():
        weight = model.get_submodule(name).weight
        assert weight.std().item() == pytest.approx(deviation, rel=4 * weight.numel() ** -0.5)


def test_global_seed_fixes_the_initial_weights() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(CaffeCIFAR().conv1.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("name", ["caffe_cifar", "caffe_cifar_sigmoid_bn"])
@pytest.mark.parametrize(("size", "channels"), [(24, 3), (8, 1), (31, 4)])
def test_timm_builds_it_for_other_sizes_and_channels(name: str, size: int, channels: int) -> None:
    model = timm.create_model(name, num_classes=5, in_chans=channels, img_size=size)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"img_size": 7}, "img_size must be at least 8 px"),
        ({"in_chans": 0}, "in_chans must be at least 1, got 0"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"pretrained": True}, "caffe_cifar has no pretrained weights"),
        ({"drop_rate": 0.1}, "caffe_cifar has no argument drop_rate"),
        ({"width": 0.3}, "width must be a multiple of 1/32 .*, got 0.3"),
        ({"width": float("inf")}, "width must be a multiple of 1/32 .*, got inf"),
        ({"width": 0.0}, "width must be a multiple of 1/32 .*, got 0.0"),
    ],
)
def test_arguments_that_it_cannot_honour_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        timm.create_model("caffe_cifar", **arguments)


# --- The sigmoid network  ----------------------------------------------------------------------


def test_sigmoid_network_equals_caffes_loops() -> None:
    torch.manual_seed(3)
    model = CaffeCIFARSigmoidBN(img_size=11).double()
    x = pixels(3, 3, 11, 11)
    p = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    assert sorted(p) == ["conv1.weight", "conv2.weight", "conv3.weight", "ip1.bias", "ip1.weight"]

    def sigmoid(values: Array) -> Array:
        return 1 / (1 + np.exp(-values))

    y = max_pool(convolve(x.numpy(), p["conv1.weight"], np.zeros(32)))[0]
    y = sigmoid(batch_norm(y)[0])
    y = convolve(y, p["conv2.weight"], np.zeros(32))
    y = average_pool(sigmoid(batch_norm(y)[0]))
    y = convolve(y, p["conv3.weight"], np.zeros(64))
    y = average_pool(sigmoid(batch_norm(y)[0]))
    assert_close(model(x), y.reshape(3, -1) @ p["ip1.weight"].T + p["ip1.bias"])


def test_batch_norm_accumulates_its_statistics_as_caffe_does() -> None:
    layer = CaffeBatchNorm(4, moving_average_fraction=0.9).double()
    blobs = [np.zeros(4), np.zeros(4), np.zeros(1)]
    for seed in range(5):
        x = pixels(3, 4, 5, 6, seed=seed) + seed
        expected, mean, variance = batch_norm(x.numpy())
        assert_close(layer.train()(x), expected)
        m = x.numel() / 4
        batch = (mean, variance * m / (m - 1), np.ones(1))
        blobs = [0.9 * blob + new for blob, new in zip(blobs, batch, strict=True)]
        assert_close(layer.mean_sum, blobs[0])
        assert_close(layer.variance_sum, blobs[1])
        assert_close(layer.scale_factor[None], blobs[2])
    used_mean, used_variance = (blob / blobs[2] for blob in blobs[:2])
    centred = x.numpy() - used_mean[:, None, None]
    expected = centred / np.sqrt(used_variance + 1e-5)[:, None, None]
    before = copy.deepcopy(layer.state_dict())
    assert_close(layer.eval()(x), expected)
    assert all(torch.equal(before[name], blob) for name, blob in layer.state_dict().items())


def test_batch_norms_derivative_is_that_of_its_training_forward() -> None:
    layer = CaffeBatchNorm(2).double()
    x = torch.randn(3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_batch_norm_before_any_batch_takes_mean_and_variance_zero() -> None:
    x = pixels(2, 3, 4, 4)
    assert_close(CaffeBatchNorm(3).double().eval()(x), x.numpy() / np.sqrt(1e-5))


def test_sigmoid_network_has_the_multipliers_of_its_prototxt() -> None:
    model = CaffeCIFARSigmoidBN()
    assert model.multipliers.keys() == dict(model.named_parameters()).keys()
    assert {name for name, pair in model.multipliers.items() if pair != (1, 1)} == {"ip1.bias"}
    assert model.multipliers["ip1.bias"] == (1, 0)
    assert not any(isinstance(m, nn.Conv2d) and m.bias is not None for m in model.modules())
