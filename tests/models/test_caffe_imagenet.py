"""Caffe's AlexNet and GoogLeNet against their files (BVLC/caffe @9b89154, models/bvlc_*)."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import anneal.models.timm  # noqa: F401
from anneal.models import build_model, parameter_groups
from anneal.models.caffe_alexnet import CaffeAlexNet
from anneal.models.caffe_googlenet import CaffeGoogLeNet
from anneal.training.loop import Learner

RTOL = 1e-10  # of the largest value; measured: 4e-15 forward, 6e-15 of gradients
DECAY = 0.0005

# The prototxt of AlexNet: input, weights (out, in / groups, kernel, kernel), output, std, bias.
ALEXNET: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], float, float]] = {
    "conv1": ((3, 227, 227), (96, 3, 11, 11), (96, 55, 55), 0.01, 0.0),
    "conv2": ((96, 27, 27), (256, 48, 5, 5), (256, 27, 27), 0.01, 0.1),
    "conv3": ((256, 13, 13), (384, 256, 3, 3), (384, 13, 13), 0.01, 0.0),
    "conv4": ((384, 13, 13), (384, 192, 3, 3), (384, 13, 13), 0.01, 0.1),
    "conv5": ((384, 13, 13), (256, 192, 3, 3), (256, 13, 13), 0.01, 0.1),
    "fc6": ((9216,), (4096, 9216), (4096,), 0.005, 0.1),
    "fc7": ((4096,), (4096, 4096), (4096,), 0.005, 0.1),
    "fc8": ((4096,), (1000, 4096), (1000,), 0.01, 0.0),
}
# The inception modules of GoogLeNet: channels and side of the input, then num_output of 1x1,
# 3x3_reduce, 3x3, 5x5_reduce, 5x5 and pool_proj.
INCEPTION = {
    "3a": (192, 28, 64, 96, 128, 16, 32, 32),
    "3b": (256, 28, 128, 128, 192, 32, 96, 64),
    "4a": (480, 14, 192, 96, 208, 16, 48, 64),
    "4b": (512, 14, 160, 112, 224, 24, 64, 64),
    "4c": (512, 14, 128, 128, 256, 24, 64, 64),
    "4d": (512, 14, 112, 144, 288, 32, 64, 64),
    "4e": (528, 14, 256, 160, 320, 32, 128, 128),
    "5a": (832, 7, 256, 160, 320, 32, 128, 128),
    "5b": (832, 7, 384, 192, 384, 48, 128, 128),
}


def googlenet_layers() -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """The prototxt of GoogLeNet: input, weights, output of each layer with weights."""
    layers: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
        "conv1": ((3, 224, 224), (64, 3, 7, 7), (64, 112, 112)),
        "conv2_reduce": ((64, 56, 56), (64, 64, 1, 1), (64, 56, 56)),
        "conv2": ((64, 56, 56), (192, 64, 3, 3), (192, 56, 56)),
        "classifier": ((1024,), (1000, 1024), (1000,)),
    }
    for name, (channels, side, *widths) in INCEPTION.items():
        one, three_reduce, three, five_reduce, five, pool = widths
        for layer, before, after, kernel in (
            ("conv_1x1", channels, one, 1),
            ("conv_3x3_reduce", channels, three_reduce, 1),
            ("conv_3x3", three_reduce, three, 3),
            ("conv_5x5_reduce", channels, five_reduce, 1),
            ("conv_5x5", five_reduce, five, 5),
            ("pool_proj", channels, pool, 1),
        ):
            sides = (side, side)
            shape = (after, before, kernel, kernel)
            layers[f"inception_{name}.{layer}"] = (before, *sides), shape, (after, *sides)
    for name, channels in (("loss1", 512), ("loss2", 528)):
        layers[f"{name}.conv"] = (channels, 4, 4), (128, channels, 1, 1), (128, 4, 4)
        layers[f"{name}.fc"] = (2048,), (1024, 2048), (1024,)
        layers[f"{name}.classifier"] = (1024,), (1000, 1024), (1000,)
    return layers


def with_weights(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def shapes_seen(model: nn.Module, image: Tensor) -> dict[str, tuple[tuple[int, ...], ...]]:
    seen: dict[str, tuple[tuple[int, ...], ...]] = {}

    def hook(name: str) -> Callable[..., None]:
        def note(module: nn.Conv2d | nn.Linear, inputs: tuple[Tensor], output: Tensor) -> None:
            shapes = inputs[0].shape[1:], module.weight.shape, output.shape[1:]
            seen[name] = tuple(tuple(shape) for shape in shapes)

        return note

    for name, module in with_weights(model).items():
        module.register_forward_hook(hook(name))
    model(image)
    return seen


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# --- the files ------------------------------------------------------------------------------------


def test_alexnet_has_the_shapes_of_its_prototxt() -> None:
    with torch.device("meta"):
        model = timm.create_model("caffe_alexnet", num_classes=1000)
        seen = shapes_seen(model, torch.empty(2, 3, 227, 227))
    assert seen == {name: layer[:3] for name, layer in ALEXNET.items()}
    assert count(model) == 60_965_224


def test_googlenet_has_the_shapes_of_its_prototxt() -> None:
    with torch.device("meta"):
        model = timm.create_model("caffe_googlenet", num_classes=1000)
        seen = shapes_seen(model, torch.empty(2, 3, 224, 224))
        plain = timm.create_model("caffe_googlenet", num_classes=1000, heads=False)
    assert seen == googlenet_layers()
    assert count(model) == 13_378_280
    assert count(plain) == 6_998_552


@pytest.mark.parametrize(
    ("name", "side", "millions"), [("caffe_alexnet", 227, 724.4), ("caffe_googlenet", 224, 1591.0)]
)
def test_network_takes_its_millions_of_products(name: str, side: int, millions: float) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        timm.create_model(name, num_classes=1000)(torch.empty(1, 3, side, side))
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions, abs=0.05)


def test_alexnet_starts_from_the_gaussian_fillers_of_its_prototxt() -> None:
    torch.manual_seed(0)
    layers = with_weights(CaffeAlexNet(img_size=67))  # fc6 has fewer inputs, as many rows
    assert list(layers) == list(ALEXNET)
    for name, (_, _, _, std, bias) in ALEXNET.items():
        weight, constant = layers[name].weight.detach(), layers[name].bias
        error = 5 * weight.numel() ** -0.5
        assert weight.std().item() == pytest.approx(std, rel=error)
        assert weight.mean().item() == pytest.approx(0, abs=std * error)
        assert (weight / std).pow(4).mean().item() == pytest.approx(3, rel=4 * error)  # normal
        assert constant is not None
        assert (constant == torch.tensor(bias)).all()


def test_googlenet_starts_from_the_xavier_fillers_of_its_prototxt() -> None:
    torch.manual_seed(0)
    for name, layer in with_weights(CaffeGoogLeNet()).items():
        weight = layer.weight.detach()
        bound = (3 / weight[0].numel()) ** 0.5
        error = 5 * weight.numel() ** -0.5
        assert weight.abs().max().item() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=error)
        assert (weight / bound).pow(4).mean().item() == pytest.approx(1 / 5, abs=error)  # uniform
        bias = 0.0 if name.endswith("classifier") else 0.2
        assert layer.bias is not None
        assert (layer.bias == torch.tensor(bias)).all()


@pytest.mark.parametrize("name", ["caffe_alexnet", "caffe_googlenet"])
def test_biases_learn_twice_as_fast_and_do_not_decay(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    groups = parameter_groups(model, weight_decay=DECAY)
    sizes = {(g["lr"], g["weight_decay"]): sum(p.numel() for p in g["params"]) for g in groups}
    biases = sum(p.numel() for n, p in model.named_parameters() if n.endswith("bias"))
    assert sizes == {(1.0, DECAY): count(model) - biases, (2.0, 0.0): biases}


# --- the layers, written out ----------------------------------------------------------------------


def pool(x: Tensor, window: int = 3, stride: int = 2, *, mean: bool = False) -> Tensor:
    """Caffe's ceil((side - window) / stride) + 1 windows a side, the last one clipped."""
    sides = range(0, stride * (-((window - x.shape[2]) // stride)) + 1, stride)
    rows = []
    for i in sides:
        windows = [x[:, :, i : i + window, j : j + window] for j in sides]
        rows.append(torch.stack([w.mean((2, 3)) if mean else w.amax((2, 3)) for w in windows], -1))
    return torch.stack(rows, dim=2)


def normalised(x: Tensor) -> Tensor:
    """Caffe's lrn_layer.cpp: squares of 5 channels, alpha / 5 = 2e-5, beta 0.75, k 1."""
    squares = functional.pad(x**2, (0, 0, 0, 0, 2, 2))
    total = sum(squares[:, i : i + x.shape[1]] for i in range(5))
    return torch.as_tensor(x / (1 + 2e-5 * total) ** 0.75)


def grouped(x: Tensor, p: dict[str, Tensor], name: str, *, padding: int) -> Tensor:
    """Two convolutions, each of half the channels."""
    halves = zip(x.chunk(2, 1), p[f"{name}.weight"].chunk(2), strict=True)
    parts = [functional.conv2d(part, weight, padding=padding) for part, weight in halves]
    return (torch.cat(parts, 1) + p[f"{name}.bias"][:, None, None]).clamp(min=0)


def alexnet(p: dict[str, Tensor], x: Tensor) -> Tensor:
    x = functional.conv2d(x, p["conv1.weight"], p["conv1.bias"], stride=4).clamp(min=0)
    x = grouped(pool(normalised(x)), p, "conv2", padding=2)
    x = pool(normalised(x))
    x = functional.conv2d(x, p["conv3.weight"], p["conv3.bias"], padding=1).clamp(min=0)
    x = grouped(grouped(x, p, "conv4", padding=1), p, "conv5", padding=1)
    x = pool(x).flatten(1)
    for name in ("fc6", "fc7"):
        x = (x @ p[f"{name}.weight"].T + p[f"{name}.bias"]).clamp(min=0)
        x = functional.dropout(x, 0.5)
    return x @ p["fc8.weight"].T + p["fc8.bias"]


def googlenet(p: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three classifiers; dropout draws for the last one first."""

    def conv(x: Tensor, name: str, **keywords: Any) -> Tensor:
        y = functional.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], **keywords)
        return y.clamp(min=0)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def inception(x: Tensor, name: str) -> Tensor:
        at = f"inception_{name}"
        padded = functional.pad(x, (1, 1, 1, 1), value=-torch.inf)
        parts = (
            conv(x, f"{at}.conv_1x1"),
            conv(conv(x, f"{at}.conv_3x3_reduce"), f"{at}.conv_3x3", padding=1),
            conv(conv(x, f"{at}.conv_5x5_reduce"), f"{at}.conv_5x5", padding=2),
            conv(pool(padded, 3, 1), f"{at}.pool_proj"),
        )
        return torch.cat(parts, 1)

    def head(x: Tensor, name: str) -> Tensor:
        x = conv(pool(x, 5, 3, mean=True), f"{name}.conv").flatten(1)
        x = functional.dropout(linear(x, f"{name}.fc").clamp(min=0), 0.7)
        return linear(x, f"{name}.classifier")

    x = normalised(pool(conv(x, "conv1", stride=2, padding=3)))
    x = pool(normalised(conv(conv(x, "conv2_reduce"), "conv2", padding=1)))
    x = pool(inception(inception(x, "3a"), "3b"))
    after_4a = inception(x, "4a")
    after_4d = inception(inception(inception(after_4a, "4b"), "4c"), "4d")
    x = inception(inception(pool(inception(after_4d, "4e")), "5a"), "5b")
    x = functional.dropout(x.mean((2, 3)), 0.4)
    return linear(x, "classifier"), head(after_4a, "loss1"), head(after_4d, "loss2")


def assert_near(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=RTOL * expected.abs().max().item())


def assert_same_gradients(model: nn.Module, loss: Tensor, expected: Tensor) -> None:
    weights = list(model.parameters())
    theirs = torch.autograd.grad(expected, weights)
    for ours, other in zip(torch.autograd.grad(loss, weights), theirs, strict=True):
        assert other.abs().max() > 0
        assert_near(ours, other)


def batch(side: int, classes: int) -> tuple[Tensor, Tensor]:
    images = 50 * torch.randn(2, 3, side, side, dtype=torch.float64)  # as raw pixels are
    return images, torch.arange(2) % classes


@pytest.mark.parametrize("side", [67, 80])  # pooled 15-7-3-1, and 18-9-4-2 by rounding up
def test_alexnet_and_its_gradients_are_as_written_out(side: int) -> None:
    torch.manual_seed(0)
    model = CaffeAlexNet(num_classes=5, img_size=side)
    inputs = model.fc6.in_features  # fewer hidden units, for time
    model.fc6, model.fc7, model.fc8 = nn.Linear(inputs, 64), nn.Linear(64, 64), nn.Linear(64, 5)
    model.double()
    for name, weight in model.named_parameters():  # so that no gradient is lost in the first ReLUs
        if name.endswith("weight"):
            nn.init.kaiming_normal_(weight)
    images, labels = batch(side, 5)
    torch.manual_seed(1)
    logits = model(images)
    torch.manual_seed(1)
    expected = alexnet(dict(model.named_parameters()), images)
    assert_near(logits, expected)
    loss, other = (functional.cross_entropy(x, labels) for x in (logits, expected))
    assert_same_gradients(model, loss, other)


@pytest.mark.parametrize("side", [79, 97])
def test_googlenet_and_its_gradients_are_as_written_out(side: int) -> None:
    torch.manual_seed(0)
    model = CaffeGoogLeNet(num_classes=5, img_size=side).double()
    images, labels = batch(side, 5)
    torch.manual_seed(1)
    ours = model(images)
    torch.manual_seed(1)
    theirs = googlenet(dict(model.named_parameters()), images)
    for logits, expected in zip(ours, theirs, strict=True):
        assert_near(logits, expected)
    totals = []
    for outputs in (ours, theirs):
        losses = [functional.cross_entropy(x, labels, label_smoothing=0.1) for x in outputs]
        totals.append(losses[0] + 0.3 * losses[1] + 0.3 * losses[2])
    assert_same_gradients(model, *totals)
    torch.manual_seed(1)
    loss = model.training_loss(images, labels, label_smoothing=0.1)
    assert loss.item() == pytest.approx(totals[1].item(), rel=1e-6)  # it is of float32 logits


# --- the heads ------------------------------------------------------------------------------------


def test_googlenet_leaves_its_heads_out_in_evaluation() -> None:
    torch.manual_seed(0)
    model = CaffeGoogLeNet(num_classes=5, img_size=79).eval()
    plain = CaffeGoogLeNet(num_classes=5, img_size=79, heads=False).eval()
    own = {n: v for n, v in model.state_dict().items() if not n.startswith("loss")}
    plain.load_state_dict(own)
    image = torch.randn(1, 3, 79, 79)
    logits = model(image)
    assert torch.equal(logits, plain(image))
    logits.sum().backward()
    assert all(p.grad is None for n, p in model.named_parameters() if n.startswith("loss"))


def test_learner_trains_on_the_loss_of_all_three_classifiers() -> None:
    torch.manual_seed(0)
    model = CaffeGoogLeNet(num_classes=5, img_size=79)
    images, labels = torch.randn(2, 3, 79, 79), torch.tensor([0, 4])
    learner = Learner(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
        batches=lambda _number: (images, labels),
        label_smoothing=0.1,
        training_loss=model.training_loss,
    )
    torch.manual_seed(1)
    loss = learner.update(0)
    torch.manual_seed(1)
    expected = model.training_loss(images, labels, label_smoothing=0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert model.loss2 is not None
    assert model.loss2.classifier.weight.grad is not None


def test_googlenet_without_heads_trains_on_its_cross_entropy() -> None:
    model = CaffeGoogLeNet(num_classes=5, img_size=31, heads=False)
    images, labels = torch.randn(2, 3, 31, 31), torch.tensor([0, 4])
    torch.manual_seed(1)
    loss = model.training_loss(images, labels)
    torch.manual_seed(1)
    expected = functional.cross_entropy(torch.as_tensor(model(images)), labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "smallest"),
    [
        ("caffe_alexnet", {}, 39),
        ("caffe_googlenet", {}, 79),
        ("caffe_googlenet", {"heads": False}, 31),
    ],
)
def test_image_that_is_too_small_is_refused(
    name: str, arguments: dict[str, Any], smallest: int
) -> None:
    def build(side: int) -> nn.Module:
        return build_model(
            library="timm",
            architecture=name,
            arguments=arguments,
            num_classes=5,
            channels=3,
            image_size=side,
            small_images=False,
        )

    build(smallest)
    with pytest.raises(ValueError, match=f"img_size must be at least {smallest} px"):
        build(smallest - 1)
