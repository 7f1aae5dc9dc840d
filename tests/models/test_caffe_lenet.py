"""Caffe's LeNet against its files (BVLC/caffe @9b89154, examples/mnist), in plain numpy."""

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch.nn import functional

import anneal.models.timm  # noqa: F401
from anneal.models import build_model, parameter_groups
from anneal.models.caffe_lenet import CaffeLeNet
from anneal.schedules import inverse
from anneal.training.optimizers.caffe import CaffeNesterov, CaffeSGD

Array = NDArray[np.float64]

RTOL = 1e-10  # measured: 3e-14 relative to the largest value
DECAY, MOMENTUM = 0.0005, 0.9  # lenet_solver.prototxt


def convolve(x: Array, weight: Array, bias: Array) -> Array:
    side = x.shape[2] - 4
    y = np.zeros((x.shape[0], weight.shape[0], side, side)) + bias[:, None, None]
    for i, j in np.ndindex(5, 5):
        window = x[:, :, i : i + side, j : j + side]
        y += np.einsum("nchw,oc->nohw", window, weight[:, :, i, j])
    return y


def max_pool(x: Array) -> Array:
    """2x2 windows of stride 2; the last one is what is left of it, as Caffe rounds up."""
    rows = [x[:, :, i : i + 2].max(2) for i in range(0, x.shape[2], 2)]
    tall = np.stack(rows, axis=2)
    return np.stack([tall[..., j : j + 2].max(3) for j in range(0, x.shape[3], 2)], axis=3)


def lenet(p: dict[str, Array], x: Array) -> Array:
    """The layers of lenet_train_test.prototxt: relu1 is the only ReLU."""
    pool1 = max_pool(convolve(x, p["conv1.weight"], p["conv1.bias"]))
    pool2 = max_pool(convolve(pool1, p["conv2.weight"], p["conv2.bias"]))
    ip1 = pool2.reshape(len(x), -1) @ p["ip1.weight"].T + p["ip1.bias"]
    return np.maximum(ip1, 0) @ p["ip2.weight"].T + p["ip2.bias"]


@pytest.mark.parametrize("size", [14, 15, 21, 28, 32])
def test_every_layer_is_as_in_the_prototxt(size: int) -> None:
    torch.manual_seed(0)
    model = CaffeLeNet(num_classes=7, in_chans=2, img_size=size).double()
    x = torch.randn(3, 2, size, size, dtype=torch.float64)
    parameters = {name: p.detach().numpy() for name, p in model.named_parameters()}
    expected = lenet(parameters, x.numpy())
    ours = model(x).detach().numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=RTOL * np.abs(expected).max())


def test_lenet_has_its_431080_parameters() -> None:
    model = timm.create_model("caffe_lenet", num_classes=10, in_chans=1, img_size=28)
    counts = {name: p.numel() for name, p in model.named_parameters()}
    assert counts == {
        "conv1.weight": 20 * 25, "conv1.bias": 20, "conv2.weight": 50 * 20 * 25, "conv2.bias": 50,
        "ip1.weight": 500 * 50 * 4 * 4, "ip1.bias": 500, "ip2.weight": 10 * 500, "ip2.bias": 10,
    }  # fmt: skip
    assert sum(counts.values()) == 431_080


def test_weights_start_uniform_by_fan_in_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    model = CaffeLeNet()
    for name, fan_in in (("conv1", 25), ("conv2", 500), ("ip1", 800), ("ip2", 500)):
        layer = model.get_submodule(name)
        weight, bound = layer.weight.detach(), (3 / fan_in) ** 0.5
        assert isinstance(weight, torch.Tensor)
        assert weight.abs().max().item() <= bound
        error = 4 * weight.numel() ** -0.5
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=error)
        assert (weight / bound).pow(4).mean().item() == pytest.approx(1 / 5, abs=error)  # uniform
        assert not layer.bias.any()


def test_biases_learn_twice_as_fast_and_everything_decays() -> None:
    groups = parameter_groups(CaffeLeNet(), weight_decay=DECAY)
    sizes = {(g["lr"], g["weight_decay"]): sum(p.numel() for p in g["params"]) for g in groups}
    assert sizes == {(1.0, DECAY): 431_080 - 580, (2.0, DECAY): 580}


@pytest.mark.parametrize("rule", [CaffeSGD, CaffeNesterov])
def test_updates_are_those_of_caffes_solver_at_its_inverse_policy(
    rule: type[torch.optim.Optimizer],
) -> None:
    torch.manual_seed(0)
    model = CaffeLeNet(img_size=14).double()
    groups = parameter_groups(model, weight_decay=DECAY)
    optimizer = rule(groups, lr=1.0, momentum=MOMENTUM)  # type: ignore[call-arg]
    policy = inverse(initial_lr=0.01, gamma=0.0001, power=0.75)
    by_hand = {name: p.detach().clone() for name, p in model.named_parameters()}
    history = {name: torch.zeros_like(p) for name, p in by_hand.items()}
    multipliers = [group["lr"] for group in groups]
    x, labels = torch.rand(6, 1, 14, 14, dtype=torch.float64), torch.arange(6)
    for iteration in range(3):
        rate = 0.01 * (1 + 0.0001 * iteration) ** -0.75  # GetLearningRate, "inv"
        assert policy(iteration) == pytest.approx(rate, rel=1e-15)
        optimizer.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            local_rate = rate * (2 if name.endswith("bias") else 1)
            gradient = parameter.grad + DECAY * by_hand[name]
            before = history[name]
            history[name] = MOMENTUM * before + local_rate * gradient
            step = history[name]
            if rule is CaffeNesterov:
                step = (1 + MOMENTUM) * history[name] - MOMENTUM * before
            by_hand[name] = by_hand[name] - step
        for group, multiplier in zip(optimizer.param_groups, multipliers, strict=True):
            group["lr"] = multiplier * policy(iteration)
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), by_hand[name], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("size", "message"),
    [(13, "img_size must be at least 14 px"), (3, "img_size must be at least 4 px")],
)
def test_image_that_is_too_small_is_refused(size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(
            library="timm",
            architecture="caffe_lenet",
            arguments={},
            num_classes=10,
            channels=1,
            image_size=size,
            small_images=False,
        )
