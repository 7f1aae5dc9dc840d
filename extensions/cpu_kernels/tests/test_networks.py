"""Which networks the kernels serve, and what applying them changes."""

import pickle

import pytest
import torch
from torch import nn

from anneal.models.build import build_model, parameter_groups
from anneal.models.caffe_cifar import CaffeCIFAR, CaffeCIFARSigmoidBN
from anneal.models.resnet import ResNetCIFAR
from anneal_cpu_kernels import apply, check, networks

CAFFE = ("caffe_cifar", "caffe_cifar_sigmoid_bn")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compile nothing; return the list of sources that would be loaded."""
    sources: list[str] = []
    monkeypatch.setattr(networks, "load_library", sources.append)
    return sources


@pytest.mark.parametrize("architecture", CAFFE)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_caffe_networks_are_served_on_any_processor(
    architecture: str, precision: torch.dtype, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "has_tiles", lambda: False)
    check(architecture, precision)
    assert loaded == ["fused_pooling.cpp"]


@pytest.mark.parametrize(
    ("architecture", "precision", "amx"),
    [
        ("cifar_resnet20", torch.bfloat16, False),
        ("cifar_resnet20", torch.float32, True),
        ("cifar_sd_resnet110", torch.bfloat16, True),
        ("caffe_resnet20", torch.bfloat16, True),
        ("resnet18", torch.bfloat16, True),
        ("caffe_cifar", torch.float16, True),
    ],
)
def test_refusal_says_what_is_served_in_one_line(
    architecture: str,
    precision: torch.dtype,
    amx: bool,
    loaded: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(networks, "has_tiles", lambda: amx)
    with pytest.raises(ValueError, match=r"^cpu serves caffe_cifar and .* AMX; got ") as refused:
        check(architecture, precision)
    assert f"got {architecture} in " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert loaded == []


def test_resnets_are_served_in_bf16_with_amx(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "has_tiles", lambda: True)
    check("cifar_resnet56", torch.bfloat16)
    assert loaded == ["fused_residual.cpp"]


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        (nn.Linear(2, 2), torch.float32),
        (CaffeCIFAR().to("meta"), torch.float32),
        (CaffeCIFAR(), torch.float64),
        (ResNetCIFAR(depth=8), torch.float32),
    ],
)
def test_model_without_kernels_is_refused_and_left_as_it_was(
    model: nn.Module, precision: torch.dtype, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "has_tiles", lambda: True)
    before = type(model)
    with pytest.raises(ValueError, match=r"^cpu serves .*; got "):
        apply(model, precision)
    assert type(model) is before
    assert loaded == []


@pytest.mark.parametrize("network", [CaffeCIFAR, CaffeCIFARSigmoidBN])
def test_applying_changes_the_class_and_nothing_else(
    network: type[CaffeCIFAR] | type[CaffeCIFARSigmoidBN], loaded: list[str]
) -> None:
    model = network()
    keys, parameters = list(model.state_dict()), list(model.parameters())
    groups = [len(group["params"]) for group in parameter_groups(model, weight_decay=0.1)]
    apply(model, torch.bfloat16)
    assert isinstance(model, network)
    assert type(model) is not network
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert [len(g["params"]) for g in parameter_groups(model, weight_decay=0.1)] == groups
    assert type(pickle.loads(pickle.dumps(model))) is type(model)


@pytest.mark.parametrize("architecture", [*CAFFE, "cifar_resnet20"])
def test_every_served_name_builds_a_network_that_takes_the_kernels(
    architecture: str, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "has_tiles", lambda: True)
    model = build_model(
        library="timm",
        architecture=architecture,
        arguments={},
        num_classes=10,
        channels=3,
        image_size=32,
        small_images=False,
    )
    check(architecture, torch.bfloat16)
    apply(model, torch.bfloat16)
    assert len(loaded) == 2
    assert len(set(loaded)) == 1


@pytest.mark.usefixtures("needs_compiler")
def test_caffe_network_with_kernels_has_gradients() -> None:
    model = CaffeCIFAR()
    apply(model, torch.float32)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert model.conv1.weight.grad is not None
    assert model.conv1.weight.grad.abs().sum() > 0


@pytest.mark.usefixtures("needs_compiler")
def test_compiled_caffe_network_with_kernels_has_equal_bits() -> None:
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = CaffeCIFAR()
        apply(model, torch.bfloat16)
        if compiled:
            model.compile(backend="aot_eager")
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(50 * torch.randn(4, 3, 32, 32)).float().square().mean()
        loss.backward()
        found.append([loss, *(p.grad for p in model.parameters())])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
