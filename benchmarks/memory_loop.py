"""A tuned loop with the data set in the device's memory, of the kind that airbench has.

python benchmarks/training.py --networks resnet20 --only ours "in-memory loop"

Images lie on the device in the precision of our trainer, channels last and normalised; an epoch is
one permutation, and a batch is cropped and mirrored by indexing (Keller Jordan, airbench,
CifarLoader: the same scheme). The step is autocast to that precision (bf16 is eleven times slower
than float32 where the processor has no instructions for it), compiled on a GPU, with torch's own
SGD; no file, schedule or log.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from plain_loop import MEAN, STD, small_network
from torch.nn import functional
from torchvision.datasets import CIFAR10

from anneal.training.evaluation import autocast

PAD, SIZE = 4, 32


def load(
    root: Path, device: torch.device, precision: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (50000, 3, 32, 32), channels last, normalised; and labels (50000,)."""
    dataset = CIFAR10(str(root), train=True)
    pixels = torch.from_numpy(dataset.data).to(device).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD))
    images = ((pixels - mean) / std).to(precision)
    labels = torch.tensor(dataset.targets, device=device)
    return images.contiguous(memory_format=torch.channels_last), labels


def crop_and_mirror(padded: torch.Tensor) -> torch.Tensor:
    """Cut a window out of each padded image (n, 3, 40, 40) and mirror half of them."""
    count = len(padded)
    top, left = (torch.randint(2 * PAD + 1, (count, 1), device=padded.device) for _ in range(2))
    across = torch.arange(SIZE, device=padded.device)
    mirrored = torch.rand(count, 1, device=padded.device) < 0.5
    columns = left + torch.where(mirrored, SIZE - 1 - across, across)
    which = torch.arange(count, device=padded.device).view(-1, 1, 1)
    cut = padded.permute(0, 2, 3, 1)[which, (top + across)[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)  # in channels-last order


def train(
    architecture: str,
    *,
    root: Path,
    augmented: bool,
    batch: int,
    device: torch.device,
    before_update: Callable[[], None],
    precision: torch.dtype,
) -> None:
    """Train for ever; the arguments are those of ``plain_loop.train``, and the precision."""
    images, labels = load(root, device, precision)
    if augmented:
        images = functional.pad(images, (PAD,) * 4)
    model = small_network(architecture).to(device=device, memory_format=torch.channels_last)
    if device.type == "cuda":
        model.compile()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005, fused=True
    )
    while True:
        for chosen in torch.randperm(len(images), device=device).split(batch)[:-1]:
            before_update()
            inputs = crop_and_mirror(images[chosen]) if augmented else images[chosen]
            with autocast(device, precision):
                loss = functional.cross_entropy(model(inputs), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
