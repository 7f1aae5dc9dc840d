"""Pretrained weights: read from a file or from a library, loaded with a new classifier head."""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from anneal.io.text import shorten
from anneal.models.build import timm_size
from anneal.models.layers import head_names
from anneal.models.registry import OURS

State = Mapping[str, Tensor]
LIBRARY: Final = "library"  # the value of fine_tuning.weights that downloads the library's own
WRAPPERS: Final = ("module.", "_orig_mod.", "model.")  # DDP's, torch.compile's, Lightning's
INSIDE: Final = ("state", "state_dict_ema", "state_dict", "model_ema", "model")
SHOWN: Final = 3  # tensors that an error names
SHOWN_REASON: Final = 200  # characters of a library's own error


def weights_identity(weights: str, *, library: str, architecture: str) -> str:
    """Return what identifies weights in a configuration's hash, wherever the file is.

    Args:
        weights: path of a file, or ``library``.
        library: "timm" or "torchvision".
        architecture: the library's name of the network.

    Raises:
        ValueError: there is no such file, or the library has no weights for the network.
    """
    if weights == LIBRARY:
        return _origin(library, architecture)
    file = _file(weights)
    stat = file.stat()
    return f"sha256:{_sha256(file, stat.st_mtime_ns, stat.st_size)}"


def read_weights(
    weights: str, *, library: str, architecture: str, image_size: int, arguments: Mapping[str, Any]
) -> State:
    """Return pretrained weights: name -> tensor, without the prefixes of wrappers.

    A file is read as plain tensors (``weights_only=True``), so that it cannot run code. It may be
    a plain ``state_dict``, a checkpoint or snapshot of ``anneal run``, one of timm or of Lightning,
    or a safetensors file.

    Args:
        weights: path of a file, or ``library``: downloaded by timm or torchvision.
        library: "timm" or "torchvision".
        architecture: the library's name of the network.
        image_size: side of the images in pixels, to which timm fits position embeddings.
        arguments: of the network's constructor.

    Raises:
        ValueError: they cannot be read or downloaded; names the file and the reason.
    """
    if weights == LIBRARY:
        return _download(library, architecture, image_size, arguments)
    return _unwrapped(_file(weights))


def load_weights(model: nn.Module, state: State, *, where: str) -> str:
    """Load pretrained weights; a head of another number of classes keeps its own.

    Args:
        model: the network, with the head for the data's classes.
        state: from :func:`read_weights`; any floating dtype.
        where: the file, for messages.

    Returns:
        what was done with the head, in one line.

    Raises:
        ValueError: the weights are of another network; names the tensors.
    """
    own, head = model.state_dict(), head_names(model)
    replaced = sorted(
        name for name in head if name not in state or state[name].shape != own[name].shape
    )
    skipped = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [n for n in own if n not in state and n not in skipped and n not in head]
    unknown = [n for n in state if n not in own and not n.endswith("num_batches_tracked")]
    others = [
        f"{name} is {_size(state[name])} there and {_size(own[name])} here"
        for name in own
        if name in state and name not in head and state[name].shape != own[name].shape
    ]
    wrong = [
        *others,
        *(f"{name} is missing there" for name in missing),
        *(f"{name} is only there" for name in unknown if not _is_head(name, head)),
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ValueError(
            f"fine_tuning.weights: {where} is of another network than model.architecture, "
            f"model.arguments or model.small_images: {'; '.join(wrong[:SHOWN])}{more}"
        )
    taken = {name: state[name] for name in own if name in state and name not in replaced}
    model.load_state_dict(own | taken)
    words = ", ".join(sorted(head))
    if not replaced:
        return f"weights of {where}: all, the head ({words}) too"
    there = [_size(state[name]) for name in replaced if name in state]
    sizes = f": {there[0]} there, {_size(own[replaced[0]])} here" if there else ""
    return f"weights of {where}: all but the head ({words}), which starts at random{sizes}"


def _is_head(name: str, head: set[str]) -> bool:
    """Return whether a tensor that only the file has is of the same module as the head."""
    return name.rpartition(".")[0] in {own.rpartition(".")[0] for own in head}


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _file(weights: str) -> Path:
    file = Path(weights).expanduser()
    if not file.is_file():
        raise ValueError(f"fine_tuning.weights: there is no file {weights}")
    return file


@functools.lru_cache(maxsize=8)
def _sha256(file: Path, _changed_ns: int, _size: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _unwrapped(file: Path) -> State:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a file of any other kind: torch raises any error
        (first, *_) = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"fine_tuning.weights: {file} holds no plain weights: {first}") from None
    while isinstance(content, Mapping):
        inner = next((content[k] for k in INSIDE if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = inner
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise ValueError(
            f"fine_tuning.weights: {file} must hold a state_dict (names and tensors), "
            f"got {type(content).__name__}"
        )
    state = {str(name): value for name, value in content.items()}
    while prefix := next((p for p in WRAPPERS if all(n.startswith(p) for n in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _origin(library: str, architecture: str) -> str:
    """Return where a library's weights come from.

    Raises:
        ValueError: it has none.
    """
    origin = None
    if library == "torchvision":
        import torchvision

        if architecture in torchvision.models.list_models():
            origin = torchvision.models.get_model_weights(architecture).DEFAULT.url
    elif architecture not in OURS:
        from timm.models import get_pretrained_cfg

        config = get_pretrained_cfg(architecture)
        if config is not None:
            origin = f"{config.hf_hub_id}:{config.tag}" if config.hf_hub_id else config.url
    if not origin:
        raise ValueError(
            f"fine_tuning.weights: {library} has no weights of {architecture}; give a file"
        )
    return f"{library}:{origin}"


def _download(
    library: str, architecture: str, image_size: int, arguments: Mapping[str, Any]
) -> State:
    origin = _origin(library, architecture)
    try:
        if library == "torchvision":
            import torchvision

            weights = torchvision.models.get_model_weights(architecture).DEFAULT
            state: State = weights.get_state_dict(
                progress=False, check_hash=True, weights_only=True
            )
            return state
        import timm

        size = timm_size(architecture, image_size)
        state = timm.create_model(architecture, pretrained=True, **size, **arguments).state_dict()
    except Exception as error:  # noqa: BLE001 - server, checksum, format: the libraries raise any
        reason = shorten(" ".join(str(error).split()) or type(error).__name__, SHOWN_REASON)
        raise ValueError(
            f"fine_tuning.weights: {origin} cannot be downloaded or read: {reason}; give a file"
        ) from None
    return state
