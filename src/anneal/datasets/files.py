"""Order of training images that come in files, as downsampled ImageNet is published.

Each file is shuffled inside, the files follow one another in order, and the last, partial batch of
each file is dropped (Chrabaszcz et al., 1707.08819, their code).
"""

from collections.abc import Sequence

CLASSES = "classes"


def file_sizes(num_images: int, num_files: int) -> list[int]:
    """Return the images of each file: equal numbers, and the remainder in the last.

    >>> file_sizes(1_281_167, 10)[-2:]
    [128116, 128123]
    """
    size = num_images // num_files
    return [*[size] * (num_files - 1), num_images - size * (num_files - 1)]


def file_of_class(label: int, *, num_classes: int, num_files: int) -> int:
    """Return the file of a class where files hold whole classes.

    >>> [file_of_class(label, num_classes=1000, num_files=10) for label in (0, 99, 100, 999)]
    [0, 0, 1, 9]
    """
    return label * num_files // num_classes


def class_file_sizes(images_per_class: Sequence[int], num_files: int) -> list[int]:
    """Return the images of each file where files hold whole classes.

    >>> class_file_sizes([5, 6, 7, 8], 2)
    [11, 15]
    """
    sizes = [0] * num_files
    for label, count in enumerate(images_per_class):
        sizes[file_of_class(label, num_classes=len(images_per_class), num_files=num_files)] += count
    return sizes


def full_batches(sizes: Sequence[int], *, copies: int, batch_size: int) -> int:
    """Return the full batches of an epoch, each within one file.

    >>> full_batches(file_sizes(1_281_167, 10), copies=2, batch_size=128)
    20010
    """
    return sum(size * copies // batch_size for size in sizes)
