"""Worker slots of this machine: a device or a share of its cores each."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A slot that trains one run at a time.

    Args:
        name: what the terminal calls it.
        cores: that its process may use, and so its number of threads.
        environment: variables of its process besides those of this one.
    """

    name: str
    cores: frozenset[int]
    environment: Mapping[str, str] = field(default_factory=dict)


def core_workers(cores: Sequence[int], num: int | None, *, threads: int | None) -> list[Worker]:
    """Return workers that share the cores evenly.

    Args:
        cores: of this machine that may be used.
        num: of workers; None: as many as there are cores for, with ``threads`` each.
        threads: of each run, where the campaign says so (``hardware.threads``).

    Raises:
        ValueError: there are more workers, or more of their threads, than cores.
    """
    each = threads or 1
    if num is None:
        num = max(1, len(cores) // each)
    if num * each > len(cores) and num > 1:
        of = f" of {each} threads (hardware.threads)" if threads else ""
        raise ValueError(
            f"--workers must be at most {max(1, len(cores) // each)}: there are {len(cores)} "
            f"cores for {num} workers{of}"
        )
    return [
        Worker(name=f"worker {index}", cores=share)
        for index, share in enumerate(shares(cores, num))
    ]


def device_workers(
    devices: Sequence[int], cores: Sequence[int], *, visible: str | None, abreast: int
) -> list[Worker]:
    """Return the workers of CUDA devices, with a share of the cores each.

    Args:
        devices: numbers as this process sees them.
        cores: of this machine that may be used.
        visible: ``CUDA_VISIBLE_DEVICES`` of this process, where it is set.
        abreast: runs on one device at a time.
    """
    names = visible.split(",") if visible else None
    slots = [device for _ in range(abreast) for device in devices]
    return [
        Worker(
            name=f"device {device}",
            cores=share,
            environment={"CUDA_VISIBLE_DEVICES": names[device] if names else str(device)},
        )
        for device, share in zip(slots, shares(cores, len(slots)), strict=True)
    ]


def shares(cores: Sequence[int], num: int) -> list[frozenset[int]]:
    """Split the cores into neighbours; with fewer cores than shares, some have the same.

    >>> [sorted(share) for share in shares([0, 1, 2, 3, 4], 2)]
    [[0, 1], [2, 3, 4]]
    >>> [sorted(share) for share in shares([0, 1], 3)]
    [[0], [1], [0]]
    """
    if num >= len(cores):
        return [frozenset({cores[index % len(cores)]}) for index in range(num)]
    ends = [index * len(cores) // num for index in range(num + 1)]
    return [frozenset(cores[a:b]) for a, b in itertools.pairwise(ends)]


def parse_devices(text: str, *, num_devices: int) -> list[int]:
    """Return the numbers of ``0-3`` or ``0,2``.

    >>> parse_devices("0-2,5", num_devices=8)
    [0, 1, 2, 5]

    Raises:
        ValueError: it is no such list, names a device twice, or one that is not here.
    """
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise ValueError(f"--devices must be like 0-7 or 0,2, got {text!r}")
        found += range(int(first), int(last or first) + 1)
    if not found or len(set(found)) != len(found):
        raise ValueError(f"--devices must name one or more different devices, got {text!r}")
    if max(found) >= num_devices:
        here = f"0 to {num_devices - 1}" if num_devices else "none"
        raise ValueError(f"--devices must be CUDA devices that are here ({here}), got {text!r}")
    return found
