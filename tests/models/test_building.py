import subprocess
import sys
from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.models import register_model
from torch import nn

from anneal.models import build_model, parameter_groups


def build(library: str, architecture: str, **changes: Any) -> nn.Module:
    choices: dict[str, Any] = {
        "arguments": {}, "num_classes": 10, "channels": 3, "image_size": 32, "small_images": False
    }  # fmt: skip
    return build_model(library=library, architecture=architecture, **(choices | changes))


def first_convolution(model: nn.Module) -> nn.Conv2d:
    return next(module for module in model.modules() if isinstance(module, nn.Conv2d))


def test_importing_the_package_registers_our_networks_with_timm() -> None:
    assert {"caffe_cifar", "caffe_cifar_sigmoid_bn"} <= set(timm.list_models("caffe*"))


@pytest.mark.parametrize(
    ("library", "architecture"),
    [
        ("timm", "resnet18"),
        ("timm", "resnet18d"),
        ("timm", "densenet121"),
        ("torchvision", "resnet18"),
        ("torchvision", "densenet121"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_stems_made_for_224_px_are_adapted_to_small_images(
    library: str, architecture: str, channels: int
) -> None:
    model = build(library, architecture, channels=channels, small_images=True)
    stem = first_convolution(model)
    assert (stem.in_channels, stem.kernel_size, stem.stride) == (channels, (3, 3), (1, 1))
    pool = model.get_submodule("features.pool0" if "densenet" in architecture else "maxpool")
    assert isinstance(pool, nn.Identity)
    sizes = []
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    norm.register_forward_hook(lambda _m, _i, output: sizes.append(output.shape[-2:]))
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 10)
    assert sizes == [(32, 32)]


def test_adapted_stem_is_initialised_by_its_architectures_own_rule() -> None:
    resnet = first_convolution(build("torchvision", "resnet18", channels=1, small_images=True))
    densenet = first_convolution(build("torchvision", "densenet121", channels=4))
    # Kaiming's normal: fan out for ResNet (64 x 3 x 3), fan in for DenseNet (4 x 7 x 7);
    # four standard errors of a standard deviation
    for stem, fan in ((resnet, 64 * 9), (densenet, 4 * 49)):
        error = 4 / (2 * stem.weight.numel()) ** 0.5
        assert stem.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=error)


@pytest.mark.parametrize("architecture", ["resnet18", "squeezenet1_0", "mobilenet_v3_small"])
def test_torchvision_networks_take_other_channels(architecture: str) -> None:
    model = build("torchvision", architecture, channels=2, image_size=64)
    assert model(torch.zeros(2, 2, 64, 64)).shape == (2, 10)


def test_without_changes_the_network_is_the_librarys_own() -> None:
    torch.manual_seed(5)
    ours = build("torchvision", "resnet18").state_dict()
    torch.manual_seed(5)
    theirs = torchvision.models.resnet18(num_classes=10).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_trying_the_network_leaves_generators_statistics_and_mode_alone() -> None:
    torch.manual_seed(5)
    timm.create_model("resnet18", num_classes=10)
    expected = torch.rand(1)
    torch.manual_seed(5)
    model = build("timm", "resnet18")
    assert torch.equal(torch.rand(1), expected)
    assert all(module.training for module in model.modules())
    assert not model.get_buffer("bn1.running_mean").any()
    assert model.get_buffer("bn1.num_batches_tracked") == 0


class Noisy(nn.Module):
    """Draws random numbers in evaluation mode too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(x), 10)


@register_model
def noisy_in_evaluation(**timm_arguments: Any) -> Noisy:
    return Noisy()


def test_trying_a_random_network_does_not_advance_the_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    build("timm", "noisy_in_evaluation")
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("library", "architecture", "arguments"),
    [
        ("timm", "vit_tiny_patch16_224", {"patch_size": 4}),
        ("torchvision", "vit_b_16", {}),
        ("timm", "caffe_cifar", {}),
    ],
)
def test_networks_of_fixed_input_size_are_told_the_size(
    library: str, architecture: str, arguments: dict[str, Any]
) -> None:
    size = 48 if library == "torchvision" else 24
    model = build(library, architecture, arguments=arguments, image_size=size)
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)


@pytest.mark.parametrize(
    ("library", "architecture", "message"),
    [
        (
            "timm",
            "caffe_cifr",
            "timm has no architecture 'caffe_cifr'; the nearest are caffe_cifar",
        ),
        ("torchvision", "resnet_18", "the nearest are resnet18"),
        ("timm", "alexnet", "torchvision has it"),
        ("timm", "hf-hub:timm/resnet18", "timm has no architecture"),
        ("torch", "resnet18", "library must be one of timm, torchvision, got 'torch'"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(
    library: str, architecture: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(library, architecture)


@pytest.mark.parametrize(
    ("library", "architecture", "changes", "message"),
    [
        ("torchvision", "alexnet", {}, "alexnet on 3x32x32 images: .*; use larger images"),
        ("timm", "caffe_cifar", {"image_size": 5}, "img_size must be at least 8 px"),
        ("timm", "caffe_cifar", {"small_images": True}, "cannot change the stem of timm's caffe_c"),
        ("timm", "convnext_atto", {"small_images": True}, "set it to false, and pass"),
        ("torchvision", "googlenet", {"image_size": 64}, "pass aux_logits: false"),
        ("timm", "resnet18", {"arguments": {"pretrained": True}}, "must not hold pretrained"),
        ("torchvision", "resnet18", {"arguments": {"weights": "DEFAULT"}}, "must not hold weights"),
        ("timm", "resnet18", {"arguments": {"in_chans": 3}}, "must not hold in_chans"),
        ("timm", "resnet18", {"arguments": {"nonsense": 3}}, "cannot build timm's resnet18"),
    ],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_what_cannot_take_the_images_is_refused_with_the_way_out(
    library: str, architecture: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(library, architecture, **changes)


def test_caffes_multipliers_become_groups_with_their_rates_and_decays() -> None:
    model = build("timm", "caffe_cifar")
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, weight_decay=0.004)
    found = {
        (group["lr"], group["weight_decay"]): [names[p] for p in group["params"]]
        for group in groups
    }
    assert found == {
        (1.0, 0.004): ["conv1.weight", "conv2.weight", "conv3.weight", "conv3.bias"],
        (2.0, 0.004): ["conv1.bias", "conv2.bias"],
        (1.0, 1.0): ["ip1.weight"],
        (2.0, 0.0): ["ip1.bias"],
    }


def test_compiled_network_keeps_its_multipliers() -> None:
    model = build("timm", "caffe_cifar")
    assert len(parameter_groups(torch.compile(model), weight_decay=0.1)) == 4


def test_other_networks_have_one_group_with_every_parameter() -> None:
    model = build("timm", "resnet18")
    (group,) = parameter_groups(model, weight_decay=5e-4)
    assert (group["lr"], group["weight_decay"]) == (1.0, 5e-4)
    assert len(group["params"]) == len(list(model.parameters()))


@pytest.mark.slow
def test_optimizers_alone_do_not_import_timm() -> None:
    code = "import anneal.training.optimizers, sys; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
