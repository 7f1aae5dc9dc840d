"""Entry points of our networks for timm's registry."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from anneal.io.text import did_you_mean

Multipliers = dict[str, tuple[float, float]]  # parameter -> factors of rate and weight decay
SIZES = ("num_classes", "in_chans")  # given by the data set


def entrypoint(
    name: str, network: Callable[..., nn.Module], /, **fixed: Any
) -> Callable[..., nn.Module]:
    """Return the function that ``timm.create_model(name, ...)`` calls.

    A network that ends in a mean over the image does not need ``img_size``; one that has that
    keyword gets it.

    Args:
        name: Under which timm will know it.
        network: Constructor with the keywords ``num_classes``, ``in_chans``, perhaps ``img_size``,
            and its own.
        fixed: Keywords that make it this architecture, such as the depth; they cannot be given.
    """
    keywords = inspect.signature(network).parameters
    default_size = keywords["img_size"].default if "img_size" in keywords else 32
    own = [k for k in keywords if k not in (*SIZES, "img_size", *fixed)]

    def create(
        pretrained: bool = False,
        *,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int = default_size,
        **arguments: Any,
    ) -> nn.Module:
        if pretrained:
            raise ValueError(f"{name} has no pretrained weights")
        for key, value in (("num_classes", num_classes), ("in_chans", in_chans)):
            if value < 1:
                raise ValueError(f"{key} must be at least 1, got {value}")
        if img_size < 4:
            raise ValueError(f"img_size must be at least 4 px (halved twice), got {img_size}")
        given = {k: v for k, v in arguments.items() if v is not None}  # timm fills in None
        for key in given:
            if key not in own:
                raise ValueError(f"{name} has no argument '{key}'{did_you_mean(key, own)}")
        sizes = {"num_classes": num_classes, "in_chans": in_chans}
        if "img_size" in keywords:
            sizes["img_size"] = img_size
        return network(**sizes, **fixed, **given)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"Build {name}; its own arguments: {', '.join(own) or 'none'}."
    return create


def doubled_biases(model: nn.Module) -> Multipliers:
    """Return ``{parameter: (lr_mult, decay_mult)}`` where biases learn twice as fast, undecayed."""
    names = (name for name, _ in model.named_parameters())
    return {name: (2.0, 0.0) if name.endswith("bias") else (1.0, 1.0) for name in names}


def check_share(name: str, value: float) -> float:
    """Return a probability that must be in [0, 1).

    Raises:
        ValueError: It does not.
    """
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")
    return value


def blocks_of_depth(depth: int, *, layers_per_block: int, others: int) -> int:
    """Return the blocks in each of three stages of a network of that depth.

    >>> blocks_of_depth(110, layers_per_block=2, others=2)
    18

    Raises:
        ValueError: There is no such depth.
    """
    blocks, rest = divmod(depth - others, 3 * layers_per_block)
    if rest or blocks < 1:
        raise ValueError(
            f"depth must be {3 * layers_per_block}n + {others} with n at least 1, got {depth}"
        )
    return blocks
