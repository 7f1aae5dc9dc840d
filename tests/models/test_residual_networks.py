"""Our residual and densely connected networks: sizes, shapes, initial values, one bf16 update."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import anneal.models.timm  # noqa: F401
from anneal.models import build_model, parameter_groups
from anneal.models.registry import OURS

ELSEWHERE = {  # files of their own
    "caffe_cifar", "caffe_cifar_sigmoid_bn", "caffe_lenet", "caffe_alexnet", "caffe_googlenet",
}  # fmt: skip


def build(name: str, **arguments: Any) -> nn.Module:
    return OURS[name](**arguments)


def count(name: str) -> int:
    with torch.device("meta"):  # shapes without memory
        return sum(parameter.numel() for parameter in build(name).parameters())


# --- parameters, by hand --------------------------------------------------------------------------


def conv(before: int, after: int, kernel: int = 3, *, bias: bool = False) -> int:
    return before * after * kernel**2 + after * bias


def norm(channels: int) -> int:
    return 2 * channels  # scale and shift


def resnet(n: int, *, classes: int = 10, bias: bool = False) -> int:
    """6n + 2 layers: the stem, 2n in each stage, the classifier; shortcuts have none."""
    weights = conv(3, 16, bias=bias) + norm(16) + 64 * classes + classes
    for before, width in ((16, 16), (16, 32), (32, 64)):
        weights += conv(before, width, bias=bias) + norm(width)
        weights += (2 * n - 1) * (conv(width, width, bias=bias) + norm(width))
    return weights


def wide(n: int, k: int, *, classes: int = 10, stages: int = 3) -> int:
    """6n + 4 layers: the stem, 2n in each stage, three 1x1 shortcuts; BN before convolutions."""
    weights, before = conv(3, 16), 16
    for width in (16 * k, 32 * k, 64 * k, 128 * k)[:stages]:
        weights += norm(before) + conv(before, width)
        weights += (2 * n - 1) * (norm(width) + conv(width, width))
        weights += conv(before, width, 1) if before != width else 0
        before = width
    return weights + norm(before) + before * classes + classes


def sgdr(n: int, k: int, *, classes: int = 10, stages: int = 3) -> int:
    """As ``wide``, and a bias in each second convolution, a shortcut of 16 channels at k = 1.

    The first block's BN is the stem's: that of 16 channels is neither more nor less.
    """
    widths = (16 * k, 32 * k, 64 * k, 128 * k)[:stages]
    plain = wide(n, k, classes=classes, stages=stages)
    return plain + n * sum(widths) + (conv(16, 16, 1) if k == 1 else 0)


def dense(depth: int, k: int, *, first: int = 16, bottleneck: bool = False) -> int:
    layers = (depth - 4) // (6 if bottleneck else 3)
    weights, channels = conv(3, first), first
    for stage in range(3):
        for _ in range(layers):
            if bottleneck:
                weights += norm(channels) + conv(channels, 4 * k, 1) + norm(4 * k) + conv(4 * k, k)
            else:
                weights += norm(channels) + conv(channels, k)
            channels += k
        if stage < 2:
            kept = channels // 2 if bottleneck else channels
            weights += norm(channels) + conv(channels, kept, 1)
            channels = kept
    return weights + norm(channels) + channels * 10 + 10


def zero_filled(n: int) -> int:
    """Super-convergence's: the block that halves the image keeps the width of what comes in."""
    layers = {16: 2 * n + 2, 32: 2 * n, 64: 2 * n - 2}
    weights = conv(3, 16, bias=True) + norm(16) + 64 * 10 + 10
    return weights + sum(m * (conv(w, w, bias=True) + norm(w)) for w, m in layers.items())


def projected(widths: tuple[int, int, int], plain: tuple[int, int, int]) -> int:
    weights = conv(3, widths[0], bias=True) + norm(widths[0]) + widths[2] * 10 + 10
    before = widths[0]
    for width, blocks in zip(widths, plain, strict=True):
        weights += 2 * blocks * (conv(width, width, bias=True) + norm(width))
        if width != before:
            weights += conv(before, width, bias=True) + conv(width, width, bias=True)
            weights += conv(before, width, 2, bias=True) + 3 * norm(width)
        before = width
    return weights


# The formula, and the paper's own number in millions (He et al., Table 6; Huang et al.; Zagoruyko
# & Komodakis, Table 1 of SGDR; DenseNet, Table 2). Caffe's forms are published without a number.
COUNTS: list[tuple[str, int, float | None]] = [
    ("cifar_resnet20", resnet(3), 0.27),
    ("cifar_resnet32", resnet(5), 0.46),
    ("cifar_resnet44", resnet(7), 0.66),
    ("cifar_resnet56", resnet(9), 0.85),
    ("cifar_resnet110", resnet(18), 1.7),
    ("cifar_sd_resnet110", resnet(18, bias=True), 1.7),
    ("cifar_wrn16_2", wide(2, 2), 0.7),
    ("cifar_wrn16_8", wide(2, 8), 11.0),
    ("cifar_wrn28_1", wide(4, 1), 0.4),
    ("cifar_wrn28_10", wide(4, 10), 36.5),
    ("cifar_wrn28_20", wide(4, 20), 145.8),
    ("cifar_wrn32_4", wide(5, 4), None),
    ("cifar_wrn40_4", wide(6, 4), 8.9),
    ("sgdr_wrn16_1", sgdr(2, 1), None),
    ("sgdr_wrn16_2", sgdr(2, 2), None),
    ("sgdr_wrn28_1", sgdr(4, 1), None),
    ("sgdr_wrn28_2", sgdr(4, 2), None),
    ("sgdr_wrn28_5", sgdr(4, 5), None),
    ("sgdr_wrn28_10", sgdr(4, 10), 36.5),
    ("sgdr_wrn28_20", sgdr(4, 20), 145.8),
    *((f"sgdr_wrn20_{k}", sgdr(4, k, stages=2), None) for k in (1, 2, 5, 10)),
    *((f"sgdr_wrn36_{k}", sgdr(4, k, stages=4), None) for k in (1, 2, 5, 10)),
    ("cifar_densenet40_12", dense(40, 12), 1.0),
    ("cifar_densenet100_12", dense(100, 12), 7.0),
    ("cifar_densenet100_24", dense(100, 24), 27.2),
    ("cifar_densenet_bc100_12", dense(100, 12, first=24, bottleneck=True), 0.8),
    ("caffe_densenet40_12", dense(40, 12), 1.0),
    ("caffe_resnet20", zero_filled(3), None),
    ("caffe_resnet56", zero_filled(9), None),
    ("caffe_resnet110", zero_filled(18), None),
    ("caffe_projection_resnet56", projected((16, 32, 64), (8, 8, 8)), None),
    ("caffe_wide_resnet32", projected((16, 64, 256), (5, 4, 4)), None),
]


@pytest.mark.parametrize(("name", "by_hand", "millions"), COUNTS)
def test_the_parameters_are_as_many_as_by_hand_and_as_published(
    name: str, by_hand: int, millions: float | None
) -> None:
    assert count(name) == by_hand
    if millions is not None:
        digits = len(str(millions).split(".")[1])
        assert round(by_hand / 1e6, digits) == millions


@pytest.mark.parametrize(
    ("name", "k", "stages", "side", "millions"),
    [
        ("sgdr_wrn20_10", 10, 2, 16, None),
        ("sgdr_wrn28_2", 2, 3, 32, 1.6),  # as the README of PydMobileNet quotes 1707.08819
        ("sgdr_wrn28_5", 5, 3, 32, 9.5),
        ("sgdr_wrn28_10", 10, 3, 32, 37.1),
        ("sgdr_wrn36_5", 5, 4, 64, None),
    ],
)
def test_networks_of_downsampled_imagenet_halve_its_images_to_8_px(
    name: str, k: int, stages: int, side: int, millions: float | None
) -> None:
    with torch.device("meta"):
        model = build(name, num_classes=1000)
        last = model.get_submodule("bn")
        last.register_forward_hook(lambda _m, _i, y: sides.append(tuple(y.shape[1:])))
        sides: list[tuple[int, ...]] = []
        assert model(torch.empty(2, 3, side, side)).shape == (2, 1000)
    assert sides == [(8 * 2**stages * k, 8, 8)]
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert weights == sgdr(4, k, classes=1000, stages=stages)
    if millions is not None:
        assert round(weights / 1e6, 1) == millions


def test_every_network_of_ours_is_counted() -> None:
    assert {name for name, _, _ in COUNTS} == OURS.keys() - ELSEWHERE


# --- shapes ---------------------------------------------------------------------------------------

SHAPES = [
    # name, (channels, side) of the output of each convolution, run-length encoded
    ("cifar_resnet20", [((16, 32), 7), ((32, 16), 6), ((64, 8), 6)]),
    ("cifar_wrn16_2", [((16, 32), 1), ((32, 32), 5), ((64, 16), 5), ((128, 8), 5)]),
    ("sgdr_wrn16_1", [((16, 32), 6), ((32, 16), 5), ((64, 8), 5)]),
    ("cifar_densenet40_12", [((16, 32), 1), ((12, 32), 12), ((160, 32), 1), ((12, 16), 12),
                             ((304, 16), 1), ((12, 8), 12)]),
    ("caffe_resnet20", [((16, 32), 7), ((16, 16), 2), ((32, 16), 4), ((32, 8), 2), ((64, 8), 4)]),
    ("caffe_projection_resnet56", [((16, 32), 17), ((32, 16), 19), ((64, 8), 19)]),
    ("caffe_wide_resnet32", [((16, 32), 11), ((64, 16), 11), ((256, 8), 11)]),
]  # fmt: skip


def convolutions(model: nn.Module) -> Iterator[nn.Conv2d]:
    return (module for module in model.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize(("name", "expected"), SHAPES)
def test_each_convolution_gives_the_shape_written_down(
    name: str, expected: list[tuple[tuple[int, int], int]]
) -> None:
    model, seen = build(name), []  # training: Caffe's statistics divide by 0 before the first batch
    for module in convolutions(model):
        module.register_forward_hook(lambda _m, _i, y: seen.append((y.shape[1], y.shape[2])))
    with torch.no_grad():
        logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert bool(logits.isfinite().all())
    runs: list[tuple[tuple[int, int], int]] = []
    for shape in seen:
        last, length = runs[-1] if runs else (None, 0)
        runs = [*runs[:-1], (shape, length + 1)] if last == shape else [*runs, (shape, 1)]
    assert runs == expected


@pytest.mark.parametrize("name", ["cifar_resnet20", "sgdr_wrn16_1", "caffe_resnet20"])
def test_networks_take_other_classes_channels_and_sizes(name: str) -> None:
    model = build_model(
        library="timm",
        architecture=name,
        arguments={},
        num_classes=7,
        channels=1,
        image_size=8,
        small_images=False,
    )
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 7)


# --- initial values -------------------------------------------------------------------------------


def standard(fan: float) -> float:
    return math.sqrt(2 / fan)


def fan_in(weight: Tensor) -> float:
    return weight[0].numel()


def fan_out(weight: Tensor) -> float:
    return weight.shape[0] * weight[0, 0].numel()


NORMAL = [
    ("cifar_resnet56", fan_out),  # fb.resnet.torch: n = kW * kH * nOutputPlane
    ("cifar_sd_resnet110", fan_in),  # nninit.kaiming
    ("cifar_wrn16_2", fan_in),
    ("cifar_densenet40_12", fan_out),  # densenet.lua, ConvInit
    ("caffe_densenet40_12", fan_in),  # msra
    ("caffe_resnet56", fan_in),
    ("caffe_wide_resnet32", fan_in),
]


@pytest.mark.parametrize(("name", "fan"), NORMAL)
def test_convolutions_start_normal_with_the_authors_variance(name: str, fan: Any) -> None:
    torch.manual_seed(0)
    weights = [module.weight.detach() for module in convolutions(build(name))]
    scaled = torch.cat([(w / standard(fan(w))).flatten() for w in weights])
    assert scaled.mean().item() == pytest.approx(0, abs=4 / len(scaled) ** 0.5)
    assert scaled.std().item() == pytest.approx(1, rel=4 / (2 * len(scaled)) ** 0.5)
    assert scaled.abs().max().item() > 3.5, "no uniform distribution reaches that far"
    for weight in weights:  # each layer by itself, so that no two errors cancel
        rel = 5 / (2 * weight.numel()) ** 0.5
        assert weight.std().item() == pytest.approx(standard(fan(weight)), rel=rel)


def test_sgdrs_networks_start_as_lasagne_starts_them() -> None:
    torch.manual_seed(0)
    model = build("sgdr_wrn28_10")
    for module in convolutions(model):
        weight = module.weight.detach()
        rel = 5 / (2 * weight.numel()) ** 0.5
        if module.kernel_size == (3, 3):
            assert weight.std().item() == pytest.approx(standard(fan_in(weight)), rel=rel)
        else:  # Glorot's uniform
            bound = math.sqrt(6 / (weight.shape[0] + weight.shape[1]))
            assert 0.99 * bound < weight.abs().max().item() <= bound
            assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=rel)
        assert module.bias is None or not module.bias.any()
    fc = model.get_submodule("fc").get_parameter("weight").detach()
    rel = 5 / (2 * fc.numel()) ** 0.5
    assert fc.std().item() == pytest.approx(fc.shape[1] ** -0.5, rel=rel)  # gain 1
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {module.eps for module in norms} == {1e-4}
    assert {module.momentum for module in norms} == {0.1}


def test_scales_start_from_one_or_from_torch_7s_uniform() -> None:
    torch.manual_seed(0)
    for name in OURS.keys() - {*ELSEWHERE, "cifar_sd_resnet110"}:
        if name.endswith("_20"):  # as those of 28_10
            continue
        norms = [m for n, m in build(name).named_modules() if "norm" in n or "bn" in n]
        scales = [m.weight for m in norms if isinstance(getattr(m, "weight", None), nn.Parameter)]
        assert scales, name
        assert all(bool((scale == 1).all()) for scale in scales), name
    model = build("cifar_sd_resnet110")
    scales = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    drawn = torch.cat(scales).detach()
    assert 0 <= drawn.min().item() < 0.01
    assert 0.99 < drawn.max().item() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / len(drawn)) ** 0.5)


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_densenet40_12", "caffe_resnet20"])
def test_the_classifier_starts_as_its_authors_have_it(name: str) -> None:
    torch.manual_seed(0)
    fc = build(name, num_classes=100).get_submodule("fc")
    weight, bias = fc.get_parameter("weight").detach(), fc.get_parameter("bias")
    bound = math.sqrt((3 if name.startswith("caffe") else 1) / weight.shape[1])
    assert 0.99 * bound < weight.abs().max().item() <= bound
    assert not bias.any()


def test_the_same_seed_gives_the_same_network() -> None:
    for name in ("cifar_resnet20", "cifar_sd_resnet110", "caffe_densenet40_12", "sgdr_wrn16_1"):
        states = []
        for _ in range(2):
            torch.manual_seed(3)
            states.append(build(name).state_dict())
        first, second = states
        assert all(torch.equal(first[key], second[key]) for key in first)


# --- parameter groups -----------------------------------------------------------------------------


def groups_of(name: str, weight_decay: float) -> dict[tuple[float, float], list[str]]:
    model = build(name)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        (group["lr"], group["weight_decay"]): [names[p] for p in group["params"]]
        for group in parameter_groups(model, weight_decay=weight_decay)
    }


def test_sgdr_decays_weights_and_scales_and_neither_biases_nor_shifts() -> None:
    groups = groups_of("sgdr_wrn16_1", 0.001)
    assert groups.keys() == {(1.0, 0.001), (1.0, 0.0)}
    assert {name.rsplit(".")[-1] for name in groups[1.0, 0.001]} == {"weight"}
    assert {name.rsplit(".")[-1] for name in groups[1.0, 0.0]} == {"bias"}
    assert "blocks.0.bn2.weight" in groups[1.0, 0.001]
    assert {"blocks.0.conv2.bias", "blocks.0.bn2.bias", "fc.bias"} <= set(groups[1.0, 0.0])


@pytest.mark.parametrize(("name", "decay"), [("caffe_resnet56", 0.0), ("caffe_resnet20", 1e-4)])
def test_super_convergence_doubles_the_rate_of_biases(name: str, decay: float) -> None:
    groups = groups_of(name, 1e-4)
    doubled = {n: key for key, names in groups.items() for n in names if key[0] == 2.0}
    model = build(name)
    biases = {n for n, _ in model.named_parameters() if n.endswith("conv.bias")}
    assert len(biases) == sum(1 for _ in convolutions(model))
    assert doubled == {**dict.fromkeys(biases, (2.0, decay)), "fc.bias": (2.0, 1e-4)}
    assert {key for key in groups if key[0] != 2.0} == {(1.0, 1e-4)}


def test_one_cycles_networks_have_one_bias_with_a_rate_of_its_own() -> None:
    groups = groups_of("caffe_wide_resnet32", 1e-4)
    assert groups.keys() == {(1.0, 1e-4), (2.0, 0.0)}
    assert groups[2.0, 0.0] == ["fc.bias"]


@pytest.mark.parametrize(
    "name", ["cifar_resnet20", "cifar_sd_resnet110", "cifar_wrn16_2", "cifar_densenet40_12"]
)
def test_torchs_recipes_decay_every_parameter(name: str) -> None:
    assert groups_of(name, 1e-4).keys() == {(1.0, 1e-4)}


def test_caffe_statistics_average_over_updates_not_passes() -> None:
    model = build("caffe_resnet20", moving_average_fraction=0.95, batches_per_update=8)
    fraction = model.get_submodule("stem.bn").moving_average_fraction
    assert fraction**8 == pytest.approx(0.95)


# --- one update in bf16 ---------------------------------------------------------------------------

QUICK = [
    "cifar_resnet20",
    "cifar_wrn16_2",
    "sgdr_wrn16_1",
    "cifar_densenet40_12",
    "caffe_densenet40_12",
    "caffe_resnet20",
]
SLOW = sorted(
    name
    for name in OURS.keys() - {*QUICK, *ELSEWHERE}
    if not name.endswith("_20")  # 145.8 M weights: the code of 28_10 at twice its width
)


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_bf16_channels_last_update_is_near_float32(
    name: str,
) -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.tensor([0, 1, 2, 3])
    gradients = {}
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(1)
        model = build(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(parameter_groups(model, weight_decay=1e-4), lr=0.1)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        gradients[dtype] = model.get_parameter("fc.weight").grad
        optimizer.step()
        assert math.isfinite(loss.item())
        assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
        assert all(bool(buffer.isfinite().all()) for buffer in model.buffers())
    both = functional.cosine_similarity(
        gradients[torch.float32].flatten(), gradients[torch.bfloat16].flatten(), dim=0
    )
    assert both.item() > 0.95


# --- entry points ---------------------------------------------------------------------------------


def test_timm_knows_each_by_name_and_builds_the_same() -> None:
    assert OURS.keys() <= set(timm.list_models())
    torch.manual_seed(3)
    theirs = timm.create_model("cifar_resnet20", num_classes=100, in_chans=1).state_dict()
    torch.manual_seed(3)
    ours = build("cifar_resnet20", num_classes=100, in_chans=1).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("cifar_wrn16_2", {"dropuot": 0.2}, "no argument 'dropuot'; did you mean 'dropout'"),
        ("cifar_wrn16_2", {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ("cifar_sd_resnet110", {"death_rate": -0.1}, r"death_rate must be in \[0, 1\), got -0.1"),
        ("cifar_resnet20", {"depth": 32}, "cifar_resnet20 has no argument 'depth'; there is"),
        ("cifar_resnet20", {"pretrained": True}, "cifar_resnet20 has no pretrained weights"),
        ("cifar_resnet20", {"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ("cifar_resnet20", {"img_size": 3}, "img_size must be at least 4 px"),
    ],
)
def test_what_a_network_does_not_take_is_refused(
    name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        build(name, **arguments)


def test_a_depth_that_does_not_exist_is_refused() -> None:
    from anneal.models.resnet import ResNetCIFAR

    with pytest.raises(ValueError, match=r"depth must be 6n \+ 2 with n at least 1, got 21"):
        ResNetCIFAR(depth=21)
