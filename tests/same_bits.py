"""Comparison of nested states: tensors to the last bit, all else as equal."""

from typing import Any

import torch


def assert_same_bits(one: Any, other: Any) -> None:
    """Compare tensors, numbers and texts in mappings and sequences, of equal types throughout."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_bits(one[key], other[key])
    elif isinstance(one, list | tuple):
        for a, b in zip(one, other, strict=True):
            assert_same_bits(a, b)
    else:
        assert one == other
