"""Each rule against a plain transcription of Caffe's (BVLC/caffe @9b89154, src/caffe/solvers)."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from anneal.models import build_model, parameter_groups
from anneal.training.optimizers import (
    CaffeAdaDelta,
    CaffeAdaGrad,
    CaffeAdam,
    CaffeNesterov,
    CaffeRMSProp,
    CaffeSGD,
)

Array = NDArray[np.float64]
Rule = Callable[[Array, float, dict[str, Array], int], Array]

FLOAT64_RTOL = 1e-12  # measured: 4e-16 relative to the largest weight
RATES = [0.1, 0.02, 0.0, 0.5, 0.003, 0.25]
DECAY = 0.3


# Caffe's ComputeUpdateValue: gradient with decay, rate, history (changed), updates before -> update


def sgd(g: Array, rate: float, h: dict[str, Array], t: int) -> Array:
    h["v"] = 0.9 * h.get("v", 0) + rate * g
    return h["v"]


def nesterov(g: Array, rate: float, h: dict[str, Array], t: int) -> Array:
    old = h.get("v", np.zeros_like(g))
    h["v"] = 0.9 * old + rate * g
    return (1 + 0.9) * h["v"] - 0.9 * old


def adam(g: Array, rate: float, h: dict[str, Array], t: int) -> Array:
    h["m"] = 0.8 * h.get("m", 0) + (1 - 0.8) * g
    h["v"] = 0.99 * h.get("v", 0) + (1 - 0.99) * g**2
    correction = np.sqrt(1 - 0.99 ** (t + 1)) / (1 - 0.8 ** (t + 1))
    return rate * correction * h["m"] / (np.sqrt(h["v"]) + 1e-3)


def rmsprop(g: Array, rate: float, h: dict[str, Array], t: int) -> Array:
    h["s"] = 0.98 * h.get("s", 0) + (1 - 0.98) * g**2
    return rate * g / (np.sqrt(h["s"]) + 1e-3)


def adagrad(g: Array, rate: float, h: dict[str, Array], t: int) -> Array:
    h["s"] = h.get("s", 0) + g**2
    return rate * g / (np.sqrt(h["s"]) + 1e-3)


def adadelta(g: Array, rate: float, h: dict[str, Array], t: int) -> Array:
    h["s"] = 0.95 * h.get("s", 0) + (1 - 0.95) * g**2
    update = g * np.sqrt((1e-3 + h.get("u", 0)) / (1e-3 + h["s"]))
    h["u"] = 0.95 * h.get("u", 0) + (1 - 0.95) * update**2
    return rate * update


SOLVERS: dict[str, tuple[type[Optimizer], dict[str, float], Rule]] = {
    "SGD": (CaffeSGD, {"momentum": 0.9}, sgd),
    "Nesterov": (CaffeNesterov, {"momentum": 0.9}, nesterov),
    "Adam": (CaffeAdam, {"momentum": 0.8, "momentum2": 0.99, "delta": 1e-3}, adam),
    "RMSProp": (CaffeRMSProp, {"rms_decay": 0.98, "delta": 1e-3}, rmsprop),
    "AdaGrad": (CaffeAdaGrad, {"delta": 1e-3}, adagrad),
    "AdaDelta": (CaffeAdaDelta, {"momentum": 0.95, "delta": 1e-3}, adadelta),
}
solvers = pytest.mark.parametrize("name", SOLVERS)


def make(name: str, params: Any, lr: float = 1.0, **changes: float) -> Optimizer:
    solver, arguments, _ = SOLVERS[name]
    return solver(params, lr=lr, **(arguments | changes))  # type: ignore[call-arg]


def start(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (5,), (2, 2, 3, 3)]
    return [
        nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype))
        for shape in shapes
    ]


def gradient(weight: Tensor, t: int) -> Tensor:
    """A gradient that depends on the weights, as a real one does."""
    return torch.sin(3 * weight.detach()) + 0.1 * t


def train(optimizer: Optimizer, weights: list[nn.Parameter], updates: range) -> None:
    """Make updates at the changing RATES; each group keeps the ratio that it was built with."""
    ratios = [group.setdefault("ratio", group["lr"]) for group in optimizer.param_groups]
    for t in updates:
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            group["lr"] = RATES[t] * ratio
        for weight in weights:
            weight.grad = gradient(weight, t)
        optimizer.step()


@solvers
def test_rule_is_caffes_under_a_changing_rate_with_multipliers(name: str) -> None:
    weights = start()
    multipliers = [(1.0, 1.0), (2.0, 0.0), (1.0, 250.0)]
    expected = [weight.detach().numpy().copy() for weight in weights]
    groups = [
        {"params": [weight], "lr": rate, "weight_decay": DECAY * decay}
        for weight, (rate, decay) in zip(weights, multipliers, strict=True)
    ]
    optimizer = make(name, groups)
    histories: list[dict[str, Array]] = [{} for _ in weights]
    rule = SOLVERS[name][2]
    for t in range(len(RATES)):
        for i, (rate, decay) in enumerate(multipliers):
            g = gradient(torch.from_numpy(expected[i]), t).numpy() + DECAY * decay * expected[i]
            expected[i] = expected[i] - rule(g, RATES[t] * rate, histories[i], t)
        train(optimizer, weights, range(t, t + 1))
        for weight, value in zip(weights, expected, strict=True):
            atol = FLOAT64_RTOL * float(np.abs(value).max())
            np.testing.assert_allclose(weight.detach().numpy(), value, rtol=0, atol=atol)


def torch_twin(name: str, params: Any, lr: float) -> Optimizer:
    common = {"lr": lr, "weight_decay": DECAY}
    if name in ("SGD", "Nesterov"):
        return torch.optim.SGD(params, momentum=0.9, nesterov=name == "Nesterov", **common)
    if name == "Adam":  # the same only without delta, whose place differs
        return torch.optim.Adam(params, betas=(0.8, 0.99), eps=0.0, **common)
    if name == "RMSProp":
        return torch.optim.RMSprop(params, alpha=0.98, eps=1e-3, **common)
    if name == "AdaGrad":
        return torch.optim.Adagrad(params, eps=1e-3, **common)
    return torch.optim.Adadelta(params, rho=0.95, eps=1e-3, **common)


def distance_from_torch(name: str, rates: list[float]) -> float:
    ours, theirs = start(), start()
    changes = {"delta": 0.0} if name == "Adam" else {}
    optimizer = make(name, ours, weight_decay=DECAY, **changes)
    twin = torch_twin(name, theirs, lr=1.0)
    for t, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = twin.param_groups[0]["lr"] = rate
        for weight in (*ours, *theirs):
            weight.grad = gradient(weight, t)
        optimizer.step()
        twin.step()
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


@solvers
def test_at_a_constant_rate_the_rule_is_torchs(name: str) -> None:
    assert distance_from_torch(name, [0.1] * 6) < FLOAT64_RTOL


@solvers
def test_only_caffe_solvers_with_velocity_differ_under_changing_rate(name: str) -> None:
    difference = distance_from_torch(name, RATES)
    assert (difference > 1e-2) if name in ("SGD", "Nesterov") else (difference < FLOAT64_RTOL)


@solvers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resumed_run_is_equal_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    uninterrupted = start(dtype)
    train(make(name, uninterrupted, weight_decay=DECAY), uninterrupted, range(6))

    weights = start(dtype)
    optimizer = make(name, weights, weight_decay=DECAY)
    train(optimizer, weights, range(3))
    file = io.BytesIO()
    torch.save({"weights": weights, "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = [nn.Parameter(weight.detach().clone()) for weight in saved["weights"]]
    optimizer = make(name, resumed, weight_decay=DECAY)
    optimizer.load_state_dict(saved["optimizer"])
    train(optimizer, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(uninterrupted, resumed, strict=True))


@pytest.mark.parametrize("name", ["SGD", "Nesterov", "Adam", "AdaDelta"])
def test_momentum_is_read_from_the_group_at_each_update(name: str) -> None:
    changed, fresh = start(), start()
    optimizer = make(name, changed, momentum=0.1)
    optimizer.param_groups[0]["momentum"] = 0.7
    train(optimizer, changed, range(3))
    train(make(name, fresh, momentum=0.7), fresh, range(3))
    assert all(torch.equal(a, b) for a, b in zip(changed, fresh, strict=True))


@solvers
def test_step_reads_gradients_and_does_not_write_them(name: str) -> None:
    weights = start()
    for weight in weights:
        weight.grad = gradient(weight, 0)
    before = [weight.grad.clone() for weight in weights if weight.grad is not None]
    make(name, weights, weight_decay=DECAY).step()
    for weight, kept in zip(weights, before, strict=True):
        assert weight.grad is not None
        assert torch.equal(weight.grad, kept)


@solvers
def test_parameter_without_gradient_stays_and_does_not_hold_others_up(name: str) -> None:
    weights, alone = start(), start()
    frozen = weights[0].detach().clone()
    optimizer = make(name, weights, weight_decay=DECAY)
    train(optimizer, weights[1:], range(3))
    train(make(name, alone[1:], weight_decay=DECAY), alone[1:], range(3))
    assert torch.equal(weights[0], frozen)
    assert all(torch.equal(a, b) for a, b in zip(weights[1:], alone[1:], strict=True))


@solvers
def test_closures_loss_is_returned(name: str) -> None:
    weights = start()
    optimizer = make(name, weights)

    def closure() -> float:
        optimizer.zero_grad()
        loss = torch.stack([weight.square().sum() for weight in weights]).sum()
        loss.backward()
        return loss.item()

    first = closure()
    assert optimizer.step(closure) == first
    assert optimizer.step() is None


def test_history_has_the_memory_format_of_the_weights() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last))
    optimizer = CaffeSGD([weight], lr=0.1, momentum=0.9)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    velocity = optimizer.state[weight]["velocity"]
    assert velocity.is_contiguous(memory_format=torch.channels_last)


def test_caffe_cifars_groups_train_with_caffe_sgd() -> None:
    torch.manual_seed(0)
    model = build_model(
        library="timm", architecture="caffe_cifar", arguments={}, num_classes=10, channels=3,
        image_size=24, small_images=False,
    )  # fmt: skip
    optimizer = CaffeSGD(parameter_groups(model, weight_decay=0.004), lr=1.0, momentum=0.9)
    assert [group["momentum"] for group in optimizer.param_groups] == [0.9] * 4
    x, y = torch.randn(16, 3, 24, 24) * 60, torch.arange(16) % 10
    ratios = [group["lr"] for group in optimizer.param_groups]
    losses = []
    for _ in range(60):
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            group["lr"] = 0.003 * ratio
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: CaffeSGD(p, lr=-0.1), "lr must not be negative, got -0.1"),
        (lambda p: CaffeSGD(p, lr=float("nan")), "lr must not be negative, got nan"),
        (lambda p: CaffeSGD(p, lr=0.1, momentum=1.0), "momentum must be at least 0 and below 1"),
        (lambda p: CaffeNesterov(p, lr=0.1, weight_decay=-1.0), "weight_decay must not be negat"),
        (lambda p: CaffeAdam(p, lr=0.1, momentum=0.9, momentum2=1.0), "momentum2 must be at least"),
        (lambda p: CaffeAdam(p, lr=0.1, momentum=0.9, delta=-1e-8), "delta must not be negative"),
        (lambda p: CaffeRMSProp(p, lr=0.1, momentum=0.9), "momentum cannot be used with CaffeRMS"),
        (
            lambda p: CaffeRMSProp(p, lr=0.1, rms_decay=1.0),
            "rms_decay must be at least 0 and below",
        ),
        (lambda p: CaffeAdaGrad(p, lr=0.1, momentum=0.9), "momentum cannot be used with CaffeAdaG"),
        (lambda p: CaffeAdaDelta(p, lr=0.1, momentum=-0.1), "momentum must be at least 0"),
    ],
)
def test_arguments_that_caffe_refuses_are_refused(
    build: Callable[[list[nn.Parameter]], Optimizer], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(start())


def test_defaults_are_those_of_caffe_proto() -> None:
    weights = start()
    assert CaffeSGD(weights, lr=0.1).defaults["momentum"] == 0
    adam_defaults = CaffeAdam(weights, lr=0.1, momentum=0.9).defaults
    assert (adam_defaults["momentum2"], adam_defaults["delta"]) == (0.999, 1e-8)
    assert CaffeRMSProp(weights, lr=0.1).defaults["rms_decay"] == 0.99
    assert CaffeAdaGrad(weights, lr=0.1).defaults["delta"] == 1e-8
    assert CaffeAdaDelta(weights, lr=0.1, momentum=0.95).defaults["delta"] == 1e-8
