"""Parts of a network for fine-tuning: head, frozen backbone, factors of rates by depth."""

from collections.abc import Iterator

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList)


def head_of(model: nn.Module) -> tuple[str, nn.Module]:
    """Return name and module of the classifier head, the last layer with weights.

    timm's networks name theirs (``get_classifier``).

    Raises:
        ValueError: there are several classifier heads, or none.
    """
    get_classifier = getattr(model, "get_classifier", None)
    found = get_classifier() if callable(get_classifier) else None
    named: list[tuple[str, nn.Module]] = list(model.named_modules())
    for name, module in named:
        if module is found and any(True for _ in module.parameters()):
            return name, module
    if isinstance(found, tuple):
        raise ValueError(f"fine_tuning: {type(model).__name__} has several classifier heads")
    heads = [(n, m) for n, m in named if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    if not heads:
        raise ValueError(f"fine_tuning: {type(model).__name__} has no classifier head")
    return heads[-1]


def head_names(model: nn.Module) -> set[str]:
    """Return the names of the head's tensors in the network's ``state_dict``."""
    name, head = head_of(model)
    return {f"{name}.{own}" for own in head.state_dict()}


def freeze_backbone(model: nn.Module) -> None:
    """Freeze all but the head: no gradients, and its modules in evaluation mode.

    Batch normalisation keeps its statistics, dropout and stochastic depth are off. The head and
    the modules that contain it stay in train mode.
    """
    name, head = head_of(model)
    around = {name[:end] for end, letter in enumerate(name) if letter == "."} | {"", name}
    own = set(head.parameters())
    for weight in model.parameters():
        weight.requires_grad_(weight in own)
    for place, module in model.named_modules():
        if place not in around and not place.startswith(f"{name}."):
            module.training = False


def layer_scales(model: nn.Module, *, layer_decay: float) -> dict[str, float]:
    """Return parameter -> factor of its rate: 1 in the last layer, ``layer_decay`` less in each.

    timm's networks say which parameters make a layer (``group_matcher``). In any other a layer is
    a block: a module inside the containers of the network, in the order of their definition, with
    the normalisation that follows it.

    Args:
        model: the network, not inside a wrapper.
        layer_decay: factor from one layer to the one before, in (0, 1].
    """
    layers: dict[str, int] = {}
    matcher = getattr(model, "group_matcher", None)
    if callable(matcher):
        from timm.models import group_parameters

        layers = group_parameters(model, matcher(coarse=False), reverse=True)
    else:
        number = -1
        for place, block in _blocks(model, ""):
            weights = {f"{place}.{n}": p for n, p in block.named_parameters()}
            number += number < 0 or any(p.ndim > 1 for p in weights.values())
            layers |= dict.fromkeys(weights, number)
    last = max(layers.values())
    return {
        name: layer_decay ** (last - layers.get(name, 0)) for name, _ in model.named_parameters()
    }


def _blocks(module: nn.Module, place: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules inside the containers of a network, in the order of their definition."""
    for name, child in module.named_children():
        path = f"{place}.{name}" if place else name
        holds = any(isinstance(inner, CONTAINERS) for inner in child.children())
        if isinstance(child, CONTAINERS) or (not place and holds):
            yield from _blocks(child, path)
        elif any(True for _ in child.parameters()):
            yield path, child
