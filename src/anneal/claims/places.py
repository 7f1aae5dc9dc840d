"""Places of claims in a paper, and names of rows, as people write them."""

import re

_NAMES = {"table": "Table", "fig": "Fig.", "section": "section", "appendix": "appendix"}
_PLACE = re.compile(
    r"(table|fig|section|appendix)(?:ure)?_?([a-z]?[0-9]+(?:\.[0-9]+)*|[a-z]$)([a-z]?)"
)
_SPELLED = {  # a word of a claim's id -> as it is written
    "1cycle": "1cycle",
    "adadelta": "AdaDelta",
    "adagrad": "AdaGrad",
    "adam": "Adam",
    "alexnet": "AlexNet",
    "caffe": "Caffe",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "clr": "CLR",
    "densenet": "DenseNet",
    "eeg": "EEG",
    "fbcsp": "FBCSP",
    "googlenet": "GoogLeNet",
    "imagenet": "ImageNet",
    "lenet": "LeNet",
    "lr": "learning rate",
    "mnist": "MNIST",
    "nesterov": "Nesterov",
    "resnet": "ResNet",
    "rmsprop": "RMSProp",
    "sgdr": "SGDR",
    "svhn": "SVHN",
    "wrn": "WRN",
    "zca": "ZCA",
}
_SIZED = re.compile(r"(densenet|imagenet|resnet|wrn)([0-9]+)")


def place_named(name: str) -> str | None:
    """Return the place in a paper that a whole name stands for, or None.

    >>> place_named("section3.1"), place_named("fig2a"), place_named("appendix_a")
    ('section 3.1', 'Fig. 2a', 'appendix A')
    >>> place_named("text"), place_named("table1_extra")
    (None, None)
    """
    found = _PLACE.fullmatch(name)
    return found and f"{_NAMES[found[1]]} {found[2].upper()}{found[3]}"


def spelled(name: str) -> str:
    """Return a name of words joined by underscores as people write it.

    >>> spelled("mnist"), spelled("lenet_1cycle_12_epochs"), spelled("cifar10_exp_range_above_exp")
    ('MNIST', 'LeNet 1cycle 12 epochs', 'CIFAR-10 exp_range above exp')
    >>> spelled("wrn28_10"), spelled("resnet56_clr"), spelled("densenet40")
    ('WRN-28 10', 'ResNet-56 CLR', 'DenseNet-40')
    """
    words = []
    for word in name.replace("exp_range", "exp-range").split("_"):
        sized = _SIZED.fullmatch(word)
        words.append(f"{_SPELLED[sized[1]]}-{sized[2]}" if sized else _SPELLED.get(word, word))
    return " ".join(words).replace("exp-range", "exp_range")
