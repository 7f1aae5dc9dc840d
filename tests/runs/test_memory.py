"""What a run says where the memory does not hold it."""

import pytest
import torch

from anneal.runs.memory import memory_explained


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB, other: 4.00 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_full_memory_names_the_batch_size_and_what_to_lower(experiment, error):
    named = f"training.batch_size is {experiment.training.batch_size}; lower it, and raise "
    with pytest.raises(ValueError, match=named) as caught, memory_explained(experiment):
        raise error
    assert str(caught.value).startswith("out of memory: ")
    assert "\n" not in str(caught.value)


def test_words_that_may_mean_full_memory_are_kept_with_the_advice(experiment):
    said = "cannot run timm's resnet18: could not create a primitive; use larger images"
    named = f"^{said}; or the memory is full: training.batch_size is "
    with pytest.raises(ValueError, match=named), memory_explained(experiment):
        raise ValueError(said)


def test_other_error_is_raised_unchanged(experiment):
    with pytest.raises(RuntimeError, match="shapes differ"), memory_explained(experiment):
        raise RuntimeError("shapes differ")
