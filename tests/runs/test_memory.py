"""What a run says where the memory does not hold it."""

from types import SimpleNamespace
from typing import Never

import pytest
import torch

from anneal.commands import advise
from anneal.commands.stages import evaluate, range_test, train
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


def test_evaluation_in_a_full_memory_names_its_own_batch(experiment):
    named = "^out of memory: an evaluation takes 500 images at a time, with any training.batch_size"
    with pytest.raises(ValueError, match=named), memory_explained(experiment, trains=False):
        raise MemoryError


def full(*_: object, **__: object) -> Never:
    raise MemoryError


def test_advice_in_a_full_memory_is_one_line(experiment, monkeypatch, capsys):
    named = SimpleNamespace(name="mine", minutes=None)
    question = SimpleNamespace(advice=named, experiment=experiment, digest="0")
    monkeypatch.setattr(advise, "ask", lambda _: question)
    monkeypatch.setattr(advise, "recommend", full)
    with pytest.raises(SystemExit):
        advise.main([])
    assert capsys.readouterr().err.startswith("error: out of memory: training.batch_size is ")


def test_stage_train_in_a_full_memory_is_one_line(experiment, monkeypatch, capsys, tmp_path):
    loaded = SimpleNamespace(experiment=experiment, seeds=(0,), of_each_subject=lambda: [loaded])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "load_experiment", lambda *_: loaded)
    monkeypatch.setattr(train, "load_bounds", lambda _: None)
    monkeypatch.setattr(train, "plan_experiment", full)
    with pytest.raises(SystemExit):
        train.main(["tiny", "row", "given"])
    assert capsys.readouterr().err.startswith("error: out of memory: training.batch_size is ")


def test_stage_range_test_in_a_full_memory_is_one_line(experiment, monkeypatch, capsys):
    monkeypatch.setattr(range_test, "read_yaml", lambda _: None)
    monkeypatch.setattr(range_test, "parse", lambda *_, **__: experiment)
    monkeypatch.setattr(range_test, "load_setup", full)
    with pytest.raises(SystemExit):
        range_test.main(["tiny", "wide"])
    assert capsys.readouterr().err.startswith("error: out of memory: training.batch_size is ")


def test_stage_evaluate_in_a_full_memory_is_one_line(experiment, monkeypatch, capsys, tmp_path):
    part = SimpleNamespace(experiment=experiment, seeds=(0,))
    loaded = SimpleNamespace(of_each_subject=lambda: [part])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "load_experiment", lambda *_: loaded)
    monkeypatch.setattr(evaluate, "load_bounds", lambda _: None)
    monkeypatch.setattr(evaluate, "plan_experiment", lambda *_: (None, None))
    monkeypatch.setattr(evaluate, "evaluate_runs", full)
    with pytest.raises(SystemExit):
        evaluate.main(["tiny", "row", "given"])
    assert capsys.readouterr().err.startswith("error: out of memory: an evaluation takes 500 ")
