"""The training loop that everybody starts from: torchvision's CIFAR-10, a DataLoader, float32.

python benchmarks/plain_loop.py [--architecture caffe_cifar] [--batch 100] [--workers 2]
                                [--updates 200]

What our trainer is measured against (benchmarks/training.py). Nobody tuned it, and nobody should:
transforms, loader and step are those of the tutorials, with torch's own settings. The network is
the same as ours, torch layers in eager mode.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional
from torchvision import transforms
from torchvision.datasets import CIFAR10

from anneal.models.build import build_model

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def small_network(architecture: str) -> torch.nn.Module:
    """Build a network for 32 px and ten classes, with a small stem unless it was made for them."""
    ours = architecture.startswith(("caffe_", "cifar_"))
    return build_model(
        library="timm",
        architecture=architecture,
        arguments={},
        num_classes=10,
        channels=3,
        image_size=32,
        small_images=not ours,
    )


def usual_transforms(*, augmented: bool) -> transforms.Compose:
    """Return a tensor, normalised; before that crops and mirror images where they are wanted."""
    random = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    fixed = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return transforms.Compose([*(random if augmented else []), *fixed])


def train(
    architecture: str,
    *,
    root: Path,
    workers: int,
    augmented: bool,
    batch: int,
    device: torch.device,
    before_update: Callable[[], None],
) -> None:
    """Train on CIFAR-10 for ever.

    Args:
        architecture: a network of timm's or of ours.
        root: the folder that holds ``cifar-10-batches-py``.
        workers: processes of the DataLoader; 0 loads in this one.
        augmented: with random crops and mirror images.
        batch: images in one.
        device: where it computes.
        before_update: called before each update; it ends the training by raising.
    """
    train_on(
        CIFAR10(str(root), train=True, transform=usual_transforms(augmented=augmented)),
        architecture,
        workers=workers,
        batch=batch,
        device=device,
        before_update=before_update,
    )


def train_on(
    dataset: torch.utils.data.Dataset,
    architecture: str,
    *,
    workers: int,
    batch: int,
    device: torch.device,
    before_update: Callable[[], None],
) -> None:
    """Train on a data set for ever; see :func:`train`."""
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=batch, shuffle=True, num_workers=workers
    )
    model = small_network(architecture).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)
    running_loss = 0.0
    while True:
        for images, labels in loader:
            before_update()
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()


def main() -> None:
    """Train for some updates and print the rate."""
    from anneal.datasets import Paths

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--architecture", default="caffe_cifar")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--updates", type=int, default=200)
    arguments = parser.parse_args()
    began, left = time.perf_counter(), arguments.updates

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            rate = arguments.updates * arguments.batch / (time.perf_counter() - began)
            print(f"{rate:.0f} images/s, the start included")
            raise SystemExit

    paths = Paths.from_environment()
    train(
        arguments.architecture,
        root=paths.archives or paths.data,
        workers=arguments.workers,
        augmented=False,
        batch=arguments.batch,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        before_update=count,
    )


if __name__ == "__main__":
    main()
