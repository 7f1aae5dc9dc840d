"""Pretrained weights, the classifier head, a frozen backbone, rates that fall with depth."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anneal.models import build_model, parameter_groups
from anneal.models.layers import freeze_backbone, head_names, head_of, layer_scales
from anneal.models.pretrained import load_weights, read_weights, weights_identity


def build(architecture: str = "cifar_resnet20", *, num_classes: int = 10, **more: Any) -> nn.Module:
    library = more.pop("library", "timm")
    size = more.pop("image_size", 32)
    return build_model(
        library=library, architecture=architecture, arguments=more, num_classes=num_classes,
        channels=3, image_size=size, small_images=False,
    )  # fmt: skip


def read(weights: object, architecture: str = "cifar_resnet20", library: str = "timm") -> Any:
    return read_weights(
        str(weights), library=library, architecture=architecture, image_size=32, arguments={}
    )


@pytest.fixture
def trained() -> nn.Module:
    """A network whose tensors are all unlike a fresh one's."""
    model = build()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.rand_like(tensor.float()) + 0.5)
    return model


def test_own_head_stays_when_number_of_classes_differs(trained: nn.Module) -> None:
    model = build(num_classes=7)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    said = load_weights(model, trained.state_dict(), where="w.pt")
    assert said == (
        "weights of w.pt: all but the head (fc.bias, fc.weight), which starts at random: "
        "10 there, 7 here"
    )
    for name, value in model.state_dict().items():
        of = before if name.startswith("fc.") else trained.state_dict()
        assert torch.equal(value, of[name]), name


def test_head_of_as_many_classes_is_loaded_too(trained: nn.Module) -> None:
    model = build()
    said = load_weights(model, trained.state_dict(), where="w.pt")
    assert said == "weights of w.pt: all, the head (fc.bias, fc.weight) too"
    assert torch.equal(model.state_dict()["fc.weight"], trained.state_dict()["fc.weight"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 3},
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {f"model._orig_mod.module.{k}": v for k, v in s.items()}},
        lambda s: {"update": 3, "configuration_hash": "x", "model": s},
        lambda s: {"update": 3, "state": {"model": s, "optimizer": {}}},
    ],
    ids=["plain", "ddp", "lightning", "nested", "snapshot", "checkpoint"],
)
def test_file_of_any_common_form_is_read(trained: nn.Module, tmp_path: Path, wrap: Any) -> None:
    state = trained.state_dict()
    torch.save(wrap(state), tmp_path / "w.pt")
    found = read(tmp_path / "w.pt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_safetensors_file_is_read(trained: nn.Module, tmp_path: Path) -> None:
    files = pytest.importorskip("safetensors.torch")
    files.save_file(trained.state_dict(), tmp_path / "w.safetensors")
    assert read(tmp_path / "w.safetensors").keys() == trained.state_dict().keys()


def test_file_with_code_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt holds no plain weights: Weights only load failed"):
        read(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello", "w.pt holds no plain weights"), (b"", "w.pt holds no plain weights")],
)
def test_file_without_weights_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "w.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="must hold a state_dict"):
        read(tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"fine_tuning\.weights: there is no file nowhere\.pt"):
        read("nowhere.pt")


def test_weights_of_another_network_are_refused_with_their_tensors(trained: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"w.pt is of another network.*and \d+ more"):
        load_weights(build("cifar_resnet32"), trained.state_dict(), where="w.pt")
    wide = {k: v if k != "conv1.weight" else v[:, :1] for k, v in trained.state_dict().items()}
    message = "conv1.weight is 16x1x3x3 there and 16x3x3x3 here"
    with pytest.raises(ValueError, match=message):
        load_weights(build(), wide, where="w.pt")


def test_identity_is_of_content_not_of_place(trained: nn.Module, tmp_path: Path) -> None:
    torch.save(trained.state_dict(), tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes())
    torch.save(build().state_dict(), tmp_path / "c.pt")
    a, b, c = (
        weights_identity(str(tmp_path / f"{n}.pt"), library="timm", architecture="any")
        for n in "abc"
    )
    assert a == b != c
    assert a.startswith("sha256:")


@pytest.mark.parametrize(
    ("library", "architecture", "origin"),
    [
        ("timm", "resnet18", "timm:timm/resnet18.a1_in1k:a1_in1k"),
        ("torchvision", "resnet18", "torchvision:https://download.pytorch.org/models/resnet18-f37"),
    ],
)
def test_identity_of_library_weights_is_their_origin(
    library: str, architecture: str, origin: str
) -> None:
    found = weights_identity("library", library=library, architecture=architecture)
    assert found.startswith(origin)


def test_own_network_has_no_library_weights() -> None:
    with pytest.raises(ValueError, match="timm has no weights of cifar_resnet20; give a file"):
        read("library")


def test_failed_download_says_to_give_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    monkeypatch.setattr("timm.create_model", offline)
    for library in ("timm", "torchvision"):
        with pytest.raises(
            ValueError, match=r"cannot be downloaded or read: Network.*; give a file"
        ):
            read("library", "resnet18", library)


HEADS = [
    ("timm", "resnet18", "fc"),
    ("timm", "vit_tiny_patch16_224", "head"),
    ("timm", "convnext_atto", "head.fc"),
    ("torchvision", "resnet18", "fc"),
    ("torchvision", "squeezenet1_1", "classifier.1"),
    ("torchvision", "mobilenet_v3_small", "classifier.3"),
    ("timm", "caffe_cifar", "ip1"),
    ("timm", "sgdr_wrn16_1", "fc"),
]


@pytest.mark.parametrize(("library", "architecture", "name"), HEADS)
def test_head_is_the_layer_of_classes(library: str, architecture: str, name: str) -> None:
    size = 224 if architecture in ("vit_tiny_patch16_224", "squeezenet1_1") else 64
    model = build(architecture, library=library, num_classes=7, image_size=size)
    found, head = head_of(model)
    assert found == name
    assert next(head.parameters()).shape[0] == 7
    assert head_names(model) == {n for n in model.state_dict() if n.startswith(f"{name}.")}


def test_frozen_backbone_trains_its_head_alone(trained: nn.Module) -> None:
    model = trained
    freeze_backbone(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (group,) = parameter_groups(model, weight_decay=0.1)
    assert [tuple(p.shape) for p in group["params"]] == [(10, 64), (10,)]
    optimizer = torch.optim.SGD([group], lr=0.1)
    assert model.training
    model(torch.randn(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"fc.weight", "fc.bias"}


def test_rate_falls_with_distance_from_head() -> None:
    scales = layer_scales(build(), layer_decay=0.5)
    assert scales["fc.weight"] == scales["fc.bias"] == 1.0
    assert scales["blocks.8.conv2.weight"] == scales["blocks.8.bn1.weight"] == 0.5
    assert scales["blocks.0.conv1.weight"] == 0.5**9
    assert scales["conv1.weight"] == scales["bn1.bias"] == 0.5**10
    assert len(scales) == len(list(build().parameters()))


def test_encoder_of_torchvision_is_opened_into_its_blocks() -> None:
    model = build("vit_b_16", library="torchvision", image_size=32)
    scales = layer_scales(model, layer_decay=0.5)
    of_blocks = [scales[f"encoder.layers.encoder_layer_{n}.mlp.0.weight"] for n in range(12)]
    assert of_blocks == [0.5 ** (12 - n) for n in range(12)]


@pytest.mark.parametrize("architecture", ["resnet18", "vit_tiny_patch16_224"])
def test_layers_of_timm_are_timms(architecture: str) -> None:
    from timm.optim import param_groups_layer_decay

    size = 224 if "vit" in architecture else 64
    model = build(architecture, image_size=size)
    theirs = param_groups_layer_decay(model, layer_decay=0.75, weight_decay_exclude_1d=False)
    expected = {id(p): group["lr_scale"] for group in theirs for p in group["params"]}
    found = layer_scales(model, layer_decay=0.75)
    assert {id(p): found[n] for n, p in model.named_parameters()} == pytest.approx(expected)


def test_layer_decay_multiplies_group_rates_and_multipliers() -> None:
    model = build("caffe_cifar")
    plain = {
        id(p): group["lr"]
        for group in parameter_groups(model, weight_decay=0.1)
        for p in group["params"]
    }
    scales = layer_scales(model, layer_decay=0.5)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, weight_decay=0.1, layer_decay=0.5)
    for group in groups:
        for p in group["params"]:
            assert group["lr"] == plain[id(p)] * scales[names[id(p)]]
    assert sorted({group["lr"] for group in groups}) != sorted(set(plain.values()))
