"""What a model is compiled with, and what is said where it cannot be."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from anneal import compiling
from anneal.compiling import compile_model, compiler, load_kernels
from anneal.models.caffe_cifar import CaffeCIFAR

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")


@pytest.fixture(autouse=True)
def _nothing_loaded() -> Iterator[None]:
    load_kernels.cache_clear()
    yield
    load_kernels.cache_clear()


class Compiled(nn.Linear):
    by_torch = False

    def compile(self, *args: object, **kwargs: object) -> None:
        self.by_torch = True


def test_torchs_compiler_takes_every_network_but_caffes() -> None:
    model = Compiled(2, 2)
    compile_model(model)
    assert model.by_torch


@needs_compiler
def test_caffes_networks_are_compiled_on_a_cpu_and_learn_through_it() -> None:
    model = CaffeCIFAR()
    assert model.kernels is None
    compile_model(model)
    assert model.kernels is load_kernels()
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert model.conv1.weight.grad is not None
    assert model.conv1.weight.grad.abs().sum() > 0


def test_without_a_compiler_the_error_says_how_to_train_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler .*hardware\.compile=off trains"):
        load_kernels()


@needs_compiler
def test_a_source_that_the_compiler_refuses_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "fused_pooling.cpp"
    source.write_text("no C++ at all\n")
    monkeypatch.setattr(compiling, "SOURCE", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"cannot compile fused_pooling\.cpp: .*error"):
        load_kernels()
    assert not any((tmp_path / "cache" / "anneal").iterdir())


@needs_compiler
def test_what_was_compiled_is_taken_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []
    for _ in range(2):
        load_kernels.cache_clear()
        load_kernels()
        made.append([(f.name, f.stat().st_mtime_ns) for f in (tmp_path / "anneal").iterdir()])
    assert len(made[0]) == 1
    assert made[0] == made[1]
