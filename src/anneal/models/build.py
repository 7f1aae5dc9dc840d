"""Build a network by library and name; group its parameters for an optimizer.

Nothing is downloaded here: every network starts from random weights, drawn from torch's global
generator. ``anneal.models.pretrained`` replaces them.
"""

import difflib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from anneal.models.layers import layer_scales
from anneal.models.registry import OURS, SIGNAL_NETWORKS

# Given by the dataset, or a way to weights that somebody else has trained.
RESERVED: Final = {
    "timm": frozenset(
        {"num_classes", "in_chans", "img_size", "pretrained", "checkpoint_path", "pretrained_cfg"}
    ),
    "torchvision": frozenset({"num_classes", "image_size", "weights", "pretrained"}),
}
NUM_SUGGESTIONS: Final = 5
TORCHVISION_CHANNELS: Final = 3  # its constructors have no argument for other images


def build_model(
    *,
    library: str,
    architecture: str,
    arguments: Mapping[str, Any],
    num_classes: int,
    channels: int,
    image_size: int,
    small_images: bool,
) -> nn.Module:
    """Build a classifier of images (N, channels, image_size, image_size) with random weights.

    It is tried once on a blank image, so that what cannot take this data fails here; random number
    generators and running statistics are afterwards as if it had not been tried.

    Args:
        library: "timm" (this package's own networks among them) or "torchvision".
        architecture: The library's name of it, such as "caffe_cifar", "resnet18", "densenet121".
        arguments: Further keywords for the library's constructor.
        num_classes: Width of the output.
        channels: Channels of the images.
        image_size: Their side in pixels.
        small_images: Change a stem that was made for 224 px: its first convolution becomes 3x3 with
            stride 1, its max pooling goes (as the CIFAR variants of He et al. 2016, section 4.2,
            have it). For networks that begin as ResNet and DenseNet do.

    Returns:
        The network, in training mode, on the CPU, its output of shape (N, num_classes).

    Raises:
        ValueError: If the library or architecture is unknown (naming the nearest), an argument is
            refused, or the network cannot take such images.
    """
    _check_library(library)
    reserved = sorted(RESERVED[library] & arguments.keys())
    if reserved:
        raise ValueError(
            f"arguments of {architecture} must not hold {', '.join(reserved)}: sizes come from the "
            "dataset, and weights from fine_tuning.weights"
        )
    _check_name(library, architecture)
    what = f"{library}'s {architecture} on {channels}x{image_size}x{image_size} images"
    with _stem_changed(
        from_channels=channels if library == "timm" else TORCHVISION_CHANNELS,
        to_channels=channels,
        small_images=small_images,
    ) as changed:
        try:
            if library == "timm":
                model = _build_with_timm(architecture, arguments, num_classes, channels, image_size)
            else:
                model = _build_with_torchvision(architecture, arguments, num_classes, image_size)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"cannot build {what}: {error}") from error
    if library == "torchvision" and channels != TORCHVISION_CHANNELS and not changed:
        raise ValueError(f"cannot build {what}: it has no convolution of 3 channels; use timm")
    if small_images:
        _remove_stem_pooling(model, what)
    _try_once(model, what, num_classes=num_classes, channels=channels, image_size=image_size)
    return model


def parameter_groups(
    model: nn.Module, *, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Group a model's parameters for an optimizer whose default rate is 1.0.

    A network with Caffe's multipliers (its ``multipliers``) gets one group for each distinct pair:
    ``lr`` is the rate multiplier, ``weight_decay`` the decay multiplier times ``weight_decay``. Any
    other network gets one group. What schedules the rate keeps each group's ratio to the
    optimizer's default. Frozen parameters are in no group. With a ``layer_decay`` below 1 a
    parameter's rate falls with its distance from the head (:func:`layer_scales`).

    Args:
        model: The network, bare or inside DistributedDataParallel or ``torch.compile``.
        weight_decay: The solver's decay, before multipliers.
        layer_decay: Factor of the rate from a layer to the one before, in (0, 1].

    Returns:
        Groups with the keys ``params``, ``lr`` and ``weight_decay``, in order of first appearance.
    """
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper
    model = getattr(model, "module", model)  # DistributedDataParallel's
    multipliers: dict[str, tuple[float, float]] | None = getattr(model, "multipliers", None)
    scales = {} if layer_decay == 1 else layer_scales(model, layer_decay=layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate, decay = multipliers[name] if multipliers is not None else (1.0, 1.0)
        groups.setdefault((rate * scales.get(name, 1.0), decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": weight_decay * decay}
        for (rate, decay), parameters in groups.items()
    ]


def _check_library(library: str) -> None:
    if library not in RESERVED:
        raise ValueError(f"library must be one of {', '.join(RESERVED)}, got {library!r}")


def _names(library: str) -> list[str]:
    """List every architecture of a library that classifies images."""
    if library == "timm":
        import timm

        import anneal.models.timm  # noqa: F401 - registers our networks

        names: list[str] = timm.list_models()
    else:
        import torchvision

        names = torchvision.models.list_models(module=torchvision.models)
    return names


def _check_name(library: str, architecture: str) -> None:
    """Refuse a name that is not registered, "hf-hub:" and other addresses of weights among them."""
    if library == "timm" and architecture in OURS:
        return
    if library == "timm" and architecture in SIGNAL_NETWORKS:
        raise ValueError(f"{architecture} decodes signals, and these are images")
    names = _names(library)
    if architecture in names:
        return
    message = f"{library} has no architecture {architecture!r}"
    nearest = difflib.get_close_matches(architecture, names, n=NUM_SUGGESTIONS)
    if nearest:
        message += f"; the nearest are {', '.join(nearest)}"
    (other,) = RESERVED.keys() - {library}
    if architecture in _names(other):
        message += f"; {other} has it"
    raise ValueError(message)


def timm_size(architecture: str, image_size: int) -> dict[str, Any]:
    """Return the argument ``img_size`` for networks of timm that have a fixed input size."""
    from timm.models import get_pretrained_cfg, model_entrypoint

    config = get_pretrained_cfg(architecture)
    named = inspect.signature(model_entrypoint(architecture)).parameters
    sized = "img_size" in named or (config is not None and config.fixed_input_size)
    return {"img_size": image_size} if sized else {}


def _build_with_timm(
    architecture: str,
    arguments: Mapping[str, Any],
    num_classes: int,
    channels: int,
    image_size: int,
) -> nn.Module:
    """Build with timm; ``img_size`` goes to networks of fixed input size and to our own."""
    if architecture in OURS:  # what timm would call, without the seconds that importing it takes
        build = OURS[architecture]
        return build(num_classes=num_classes, in_chans=channels, img_size=image_size, **arguments)
    import timm

    size = timm_size(architecture, image_size)
    model: nn.Module = timm.create_model(
        architecture,
        pretrained=False,
        num_classes=num_classes,
        in_chans=channels,
        **size,
        **arguments,
    )
    return model


def _build_with_torchvision(
    architecture: str, arguments: Mapping[str, Any], num_classes: int, image_size: int
) -> nn.Module:
    """Build with torchvision; only its vision transformers need the image size."""
    import torchvision

    sized = architecture.startswith("vit_")
    model: nn.Module = torchvision.models.get_model(
        architecture,
        weights=None,
        num_classes=num_classes,
        **({"image_size": image_size} if sized else {}),
        **arguments,
    )
    if getattr(model, "aux_logits", False):
        raise ValueError("its auxiliary classifiers are not trained here; pass aux_logits: false")
    return model


@contextmanager
def _stem_changed(
    *, from_channels: int, to_channels: int, small_images: bool
) -> Iterator[list[nn.Conv2d]]:
    """Change the first convolution of a network while it is built, before it is initialised.

    Constructors initialise their layers last, by rules of their own (fan in or out, normal or
    uniform). Exchanging the convolution when it is registered, through torch's hook for that,
    leaves that to them: the new layer has the initialisation that the architecture gives a stem of
    its shape. The hook is global: build in one thread.

    Args:
        from_channels: Input channels by which the convolution is known: the images' as the
            constructor believes.
        to_channels: Its input channels afterwards.
        small_images: Whether one with a stride becomes 3x3 with stride 1.

    Yields:
        A list that will hold the new convolution, or stay empty where the network needs none.
    """
    changed: list[nn.Conv2d] = []
    seen = False

    def exchange(_parent: nn.Module, _name: str, module: nn.Module | None) -> nn.Module | None:
        nonlocal seen
        if seen or not isinstance(module, nn.Conv2d) or module.in_channels != from_channels:
            return None
        seen = True
        shrink = small_images and module.stride != (1, 1)
        if from_channels == to_channels and not shrink:
            return None
        stem = nn.Conv2d(
            to_channels,
            module.out_channels,
            kernel_size=3 if shrink else module.kernel_size,  # type: ignore[arg-type]
            stride=1 if shrink else module.stride,  # type: ignore[arg-type]
            padding=1 if shrink else module.padding,  # type: ignore[arg-type]
            bias=module.bias is not None,
        )
        changed.append(stem)
        return stem

    handle = register_module_module_registration_hook(exchange)  # type: ignore[arg-type]
    try:
        yield changed
    finally:
        handle.remove()


def _remove_stem_pooling(model: nn.Module, what: str) -> None:
    """Remove the pooling of a stem like ResNet's (maxpool) or DenseNet's (features.pool0)."""
    for owner, name in ((model, "maxpool"), (getattr(model, "features", None), "pool0")):
        if isinstance(getattr(owner, name, None), nn.Module):
            setattr(owner, name, nn.Identity())
            return
    raise ValueError(
        f"small_images cannot change the stem of {what} (no maxpool, no features.pool0); set it to "
        "false, and pass the architecture's own keywords in arguments (a patch size, strides) or "
        "larger images"
    )


def _try_once(
    model: nn.Module, what: str, *, num_classes: int, channels: int, image_size: int
) -> None:
    """Classify a blank image in evaluation mode, which changes no buffer; end in training mode."""
    advice = (
        "use larger images, small_images: true (ResNet- and DenseNet-like stems), or the "
        "architecture's own keywords in arguments"
    )
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            output = model(torch.zeros(1, channels, image_size, image_size))
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"cannot run {what}: {error}; {advice}") from error
    finally:
        model.train()
    if not isinstance(output, Tensor) or output.shape != (1, num_classes):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"{what} returns {shape} for one image, not (1, {num_classes})")
